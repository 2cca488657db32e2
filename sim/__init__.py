"""PyBullet worlds behind the Gymnasium API. Importing this registers the environments."""

import gymnasium

from sim.exploration import Explorer
from sim.randomization import Randomization
from sim.scripted import scripted_action

__all__ = ["ENV_IDS", "Explorer", "Randomization", "scripted_action"]

_ENVIRONMENTS = {
    "foresee/Reach-v0": "sim.envs.reach:ReachEnv",
    "foresee/Push-v0": "sim.envs.push:PushEnv",
}
ENV_IDS = tuple(_ENVIRONMENTS)

for _id, _entry_point in _ENVIRONMENTS.items():
    gymnasium.register(id=_id, entry_point=_entry_point, max_episode_steps=50)
