"""The whole graph at full rate for hours: does it stay what it was?

    python -m benchmarks.soak --hours 2 --json runs/results/soak.json
    python -m benchmarks.soak --hours 8 --json runs/soak8.json

The graph of `benchmarks.faults` without any fault: goal after goal, an independent recorder at the
actuator, the same rules. Every half minute it notes what the robot was told, the memory of every
process, how late commands were and how old a frame was when its plan was sent. Memory growth and
drift compare the last quarter of the time with the first (after ten minutes of warming up, or a
tenth of the time). A robot that stopped for good, as it must where the machine stood still in
motion, is armed again, as a person would; that is counted, and so is every half minute in which it
was not commanded all the time. Leave the machine alone meanwhile, or say with `--beside` what else
it did.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
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
from ros_nodes.params import CommandParameters

RATE_HZ = CommandParameters().rate_hz
_GOAL_S = 3.0
_NOTE_S = 30.0
_WARM_UP_S = 600.0
_COMMANDED = 0.9  # of the commands that half a minute has

Note = dict[str, Any]
Notes = list[Note]


class Quarters(NamedTuple):
    """Medians of a value, and its relative change from the first quarter to the last."""

    first: float
    second: float
    third: float
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
    beside: str = ""
    """What else the machine does meanwhile, for whoever reads the figures."""


def soak(job: Soak) -> dict[str, Any]:
    """Run; the summary of what was noted so far after Ctrl-C."""
    notes: list[dict[str, Any]] = []
    violations: list[str] = []
    stops: list[dict[str, Any]] = []
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
                    if not rig.says_armed():
                        stops.append(_arm_again(rig, now_s - began_s))
                        bar.write(f"had stopped, armed again: {stops[-1]['why']}")
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
                            write_json(job.json, summary(job, notes, violations, stops))
            except KeyboardInterrupt:
                bar.write("interrupted")
            rig.arm(False)
    return summary(job, notes, violations, stops)


def _arm_again(rig: Rig, at_s: float) -> dict[str, Any]:
    """What a person does when the robot has stopped for good; why it had."""
    why = rig.client.command_status.get("disarmed_by") or "command_node says nothing"
    rig.disarmed(time.monotonic())
    rig.arm()
    return {"at_s": round(at_s, 1), "why": why}


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


def summary(
    job: Soak, notes: Notes, violations: list[str], stops: list[dict[str, Any]]
) -> dict[str, Any]:
    """What came of it, from the notes."""
    spans_s = np.diff([n["at_s"] for n in notes], prepend=0.0)
    due = _COMMANDED * RATE_HZ * spans_s
    return {
        "plant": job.plant,
        "beside": job.beside,
        "hours": round((notes[-1]["at_s"] if notes else 0.0) / 3600, 3),
        "violations": violations,
        "commands": sum(n["commands"] for n in notes),
        "stops": stops,
        "not_commanded": sum(n["commands"] < most for n, most in zip(notes, due, strict=True)),
        "plans": sum(n["plans"] for n in notes),
        "not_judged": sum(bool(n["recorder_paused_s"]) for n in notes),
        "cpu_count": os.cpu_count(),
        "notes": notes,
        **_figures(notes),
    }


def _figures(notes: Notes) -> dict[str, Any]:
    """What became of memory and times, after warming up."""
    end_s = notes[-1]["at_s"] if notes else 0.0
    warm = [n for n in notes if n["at_s"] >= min(_WARM_UP_S, 0.1 * end_s)]
    if not warm:
        return {}
    result: dict[str, Any] = {
        "memory_mb": {
            name: _medians(lambda n, name=name: n["rss_mb"].get(name, np.nan), warm)
            for name in warm[0]["rss_mb"]
        },
        "ticks_missed": [_missed(notes, quarter) for quarter in _quarters(warm)],
    }
    for key in ("lateness_p99_ms", "tick_p99_ms", "latency_p99_ms", "load"):
        result[key] = _medians(lambda n, key=key: n.get(key, np.nan), warm)
    return result


def _quarters(warm: Notes) -> list[Notes]:
    """Four parts of equal length; of less than four notes the same one again."""
    ends = [round(len(warm) * part / 4) for part in range(5)]
    return [
        warm[begin:end] or warm[min(begin, len(warm) - 1) :][:1]
        for begin, end in itertools.pairwise(ends)
    ]


def _missed(notes: Notes, quarter: Notes) -> int:
    """Ticks that were missed in a quarter; the node counts them from its start on."""
    before = [n.get("ticks_missed", 0) for n in notes if n["at_s"] < quarter[0]["at_s"]]
    return int(quarter[-1].get("ticks_missed", 0) - (before[-1] if before else 0))


def _medians(read: Callable[[Note], float], warm: Notes) -> Quarters:
    """Of each quarter, and the change from the first to the last."""
    found = [float(np.nanmedian([read(n) for n in quarter])) for quarter in _quarters(warm)]
    first, second, third, last = (round(value, 3) for value in found)
    return Quarters(first, second, third, last, round(found[3] / found[0] - 1, 4))


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md, from the notes."""
    found = found | _figures(found["notes"])
    beside = f" Beside it: {found['beside']}." if found.get("beside") else ""
    lines = [
        "## Hours at full rate\n",
        f"`python -m benchmarks.soak --hours {found['hours']:.2g}` ({found['plant']}): "
        f"{found['commands']} commands, {found['plans']} plans, {len(found['violations'])} rules "
        f"broken at the actuator ({found['not_judged']} of {len(found['notes'])} half minutes were "
        "not judged: the recorder itself had not run for more than 50 ms). "
        f"{_stopped(found)} Medians over half "
        "minutes in each quarter of the time, after warming up. Asked: memory grows by less than 1 "
        f"%, p99 by less than 10 % from the first quarter to the last.{beside}\n",
        "| quarter | first | second | third | last | change |",
        "|---|---|---|---|---|---|",
    ]
    rows = [
        ("commands late, p99, ms", found["lateness_p99_ms"]),
        ("then to be sent, p99, ms", found["tick_p99_ms"]),
        ("frame to plan, p99, ms", found["latency_p99_ms"]),
        *((f"memory of {name}, MB", values) for name, values in found["memory_mb"].items()),
        ("load of the machine", found["load"]),
    ]
    for title, (*medians, change) in rows:
        cells = " | ".join(f"{value:.4g}" for value in medians)
        lines.append(f"| {title} | {cells} | {change:+.1%} |")
    missed = " | ".join(str(count) for count in found["ticks_missed"])
    lines.append(f"| ticks missed, of 100 a second | {missed} | |")
    return "\n".join(lines) + "\n"


def _stopped(found: dict[str, Any]) -> str:
    """How often it had to be armed again, and whether it was commanded all the time."""
    idle = f"in {found['not_commanded']} half minutes less than nine in ten commands came."
    if not found["stops"]:
        return f"It never stopped by itself; {idle}"
    reasons = Counter(stop["why"] for stop in found["stops"])
    said = ", ".join(f"{why} ({count})" for why, count in reasons.most_common())
    return f"It stopped for good and was armed again {len(found['stops'])} times: {said}; {idle}"


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
