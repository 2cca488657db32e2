"""Check that the lerobot library reads our data sets exactly as we do.

lerobot pins an older torch than ours, so it lives in an environment of its own::

    python -m venv lerobot-env && lerobot-env/bin/pip install lerobot
    PYTHONPATH=. HF_HUB_OFFLINE=1 lerobot-env/bin/python benchmarks/lerobot_load.py runs/data

Any data set of ours will do: collected, imported, exported; several cameras, or no actions.
Exit status 0 when every compared frame agrees: numbers exactly, images to one level of 255.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from world_model.data import Dataset, layout, open_dataset


def compare(ours: Dataset, theirs: LeRobotDataset, every: int) -> tuple[int, float]:
    """Compare every n-th frame.

    Args:
        ours: the data set, opened by us.
        theirs: the same, opened by lerobot.
        every: n.

    Returns:
        Frames compared, and the largest difference of a pixel in levels of 255.

    Raises:
        AssertionError: a number differs.
    """
    compared, worst, first = 0, 0.0, 0
    for index in range(len(ours)):
        episode = ours.episode(index)
        vectors = {layout.ACTION: episode.actions, layout.PROPRIO: episode.proprio}
        for frame in range(0, len(episode), every):
            item = theirs[first + frame]
            assert int(item["episode_index"]) == index
            assert int(item["frame_index"]) == frame
            assert item["task"] == episode.task
            for key, values in vectors.items():
                if key in layout.vector_columns(ours.spec):
                    seen = np.atleast_1d(item[key].numpy())
                    np.testing.assert_array_equal(seen, values[frame])
            for camera, images in episode.images.items():
                pixels = item[layout.video_key(camera)].permute(1, 2, 0).numpy() * 255
                worst = max(worst, float(np.abs(pixels - images[frame]).max()))
            compared += 1
        first += len(episode)
    return compared, worst


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="folder written by `foresee`")
    parser.add_argument("--every", type=int, default=10, help="compare every n-th frame")
    arguments = parser.parse_args()
    ours = open_dataset(arguments.dataset)
    theirs = LeRobotDataset("local/check", root=arguments.dataset)
    assert (theirs.num_episodes, theirs.num_frames) == (len(ours), ours.frames)
    compared, worst = compare(ours, theirs, arguments.every)
    print(f"lerobot {version('lerobot')}, cameras {', '.join(ours.spec.cameras)}: ", end="")
    print(f"{compared} of {ours.frames} frames agree; images differ by at most {worst:.2f} of 255")
    return int(worst > 1)


if __name__ == "__main__":
    raise SystemExit(main())
