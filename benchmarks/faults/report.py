"""The results of a campaign as a table and as the section of docs/results.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.faults.catalog import CLASSES, PAIRS

_PLANTS = {"simulation": "in simulation", "fake": "against the fake hardware"}
_NOTES = {
    "fake": "The fake hardware's pictures are unknown to the bundle: surprise is off. Clocks that "
    "jump and starts beyond the limits are the simulation's alone: this robot has its own time, "
    "and nobody can put it anywhere. "
}


def table(trials: Sequence[dict[str, Any]]) -> str:
    """The results by class, in Markdown: n, violations, the bound that n supports."""
    lines = [
        "| fault | n | moving | held to rest | violated | bound (95 %) | braking began, worst | "
        "back, worst |",
        "|---" * 8 + "|",
    ]
    for name in (*CLASSES, PAIRS):
        rows = [trial for trial in trials if trial["fault"] == name]
        if not rows:
            continue
        broken = sum(bool(r["violations"] or r["problems"]) for r in rows)
        bound = "" if broken else f"< {min(1.0, 3 / len(rows)):.1%}"
        lines.append(
            f"| {name} | {len(rows)} | {sum(r['moving'] for r in rows)} | {_rested(rows)} | "
            f"{broken} | {bound} | {_braked(rows)} | {_worst(rows, 'restart_s', 1.0, 's')} |"
        )
    return "\n".join(lines)


def _rested(rows: Sequence[dict[str, Any]]) -> str:
    """In how many trials it had to rest for so long that it was seen to."""
    count = sum(row.get("rest_s", 0.0) > 0 for row in rows)
    return str(count) if count else ""


def _braked(rows: Sequence[dict[str, Any]]) -> str:
    """The latest beginning of braking, and in how many trials there was one to begin."""
    found = [row["braking_s"] for row in rows if row["braking_s"]]
    zeros = [row["zero_s"] for row in rows if row.get("zero_s") is not None]
    if zeros:
        return f"zero: {1e3 * max(zeros):.3g} ms of {len(zeros)}"
    return f"{1e3 * max(found):.3g} ms of {len(found)}" if found else ""


def _worst(rows: Sequence[dict[str, Any]], key: str, scale: float, unit: str) -> str:
    values = [row[key] for row in rows if row[key] is not None]
    return f"{scale * max(values):.3g} {unit}" if values else ""


def section(results: dict[str, Any]) -> str:
    """Of docs/results.md: one for each plant."""
    plants = sorted({trial["plant"] for trial in results["trials"]})
    return "\n".join(_section(plant, results) for plant in plants)


def _section(plant: str, results: dict[str, Any]) -> str:
    unheard = results.get("not_heard", 0)
    trials = [trial for trial in results["trials"] if trial["plant"] == plant]
    rules = Counter(rule for trial in trials for rule in _broken(trial))
    said = ", ".join(f"{rule} ({count} trials)" for rule, count in rules.most_common())
    lines = [
        f"## Faults, judged at the actuator: {_PLANTS.get(plant, plant)}\n",
        f"`python -m benchmarks.faults --plant {plant} --trials N --json FILE`: the whole graph, "
        "relays on its wires, an independent recorder where the robot is commanded, and rules that "
        "know nothing of what the nodes think: finite commands; speed, acceleration, jerk and "
        "place within the limits (and 10 mm or mrad, by which the robot follows late); nothing "
        "outside ARMED; no more speed from 0.1 s after the time for a new plan is over, and rest "
        "as soon as braking from full speed takes; stamps that ascend. *Network partition*: "
        "images, joint states, poses and plans are cut off at once; services and status are not. "
        "Trial i of a class has seed i. With no violation in n trials the "
        f"bound is 3/n. Of {len(results['trials']) + unheard} trials {unheard} were run again, "
        "because the recorder itself had not run, or had been reached by nothing, for more than 50 "
        "ms, whatever they had shown. "
        "*Moving*: in the moment of the fault. *Held to rest*: trials that lasted long enough "
        "after it had to stop. *Braking began*: after a kill, of those that moved and did not "
        "brake already; of an e-stop the first command of zero. Bodies and keep-out volumes are "
        "judged at the filter alone "
        "([below](#the-command-filter-and-what-may-be-wrong-with-its-input)). "
        f"{_NOTES.get(plant, '')}"
        f"Code: {', '.join(sorted({t.get('commit', 'not noted') for t in trials}))}.\n",
        table(trials),
        f"\nViolated: {said or 'nothing'}.\n",
    ]
    return "\n".join(lines)


def _broken(trial: dict[str, Any]) -> set[str]:
    rules = {violation["rule"] for violation in trial["violations"]}
    return rules | ({"another promise"} if trial["problems"] else set())
