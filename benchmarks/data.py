"""How fast data sets are written, cached and sampled, and how much memory that takes.

    python -m benchmarks.data --json runs/results/data.json
    python -m benchmarks.data --lerobot lerobot-env/bin/python    # lerobot's own loader beside it

Every part runs in a process of its own on one thread, so that its peak memory is its own. Rates are
given by the clock and by processor time; the second holds on a busy machine too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from foresee.summary import write_json
from world_model.data import DatasetSpec, DatasetWriter, Episode, build_cache

FPS = 10.0
EPISODE_FRAMES = 100
LENGTH, BATCH = 8, 64


@dataclass
class DataBenchmark:
    """Measure writing, building the cache and sampling eight-frame clips."""

    frames: int = 200_000
    """Frames to write; 200 000 at 64 px make a cache of 2.5 GB."""
    image_size: int = 64
    """Side of the image in pixels."""
    clips: int = 100_000
    """Clips to draw."""
    lerobot: Path | None = None
    """Python of an environment with lerobot, to measure its loader on the same files."""
    seed: int = 0
    """Of images, numbers and clips."""
    json: Path | None = None
    """Write the summary here."""


def write(path: Path, job: DataBenchmark) -> dict[str, float]:
    """Write episodes of a disc that moves over a textured background."""
    size = job.image_size
    spec = DatasetSpec(
        fps=FPS,
        cameras={"scene": (size, size)},
        proprio_names=tuple(f"joint{i}.position" for i in range(7)),
        action_names=("vx", "vy", "vz"),
        action_low=(-1.0,) * 3,
        action_high=(1.0,) * 3,
    )
    rng = np.random.default_rng(job.seed)
    yy, xx = np.mgrid[:size, :size]
    background = np.stack([xx, yy, (xx + yy) / 2], axis=-1) * (180 / size) + 30
    episodes = []
    for _ in range(10):  # made before the clock runs, then written again and again
        path_px = np.clip(np.cumsum(rng.normal(0, 2, (EPISODE_FRAMES, 2)), 0) + size / 2, 6, size)
        images = np.repeat(background[None].astype(np.uint8), EPISODE_FRAMES, axis=0)
        for image, (x, y) in zip(images, path_px, strict=True):
            image[(xx - x) ** 2 + (yy - y) ** 2 < (size / 10) ** 2] = (220, 50, 30)
        numbers = rng.normal(0, 0.3, (EPISODE_FRAMES, 10)).astype(np.float32).clip(-1, 1)
        stamps = np.arange(EPISODE_FRAMES) * int(1e9 / FPS)
        episodes.append(
            Episode({"scene": images}, numbers[:, :7], numbers[:, 7:], task="x", stamps_ns=stamps)
        )
    clock = _Clock()
    with DatasetWriter(path, spec) as writer:
        for number in range(max(job.frames // EPISODE_FRAMES, 2)):
            writer.add(episodes[number % len(episodes)])
        frames = writer.frames
    return clock.rate(frames)


def cache(path: Path, job: DataBenchmark) -> dict[str, float]:
    """Decode the data set into its cache."""
    clock = _Clock()
    return clock.rate(build_cache(path, progress=False).frames)


def sample(path: Path, job: DataBenchmark) -> dict[str, float]:
    """Draw clips of eight frames at random, in batches of 64."""
    data = build_cache(path, progress=False)
    starts = data.clip_starts(LENGTH, range(len(data.episode_starts)))
    rng = np.random.default_rng(job.seed)
    clock, done = _Clock(), 0
    while done < job.clips:
        data.clips(rng.choice(starts, BATCH), LENGTH)
        done += BATCH
    return clock.rate(done)


PARTS: dict[str, Callable[[Path, DataBenchmark], dict[str, float]]] = {
    "write": write,
    "cache": cache,
    "sample": sample,
}
# lerobot's way to a clip is delta_timestamps; it decodes the video for each.
LEROBOT = """
import sys, time, json, random
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, length, fps, clips = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
steps = [i / fps for i in range(length)]
data = LeRobotDataset("local/bench", root=root, delta_timestamps={
    "observation.images.scene": steps, "observation.state": steps, "action": steps})
