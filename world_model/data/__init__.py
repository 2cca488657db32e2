"""Data sets of robot episodes: written and read as LeRobotDataset v3, trained from memory maps.

`world_model.data.bags` reads recorded ROS bags; it is imported on its own.
"""

from world_model.data.cache import Cache, Clips, build_cache, split_episodes
from world_model.data.dataset import Dataset, open_dataset
from world_model.data.spec import DatasetError, DatasetSpec, Episode
from world_model.data.writer import DatasetWriter

__all__ = [
    "Cache",
    "Clips",
    "Dataset",
    "DatasetError",
    "DatasetSpec",
    "DatasetWriter",
    "Episode",
    "build_cache",
    "open_dataset",
    "split_episodes",
]
