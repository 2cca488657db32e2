"""Make the figures of docs/results.md: run the commands, keep their JSON, write the page.

    python -m benchmarks.results                 # everything, about 40 minutes on two cores
    python -m benchmarks.results --only reach    # one part
    python -m benchmarks.results --only          # none: the page alone

Parts: ``scratch`` (make demo SCRATCH=1), ``demo`` (make demo), ``reach``, ``push`` and ``rooms``
(100 episodes each with the shipped bundles), ``data`` (speed and memory of data sets). What other
benchmarks wrote there under their own names (`python -m benchmarks.faults --json
runs/results/faults.json`, ...) is put in as well: planning, links, probes, recipes, frames and
robustness (of learning), streams (of camera_streams), command_filter, filter_boundary, lateness,
surprise, faults, faults_fake, fuzz, recorder_kills, soak. What the page has of other machines'
runs, of which no JSON is here, stays as it is.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import (
    camera_streams,
    command_filter,
    data,
    filter_boundary,
    fuzz,
    lateness,
    learning_page,
    links,
    planning_page,
    probes,
    recorder_kills,
    soak,
    surprise,
)
from benchmarks.faults import report as faults

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
EVALUATE = "foresee eval --episodes 100 --seed 10000"
COMMANDS = {
    "scratch": "foresee demo --scratch",
    "demo": "foresee demo",
    "reach": f"{EVALUATE} --env foresee/Reach-v0",
    "push": f"{EVALUATE} --env foresee/Push-v0",
    "rooms": f"{EVALUATE} --env foresee/TwoRooms-v0",
    "data": "python -m benchmarks.data",
}
# What is run by hand, in the order of the page.
PAGES: dict[str, Callable[[dict[str, Any]], str]] = {
    "probes": probes.section,
    "recipes": learning_page.section,
    "frames": learning_page.section,
    "robustness": learning_page.section,
    "planning": planning_page.section,
    "streams": camera_streams.section,
    "command_filter": command_filter.section,
    "filter_boundary": filter_boundary.section,
    "lateness": lateness.section,
    "surprise": surprise.section,
    "faults": faults.section,
    "faults_fake": faults.section,
    "fuzz": fuzz.section,
    "recorder_kills": recorder_kills.section,
    "soak": soak.section,
}


@dataclass
class Results:
    """Run the measurements and write docs/results.md."""

    only: tuple[str, ...] = tuple(COMMANDS)
    """Which parts to run: scratch, demo, reach, push, rooms, data."""
    folder: Path = ROOT / "runs" / "results"
    """Where the JSON summaries are kept."""


def main() -> int:
    """Run the parts that were asked for, then put every summary there is into the page."""
    job = tyro.cli(Results, description=__doc__)
    if unknown := set(job.only) - set(COMMANDS):
        print(f"results: unknown part {sorted(unknown)}; there are {list(COMMANDS)}")
        return 2
    job.folder.mkdir(parents=True, exist_ok=True)
    for name in job.only:
        program, *words = COMMANDS[name].split()
        command = [
            sys.executable,
            *(words if program == "python" else ["-m", "foresee.cli", *words]),
        ]
        print(f"$ {COMMANDS[name]}", flush=True)
        summary = str((job.folder / f"{name}.json").resolve())
        subprocess.run([*command, "--json", summary], check=True, cwd=ROOT)
    found = {
        name: json.loads(path.read_text())
        for name in COMMANDS
        if (path := job.folder / f"{name}.json").is_file()
    }
    for name in (*PAGES, "links"):
        if (path := job.folder / f"{name}.json").is_file():
            found[name] = json.loads(path.read_text())
    PAGE.write_text(merged(PAGE.read_text() if PAGE.is_file() else "", page(found)))
    print(f"wrote {PAGE.relative_to(ROOT)}, anew: {', '.join(found) or 'nothing'}")
    return 0


def merged(old: str, new: str) -> str:
    """The old page in which parts of the new one, told by their headings, take the old ones' place.

    What only the old page has stays; a part of its own comes after the one it follows in the new.
    """
    parts, before = _parts(old), ("", "")
    for place, text in _parts(new).items():
        if place not in parts:
            places = list(parts)
            follows = [p for p in places if p == before or p[0] == before[0] != place[0]]
            at = places.index(follows[-1]) + 1 if follows else len(places)
            parts = {p: parts[p] for p in places[:at]} | {place: text} | parts
        parts[place] = text
        before = place
    return "\n\n".join(parts.values()) + "\n"


def _parts(page: str) -> dict[tuple[str, str], str]:
    """The text from each heading to the next, by the titles of section and subsection."""
    parts: dict[tuple[str, str], str] = {}
    section = ""
    for text in re.split(r"^(?=#{1,3} )", page, flags=re.MULTILINE):
        if not (text := text.strip()):
            continue
        marks, _, title = text.splitlines()[0].partition(" ")
        section = section if marks == "###" else title
        parts[section, title if marks == "###" else ""] = text
    return parts


def page(found: dict[str, dict[str, Any]]) -> str:
    """The page in Markdown, from the summaries by part."""
    parts = [
        "# Results\n",
        "Written by `python -m benchmarks.results`, which runs evaluations, demo and data "
        "benchmark and puts in what the other commands shown left in runs/results. "
        f"Machine: {platform.machine()}, {os.cpu_count()} CPU cores, no GPU. Success is judged "
        "by the simulator's truth, which no agent is given. Intervals are Wilson's, 95 %.\n",
    ]
    for name, title in (("reach", "Reach-v0"), ("push", "Push-v0"), ("rooms", "TwoRooms-v0")):
        if name in found:
            parts.append(_evaluation(title, COMMANDS[name], found[name]))
    if "links" in found:
        parts.append(links.section(found["links"]))
    for name, title in (("demo", "The demo in real time"), ("scratch", "From scratch")):
        if name in found:
            parts.append(_demo(title, COMMANDS[name], found[name]))
    parts += [section(found[name]) for name, section in PAGES.items() if name in found]
    if "data" in found:
        parts.append(data.section(found["data"]))
    return "\n".join(parts)


def _evaluation(title: str, command: str, summary: dict[str, Any]) -> str:
    rows = {"foresee": summary, **{f"floor: {k}": v for k, v in summary["floors"].items()}}
    lines = [
        f"## {title}\n",
        f"`{command}` (seeds {summary['seed']} to {summary['seed'] + summary['n'] - 1}, not in the "
        f"training data; bundle from a data set of {summary['trained_on_frames']} frames, a tenth "
        f"of it held out)\n",
        "| | success | 95 % interval | n | start distance | final: median | p95 | max |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        low, high = row["ci95"]
        final = row["final_distance_m"]
        lines.append(
            f"| {name} | {row['success_rate']:.0%} | {low:.1%} – {high:.1%} | {row['n']} | "
            f"{100 * row['start_distance_m']['mean']:.1f} cm | {100 * final['median']:.1f} cm | "
            f"{100 * final['p95']:.1f} cm | {100 * final['max']:.1f} cm |"
        )
    lines += _stricter(rows)
    plan, planner = summary["plan_ms"], summary["agent"]["planner"]
    lines.append(
        "\nThe world waits for each plan, however long that takes, so that every machine gets the "
        f"same result. A plan takes {plan['p50']:.1f} ms (p95 {plan['p95']:.1f}, p99 "
        f"{plan['p99']:.1f}) on one thread, two side by side: {planner['method'].upper()}, "
        f"{planner['samples']} samples × {planner['horizon']} steps × {planner['iterations']} "
        "iterations. "
        f"Bundle manifest {summary['manifest_sha256'][:12]}. Wall time {summary['wall_s']:.0f} s.\n"
    )
    return "\n".join(lines)


def _stricter(rows: dict[str, dict[str, Any]]) -> list[str]:
    """What else the world's truth tells apart, beside success itself."""
    names = list(rows["foresee"].get("also", {}))
    if not names:
        return []
    lines = ["", f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row, summary in rows.items():
        cells = []
        for name in names:
            also = summary["also"][name]
            cells.append(
                f"{also['success_rate']:.0%} ({also['ci95'][0]:.1%} – {also['ci95'][1]:.1%})"
            )
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return lines


def _demo(title: str, command: str, summary: dict[str, Any]) -> str:
    lines = [
        f"## {title}\n",
        f"`{command}`: sim, rendering, agent, command node and recorder as processes, real time.\n",
        "| goal | start | end | plans/s | plan p50 | plan p99 | frame to plan p99 | commands/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number, goal in enumerate(summary["goals"], 1):
        lines.append(
            f"| {number} | {100 * goal['start_distance_m']:.1f} cm | "
            f"{100 * goal['final_distance_m']:.1f} cm | {goal['plan_hz']:.1f} | "
            f"{goal['plan_ms']['p50']:.0f} ms | {goal['plan_ms']['p99']:.0f} ms | "
            f"{goal['latency_ms']['p99']:.0f} ms | {goal['command_hz']:.0f} |"
        )
    lines.append(f"\nWall time {summary['wall_s']:.0f} s after installation.")
    if made := summary.get("scratch"):
        lines.append(
            f"Of that: {made['frames']} frames collected in {made['collect_s']:.0f} s, trained in "
            f"{made['train_s']:.0f} s ({made['data_wait_share']:.1%} of it waiting for data), "
            f"exported in {made['export_s']:.0f} s. Held-out rollout error "
            f"{made['validation']['rollout_ratio']:.3f} × copy-last."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
