"""Half an hour of two cameras, from ROS 2 nodes to a bundle that plans: what each step takes.

    python -m benchmarks.camera_streams --out runs/streams --json runs/results/streams.json

It runs the commands of docs/data.md one after the other, each in a process of its own: record the
simulated robot in real time while it explores, import the bag, check the data set, train, export,
and judge the bundle by `foresee eval`. A step whose result is there already is not done again, so
that an interrupted run goes on (its figures are kept beside it).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import yaml

from benchmarks.steps import ROOT, Step, StepError
from foresee.summary import write_json

CAMERAS = ("scene", "front")
SIDE = 64
SEED = 10_000


@dataclass
class CameraStreams:
    """Record, import, check, train, export, evaluate; print what each step took."""

    out: Path
    """Folder for bag, data set, run, bundle and the summaries of the steps."""
    minutes: float = 30.0
    """Length of the recording, real time."""
    steps: int = 4000
    """Optimiser steps of the training; otherwise its defaults."""
    episodes: int = 100
    """Episodes of the evaluation."""
    threads: int = 0
    """Threads of the training; 0 takes one for each core."""
    json: Path | None = None
    """Write the summary here."""


def commands(job: CameraStreams) -> dict[str, list[str]]:
    """The steps in their order, as words for `foresee`."""
    bag, data, run, bundle = (str(job.out / n) for n in ("bag", "data", "run", "bundle"))
    config = str(job.out / "import.yaml")
    record = ["data", "record", "--out", bag, "--minutes", f"{job.minutes:g}"]
    train = ["train", "--data", data, "--out", run, "--steps", str(job.steps)]
    train += ["--threads", str(job.threads)] if job.threads else []
    evaluate = ["eval", "--bundle", bundle, "--env", "foresee/Reach-v0"]
    return {
        "record": [*record, "--cameras", *CAMERAS],
        "import": ["data", "import", bag, "--config", config, "--out", data],
        "check": ["data", "check", data],
        "train": train,
        "export": ["export", "--checkpoint", run, "--data", data, "--out", bundle],
        "eval": [*evaluate, "--episodes", str(job.episodes), "--seed", str(SEED)],
    }


def measure(job: CameraStreams) -> dict[str, Any]:
    """All steps, with the sizes of what they made."""
    # The steps run in the repository's folder, whatever the caller's is.
    job.out = job.out.resolve()
    job.out.mkdir(parents=True, exist_ok=True)
    mapping = yaml.safe_load((ROOT / "config/import.yaml").read_text())
    mapping["cameras"]["front"] = {"topic": "/front/image_raw", "size": [SIDE, SIDE]}
    (job.out / "import.yaml").write_text(yaml.safe_dump(mapping, sort_keys=False))
    steps = {}
    for name, words in commands(job).items():
        print(f"$ foresee {' '.join(words)}", flush=True)
        steps[name] = Step(name, job.out, words).run()
    return {
        "minutes": job.minutes,
        "cpu_count": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "steps": steps,
        "mb": {name: round(_size_mb(job.out / name), 1) for name in ("bag", "data", "bundle")},
    }


def section(summary: dict[str, Any]) -> str:
    """The section of docs/results.md."""
    steps, size = summary["steps"], summary["mb"]
    imported, judged = steps["import"]["summary"], steps["eval"]["summary"]
    cameras = imported["cameras"]
    low, high = judged["ci95"]
    received = ", ".join(f"{n} {c['received']} ({c['dropped']} lost)" for n, c in cameras.items())
    lines = [
        "## From camera streams to a bundle\n",
        f"`python -m benchmarks.camera_streams --out DIR`: {summary['minutes']:g} minutes of "
        f"{len(cameras)} cameras ({SIDE} px, 10 frames a second) and 100 readings, poses and "
        "commands a second, recorded from the ROS 2 nodes in real time while the robot explores, "
        "then the commands of docs/data.md. Each step is a process of its own (training: "
        f"`{steps['train']['command'].split(' --json')[0]}`); load of the machine "
        f"{summary['load']} on {summary['cpu_count']} cores.\n",
        "| step | wall | processor | peak memory |",
        "|---|---|---|---|",
    ]
    for name, step in steps.items():
        # Of a recording, memory and processor time are the nodes', which are not its children.
        own = name not in ("record", "eval")
        processor = f"{step['cpu_s']:.0f} s" if own else ""
        memory = f"{step['peak_mb']:.0f} MB" if own else ""
        lines.append(f"| {name} | {step['wall_s']:.0f} s | {processor} | {memory} |")
    frames = imported["frames"]
    lines.append(
        f"\nBag {size['bag']:.0f} MB, data set {size['data']:.1f} MB, bundle "
        f"{size['bundle']:.1f} MB. Images received: {received}; {frames} frames in "
        f"{imported['episodes']} episodes, {frames / steps['import']['wall_s']:.0f} frames/s "
        f"imported ({frames / steps['import']['cpu_s']:.0f} by processor time), "
        f"{imported['short_frames']} frames in too short pieces, {len(imported['warnings'])} "
        f"warnings; check: {steps['check']['summary'].get('errors', 0)} errors and "
        f"{steps['check']['summary'].get('warnings', 0)} warnings. The bundle of both "
        f"cameras reaches {judged['success_rate']:.0%} of {judged['n']} goal images of Reach "
        f"({low:.1%} – {high:.1%}; seeds from {judged['seed']}; doing nothing "
        f"{judged['floors']['zero']['success_rate']:.0%}, at random "
        f"{judged['floors']['random']['success_rate']:.0%}, scripted "
        f"{judged['floors']['scripted']['success_rate']:.0%}).\n"
    )
    return "\n".join(lines)


def _size_mb(folder: Path) -> float:
    """Of a folder, without the frames that training has decoded beside a data set."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts]
    return sum(path.stat().st_size for path in files) / 1e6


def main() -> int:
    """Measure and write the summary."""
    job = tyro.cli(CameraStreams, description=__doc__)
    try:
        summary = measure(job)
    except StepError as error:
        print(f"camera_streams: {error}", file=sys.stderr)
        return 1
    if job.json is not None:
        write_json(job.json, summary)
    print(section(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
