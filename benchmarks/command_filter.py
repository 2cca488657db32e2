"""How long one tick of the joint-level command filter takes, at seven joints.

    python -m benchmarks.command_filter --ticks 20000 --json filter.json

A Panda among a workspace box, a keep-out sphere, a keep-out box and its own body is told to move
its tool in random directions, a new one every 0.4 s, faster than it may, so that most ticks push at
some limit. Two measures of each tick: time on the clock, which holds whatever else the machine
does, and time on the processor of the thread alone. The load average is printed with them.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.panda import DT_S, HOME, panda_arm, panda_limits
from controller.motion_filter import follow
from controller.viability import Motion
from foresee.summary import write_json

_NEW_WISH_TICKS = 40
_WARM_UP_TICKS = 50


@dataclass(frozen=True)
class Options:
    """What to measure."""

    ticks: int = 20_000
    """how many ticks"""
    seed: int = 0
    """of the wishes"""
    json: Path | None = None
    """file for the figures"""


def measure(ticks: int, seed: int) -> dict[str, Any]:
    """Run it; milliseconds by percentile, and what limited the commands."""
    rng = np.random.default_rng(seed)
    arm, limits = panda_arm(), panda_limits()
    motion, wanted = Motion.at_rest(HOME), np.zeros(3)
    wall_ms, processor_ms = [], []
    limited, lowest_m, worst = 0, np.inf, ""
    by_kind: Counter[str] = Counter()
    for tick in tqdm(range(ticks + _WARM_UP_TICKS), desc="ticks", unit="tick"):
        if tick % _NEW_WISH_TICKS == 0:
            wanted = rng.uniform(-0.6, 0.6, 3)
        begun, begun_here = time.perf_counter_ns(), time.thread_time_ns()
        command = follow(limits, motion, wanted, DT_S, arm, "tool")
        spent_here, spent = time.thread_time_ns() - begun_here, time.perf_counter_ns() - begun
        if tick >= _WARM_UP_TICKS:
            wall_ms.append(spent / 1e6)
            processor_ms.append(spent_here / 1e6)
        motion = command.motion
        limited += bool(command.clamps)
        by_kind.update({clamp.split(".")[0] for clamp in command.clamps})
        room_m, pair = arm.room(motion.position[None])
        if room_m < lowest_m:
            lowest_m, worst = room_m, pair
    return {
        "ticks": ticks,
        "seed": seed,
        "pairs": len(arm.pairs),
        "wall_ms": _percentiles(wall_ms),
        "processor_ms": _percentiles(processor_ms),
        "limited_share": limited / (ticks + _WARM_UP_TICKS),
        "limited_by": dict(by_kind.most_common()),
        "least_room_beyond_margin_m": lowest_m,
        "between": worst,
        "load_average_1_min": os.getloadavg()[0],
        "cores": len(os.sched_getaffinity(0)),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {
        name: round(float(np.percentile(values, share)), 3)
        for name, share in (("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100))
    }


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md."""
    lines = [
        "## The command filter\n",
        f"`python -m benchmarks.command_filter` ({found['ticks']} ticks, seed {found['seed']}): a "
        f"Panda of 7 joints, {found['pairs']} pairs kept apart, told to move its tool faster than "
        f"it may, a new way every 0.4 s; {found['limited_share']:.0%} of the ticks are limited by "
        f"something. {found['cores']} cores, load {found['load_average_1_min']:.1f}. What was "
        "asked: p99 of at most 2 ms.\n",
        "| ms a tick | p50 | p90 | p99 | p99.9 | worst |",
        "|---|---|---|---|---|---|",
    ]
    for key, title in (("wall_ms", "on the clock"), ("processor_ms", "of the processor")):
        row = " | ".join(f"{value:.2f}" for value in found[key].values())
        lines.append(f"| {title} | {row} |")
    lines.append(
        "\nThe least room beyond the margin over all positions commanded was "
        f"{1e6 * found['least_room_beyond_margin_m']:.0f} µm. The slowest ticks are those in which "
        "the shield tries several shares of what is wanted, each with a look along its stop.\n"
    )
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    options = tyro.cli(Options, description=__doc__)
    figures = measure(options.ticks, options.seed)
    print(json.dumps(figures, indent=2))
    if options.json is not None:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
