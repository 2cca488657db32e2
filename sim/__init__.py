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

_ENVIRONMENTS = {
    "foresee/Reach-v0": "sim.envs.reach:ReachEnv",
    "foresee/Push-v0": "sim.envs.push:PushEnv",
    "foresee/TwoRooms-v0": "sim.envs.rooms:TwoRoomsEnv",
}
ENV_IDS = tuple(_ENVIRONMENTS)

for _id, _entry_point in _ENVIRONMENTS.items():
    gymnasium.register(id=_id, entry_point=_entry_point, max_episode_steps=50)
