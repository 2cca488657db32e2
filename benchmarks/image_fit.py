"""What it costs to bring a camera's image to the size that a bundle expects.

    python -m benchmarks.image_fit [--repeats 200]

Noise of seed 0, which costs what any picture does, through `ImageFitter` as `agent_node` calls it
for each image. Processor time of the calling thread, so that other work on the machine counts
little; median and the slowest of a hundred.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from ros_nodes.image_fitter import ImageFitter
from world_model.bundle import ModelSpec
from world_model.image_fit import FITS

SIZES = ((64, 64), (480, 640), (720, 1280), (1080, 1920))  # height, width
WANTED = (64, 64)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    rng, one = np.random.default_rng(0), np.ones(1, np.float32)
    for size in SIZES:
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        for fit in FITS:
            spec = ModelSpec(
                {"scene": WANTED}, (), ("v",), -one, one, 0.1, 1, (1, 1), {"scene": fit}
            )
            fitter, spent_ms = ImageFitter(lambda _: None), []
            fitter(spec, "scene", pixels)  # Pillow is imported
            for _ in range(repeats):
                begin = time.thread_time_ns()
                fitter(spec, "scene", pixels)
                spent_ms.append(1e-6 * (time.thread_time_ns() - begin))
            median, rare = np.percentile(spent_ms, (50, 99))
            print(f"{size[1]}x{size[0]} {fit}: {median:.3f} ms, 99 % below {rare:.3f} ms")


if __name__ == "__main__":
    main()
