"""PyBullet worlds behind the Gymnasium API. Importing this registers the environments."""

import gymnasium

from sim.exploration import Explorer
from sim.policies import make_explorer, scripted_action, straight_line_action
from sim.randomization import Randomization

__all__ = [
    "ENV_IDS",
    "Explorer",
    "Randomization",
    "make_explorer",
    "scripted_action",
    "straight_line_action",
]

# Where it is and how many steps an episode has.
_ENVIRONMENTS = {
    "foresee/Reach-v0": ("sim.envs.reach:ReachEnv", 50),
    "foresee/Push-v0": ("sim.envs.push:PushEnv", 50),
    "foresee/TwoRooms-v0": ("sim.envs.rooms:TwoRoomsEnv", 50),
    "foresee/PushT-v0": ("sim.envs.pusht:PushTEnv", 100),
    "foresee/PickPlace-v0": ("sim.envs.pick:PickPlaceEnv", 100),
}
ENV_IDS = tuple(_ENVIRONMENTS)

for _id, (_entry_point, _steps) in _ENVIRONMENTS.items():
    gymnasium.register(id=_id, entry_point=_entry_point, max_episode_steps=_steps)
