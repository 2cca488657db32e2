"""The whole graph at full rate for hours: does it stay what it was?

    python -m benchmarks.soak --hours 2 --json runs/results/soak.json
    python -m benchmarks.soak --hours 8 --json runs/soak8.json

The graph of `benchmarks.faults` without any fault: goal after goal, an independent recorder at the
actuator, the same rules. Every half minute it notes what the robot was told, the memory of every
process, how late commands were and how old a frame was when its plan was sent. Memory growth and
drift compare the last quarter of the time with the first (after ten minutes of warming up, or a
tenth of the time).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.faults.judge import judge
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.rig import Rig
from foresee.summary import write_json

_GOAL_S = 3.0
_NOTE_S = 30.0
_WARM_UP_S = 600.0

Note = dict[str, Any]
Notes = list[Note]


class Quarters(NamedTuple):
    """Medians of a value, and its relative change from the first quarter to the last."""

    first: float
    whole: float
    last: float
    change: float


@dataclass
class Soak:
    """Run the graph for hours and note what changes."""

    hours: float = 2.0
    """How long."""
    plant: str = "simulation"
    """The robot: simulation or fake."""
    json: Path | None = None
    """Write the summary here, after every note."""


def soak(job: Soak) -> dict[str, Any]:
    """Run; the summary of what was noted so far after Ctrl-C."""
    notes: list[dict[str, Any]] = []
    violations: list[str] = []
    with tempfile.TemporaryDirectory(prefix="foresee-soak-") as folder:
        run_dir = Path(folder)
        plant = PLANTS[job.plant](run_dir / "graph", False)
        with (
            Rig(plant, run_dir / "graph", seed=0) as rig,
            tqdm(total=round(job.hours * 3600)) as bar,
        ):
            rig.arm()
            began_s = noted_s = time.monotonic()
            try:
                while (now_s := time.monotonic()) - began_s < job.hours * 3600:
                    rig.next_goal()
                    time.sleep(_GOAL_S)
                    bar.n = round(min(now_s - began_s, bar.total))
                    bar.refresh()
                    if now_s - noted_s >= _NOTE_S:
                        note, found = _note(rig, run_dir / "heard.npz", now_s - began_s, noted_s)
                        noted_s = now_s
                        notes.append(note)
                        violations += found
                        for line in found:
                            bar.write(f"VIOLATION {line}")
                        if job.json is not None:
                            write_json(job.json, summary(job, notes, violations))
            except KeyboardInterrupt:
                bar.write("interrupted")
            rig.arm(False)
    return summary(job, notes, violations)


def _note(rig: Rig, file: Path, at_s: float, since_s: float) -> tuple[dict[str, Any], list[str]]:
    """What is new since the last one, at ``since_s``: of the second before there is a copy."""
    heard = rig.heard(file)
    paused_s = float(heard.paused_s.max(initial=0.0))  # of the recorder: no evidence either way
    broken = [] if paused_s else judge(heard, rig.plant.rules)
    found = [f"{v.rule} {at_s:.0f} s: {v.detail}" for v in broken if v.time_s > since_s]
    plans = [r for r in rig.client.plan_reports() if r.received_s > since_s]
    latencies = [r.values["latency_ms"] for r in plans if "latency_ms" in r.values]
    status = rig.client.command_status
    note = {
        "at_s": round(at_s, 1),
        "recorder_paused_s": round(paused_s, 3),
        "commands": int((heard.command_s > since_s).sum()),
        "plans": len(plans),
        "usable_plans": sum(r.usable for r in plans),
        "lateness_p99_ms": float(status.get("lateness_p99_ms", "nan")),
        "tick_p99_ms": float(status.get("tick_p99_ms", "nan")),
        "ticks_missed": int(status.get("ticks_missed", "0")),
        "latency_p99_ms": float(np.percentile(latencies, 99)) if latencies else float("nan"),
        "rss_mb": {name: _rss_mb(pid) for name, pid in rig.graph.pids.items()},
        "load": os.getloadavg()[0],
    }
    return note, found


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)


def summary(job: Soak, notes: list[dict[str, Any]], violations: list[str]) -> dict[str, Any]:
    """What came of it, from the notes."""
    end_s = notes[-1]["at_s"] if notes else 0.0
    warm = [n for n in notes if n["at_s"] >= min(_WARM_UP_S, 0.1 * end_s)]
    quarter = max(1, len(warm) // 4)
    first, last = warm[:quarter], warm[-quarter:]
    result: dict[str, Any] = {
        "plant": job.plant,
        "hours": round(end_s / 3600, 3),
        "violations": violations,
        "commands": sum(n["commands"] for n in notes),
        "plans": sum(n["plans"] for n in notes),
        "not_judged": sum(bool(n["recorder_paused_s"]) for n in notes),
        "cpu_count": os.cpu_count(),
        "notes": notes,
    }
    if warm:
        result["memory_mb"] = {
            name: _medians(lambda n, name=name: n["rss_mb"].get(name, np.nan), first, warm, last)
            for name in warm[0]["rss_mb"]
        }
        result["ticks_missed"] = notes[-1].get("ticks_missed", 0)
        for key in ("lateness_p99_ms", "tick_p99_ms", "latency_p99_ms", "load"):
            result[key] = _medians(lambda n, key=key: n.get(key, np.nan), first, warm, last)
    return result


def _medians(read: Callable[[Note], float], first: Notes, whole: Notes, last: Notes) -> Quarters:
    """Of the first quarter, the whole and the last quarter, and the change from first to last."""
    begin, middle, end = (
        float(np.nanmedian([read(note) for note in part])) for part in (first, whole, last)
    )
    return Quarters(round(begin, 3), round(middle, 3), round(end, 3), round(end / begin - 1, 4))


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md."""
    lines = [
        "## Hours at full rate\n",
        f"`python -m benchmarks.soak --hours {found['hours']:.2g}` ({found['plant']}): "
        f"{found['commands']} commands, {found['plans']} plans, {len(found['violations'])} rules "
        f"broken at the actuator ({found['not_judged']} of {len(found['notes'])} half minutes were "
        "not judged: the recorder itself had not run for more than 50 ms). Medians over half "
        "minutes, after warming up. Asked: memory grows by less than 1 %, p99 by less than 10 % "
        "from the first quarter to the last.\n",
        "| | first quarter | whole | last quarter | change |",
        "|---|---|---|---|---|",
    ]
    rows = [("commands late, p99, ms", found["lateness_p99_ms"])]
    if "tick_p99_ms" in found:
        rows += [("then to be sent, p99, ms", found["tick_p99_ms"])]
    rows += [("frame to plan, p99, ms", found["latency_p99_ms"])]
    rows += [(f"memory of {name}, MB", values) for name, values in found["memory_mb"].items()]
    rows += [("load of the machine", found["load"])]
    for title, (first, whole, last, change) in rows:
        lines.append(f"| {title} | {first:.4g} | {whole:.4g} | {last:.4g} | {change:+.1%} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run and print; 1 when a rule was broken."""
    job = tyro.cli(Soak, description=__doc__)
    result = soak(job)
    if job.json is not None:
        write_json(job.json, result)
    print(json.dumps({k: v for k, v in result.items() if k != "notes"}, indent=1))
    return int(bool(result["violations"]))


if __name__ == "__main__":
    sys.exit(main())