rng = random.Random(0)
data[0]
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(clips):
    data[rng.randrange(len(data))]
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
import lerobot
print(json.dumps({"per_s": clips / wall, "per_cpu_s": clips / cpu, "version": lerobot.__version__}))
"""


class _Clock:
    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def rate(self, count: int) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "count": count,
            "per_s": count / wall,
            "per_cpu_s": count / cpu,
            "peak_mb": peak_kb / 1024,
        }


def measure(job: DataBenchmark) -> dict[str, Any]:
    """Run every part in a process of its own, sampling in one and in two at the same time."""
    with tempfile.TemporaryDirectory(prefix="foresee-data-") as folder:
        path = Path(folder) / "set"
        found: dict[str, Any] = {name: _run(name, path, job)[0] for name in ("write", "cache")}
        found["sample"] = _run("sample", path, job)[0]
        two = _run("sample", path, job, processes=2)
        found["sample_two"] = {
            "per_s": sum(part["per_s"] for part in two),
            "per_cpu_s": sum(part["per_cpu_s"] for part in two),
            "peak_mb": max(part["peak_mb"] for part in two),
        }
        sizes = {p: p.stat().st_size for p in path.rglob("*") if p.is_file()}
        cached = sum(size for p, size in sizes.items() if ".cache" in p.parts)
        found["set_mb"] = (sum(sizes.values()) - cached) / 1e6
        found["cache_mb"] = cached / 1e6
        if job.lerobot is not None:
            command = [str(job.lerobot), "-c", LEROBOT, str(path), str(LENGTH), str(FPS), "200"]
            environment = os.environ | {"HF_HUB_OFFLINE": "1"}
            environment.pop("PYTHONPATH", None)
            said = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=environment
            )
            found["lerobot"] = json.loads(said.stdout.splitlines()[-1])
    return found | {
        "frames": job.frames,
        "clips": job.clips,
        "image_size": job.image_size,
        "seed": job.seed,
        "cpu_count": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _run(name: str, path: Path, job: DataBenchmark, processes: int = 1) -> list[dict[str, Any]]:
    values = json.dumps({"frames": job.frames, "image_size": job.image_size})
    code = (
        "import json, sys; from pathlib import Path; from benchmarks import data;"
        "job = data.DataBenchmark(**json.loads(sys.argv[3]), clips=int(sys.argv[4]));"
        "print(json.dumps(data.PARTS[sys.argv[1]](Path(sys.argv[2]), job)))"
    )
    command = [sys.executable, "-c", code, name, str(path), values, str(job.clips)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
        for _ in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"data benchmark: {name} failed")
    return [json.loads(line) for line in said]


def section(summary: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    size = summary["image_size"]
    clip_mb = LENGTH * size * size * 3 / 1e6
    lines = [
        "## Data sets: speed and memory\n",
        f"`python -m benchmarks.data --frames {summary['frames']} --clips {summary['clips']}`: "
        f"frames of {size} px, {FPS:g} a second, "
        f"{summary['set_mb']:.0f} MB on disk, cache {summary['cache_mb']:.0f} MB, seed "
        f"{summary['seed']}. Processes of one thread each; load of the machine "
        f"{summary['load']:.1f} on {summary['cpu_count']} cores, so the rate by processor time is "
        "the one to compare.\n",
        "| | by the clock | by processor time | peak memory |",
        "|---|---|---|---|",
    ]
    rows = (
        ("write", "writing, frames/s"),
        ("cache", "building the cache, frames/s"),
        ("sample", f"clips of {LENGTH} frames/s, one process"),
        ("sample_two", f"clips of {LENGTH} frames/s, two processes together"),
    )
    for name, title in rows:
        row = summary[name]
        lines.append(
            f"| {title} | {row['per_s']:.0f} | {row['per_cpu_s']:.0f} | {row['peak_mb']:.0f} MB |"
        )
    if row := summary.get("lerobot"):
        lines.append(
            f"| lerobot {row['version']}, clips of {LENGTH} frames/s from the same files | "
            f"{row['per_s']:.0f} | {row['per_cpu_s']:.0f} | |"
        )
    lines.append(
        f"\nA clip is {clip_mb:.3f} MB, copied once: {summary['sample']['per_cpu_s']:.0f} of them "
        f"are {summary['sample']['per_cpu_s'] * clip_mb / 1e3:.1f} GB/s. Elsewhere lerobot was "
        "measured to write 156 frames/s and to read 224 to 267 clips/s at 128 px; it decodes the "
        "video for every clip, the cache has it decoded.\n"
    )
    return "\n".join(lines)


def main() -> int:
    """Measure and write the summary."""
    job = tyro.cli(DataBenchmark, description=__doc__)
    summary = measure(job)
    if job.json is not None:
        write_json(job.json, summary)
    print(section(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
