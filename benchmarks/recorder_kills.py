"""Kill the recorder again and again, and see what is left of its recordings.

    python -m benchmarks.recorder_kills --trials 60 --json runs/results/recorder_kills.json

A robot that is not PyBullet publishes joints, pose and camera; `recorder_node` records them and is
killed (SIGKILL) at a random moment of its recording. Each bag is then read as `foresee data import`
reads it, which makes it whole. Counted is how much of the end of every topic is missing: from when
the process was killed back to the topic's last message, less the time between two of its messages.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from foresee.statistics import percentiles
from foresee.summary import write_json
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import FakeRobotParameters, RecorderParameters
from world_model.data.bags import read_bag
from world_model.data.spec import DatasetError

TOPICS = ("scene/image_raw", "joint_states", "tool_pose")
_PATIENCE_S = 60.0
_LATEST_S = 3.0  # of the kill, after the recorder has said that it records and there is a file


@dataclass(frozen=True)
class Options:
    """Kill the recorder and read what is left."""

    trials: int = 60
    """Recordings."""
    seed: int = 0
    """Of the moments of the kills."""
    json: Path | None = None
    """Write the result here."""


def measure(options: Options) -> dict[str, Any]:
    """Lost seconds of each recording; Ctrl-C ends it early, with what there is so far."""
    rng = np.random.default_rng(options.seed)
    lost_s: list[float] = []
    unreadable: list[str] = []
    with tempfile.TemporaryDirectory(prefix="foresee-kills-") as name:
        folder = Path(name)
        robot = NodeSpec("fake_robot_node", FakeRobotParameters())
        with Graph([robot], folder / "robot") as graph:
            graph.wait_ready(_PATIENCE_S)
            try:
                for number in tqdm(range(options.trials), desc="kills", unit="kill"):
                    bag = folder / f"bag-{number}"
                    killed_s = _record(bag, graph.domain_id, float(rng.uniform(0.0, _LATEST_S)))
                    try:
                        lost_s.append(_lost_s(bag, killed_s))
                    except DatasetError as error:
                        unreadable.append(str(error))
            except KeyboardInterrupt:
                tqdm.write("interrupted")
    return {
        "kills": len(lost_s) + len(unreadable),
        "seed": options.seed,
        "unreadable": unreadable,
        "lost_s": percentiles(lost_s),
        "worst_lost_s": round(max(lost_s), 3) if lost_s else None,
        "over_a_second": sum(lost > 1.0 for lost in lost_s),
        "load": round(os.getloadavg()[0], 1),
    }


def _record(bag: Path, domain_id: int, for_s: float) -> float:
    """Record for a while and be killed; when, in seconds of the epoch."""
    recorder = NodeSpec("recorder_node", RecorderParameters(path=str(bag), topics=TOPICS))
    with Graph([recorder], bag.with_suffix(".run"), domain_id) as graph:
        graph.wait_ready(_PATIENCE_S)
        deadline_s = time.monotonic() + _PATIENCE_S
        while not any(bag.glob("*.mcap")) or not sum(p.stat().st_size for p in bag.glob("*.mcap")):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{bag}: nothing is recorded; see {bag.with_suffix('.run')}")
            time.sleep(0.05)
        time.sleep(1.0 + for_s)  # it looks for new topics five times a second
        os.kill(graph.pids["recorder_node"], signal.SIGKILL)
        killed_s = time.time()
        graph.stop()
    return killed_s


def _lost_s(bag: Path, killed_s: float) -> float:
    """How much of the end is missing of the topic that lost most."""
    stamps_s: dict[str, list[float]] = defaultdict(list)
    for message in read_bag(bag):
        stamps_s[message.topic].append(1e-9 * message.stamp_ns)
    missing = {f"/{topic}" for topic in TOPICS} - set(stamps_s)
    if missing:
        raise DatasetError(f"{bag}: nothing of {sorted(missing)}")
    return max(
        killed_s - times[-1] - (float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
        for times in stamps_s.values()
    )


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md."""
    lost = found["lost_s"]
    return (
        "## Recordings of a killed recorder\n\n"
        f"`python -m benchmarks.recorder_kills --trials {found['kills']}` (seed {found['seed']}, "
        f"load {found['load']}): SIGKILL at a random moment; {len(found['unreadable'])} of "
        f"{found['kills']} recordings could not be read. Missing of the end, of the topic that "
        f"lost most: median {lost['p50']:.2f} s, worst {found['worst_lost_s']:.2f} s; more than a "
        f"second in {found['over_a_second']}.\n"
    )


def main() -> int:
    """Run and print; 1 when a recording could not be read or lacks more than its last second."""
    options = tyro.cli(Options, description=__doc__)
    found = measure(options)
    if options.json is not None:
        write_json(options.json, found)
    print(json.dumps(found, indent=1))
    return int(bool(found["unreadable"] or found["over_a_second"]))


if __name__ == "__main__":
    sys.exit(main())
