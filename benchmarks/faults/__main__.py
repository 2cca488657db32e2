"""Let everything go wrong, again and again, and judge what the robot was told.

    python -m benchmarks.faults --trials 60 --json runs/results/faults.json      # hours
    python -m benchmarks.faults --trials 300 --json runs/faults300.json          # a night or two
    python -m benchmarks.faults --trials 2 --classes "planner killed" --json f.json

The whole graph runs as on a robot, with relays on its wires and an independent recorder at the
actuator, whose rules (`judge.py`) know nothing of what the nodes think. Trial i of a class has the
seed i: the same fault with the same parameters; only the moment in which it falls is the machine's.
The file is written after every trial, and the same command goes on where it was interrupted. A
trial in which a promise was broken, or the graph failed, stays in the file. With 0 violations in n
trials, the share of trials with one is below 3/n with 95 % confidence.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.faults.catalog import CLASSES, PAIRS
from benchmarks.faults.plants import PLANTS, suits
from benchmarks.faults.report import table
from benchmarks.faults.rig import Rig
from benchmarks.faults.trial import NotHeardError, Trial, failed_trial, run_trial
from foresee.summary import write_json
from ros_nodes.graph import GraphError

_TRIALS_A_GRAPH = 40  # then a new one, so that nothing depends on how old a graph is
_GIVE_UP = 3  # graphs in a row that do not come up or do not work


@dataclass
class Campaign:
    """Run trials of faults on a running graph and judge them at the actuator."""

    json: Path
    """Results, written after every trial; the same command goes on with it."""
    trials: int = 60
    """Trials of each class."""
    classes: tuple[str, ...] = ()
    """Names of classes; all by default. "pairs of faults" is one too."""
    plant: str = "simulation"
    """The robot: simulation or fake."""
    out: Path | None = None
    """Folder for logs, recordings and what was heard where a promise was broken."""


def run(job: Campaign) -> dict[str, Any]:
    """Run what the file does not have yet.

    Raises:
        SystemExit: an unknown class or plant, or a graph that does not come up.
    """
    fitting = [name for name, fault in CLASSES.items() if suits(job.plant, fault)]
    names = job.classes or (*fitting, PAIRS)
    if unknown := [name for name in names if name not in CLASSES and name != PAIRS]:
        raise SystemExit(
            f"faults: no class {unknown[0]!r}; there are: {', '.join(CLASSES)}, {PAIRS}"
        )
    if job.plant not in PLANTS:
        raise SystemExit(f"faults: no plant {job.plant!r}; there are: {', '.join(PLANTS)}")
    out = job.out or Path(tempfile.mkdtemp(prefix="foresee-faults-"))
    out.mkdir(parents=True, exist_ok=True)
    results = json.loads(job.json.read_text()) if job.json.is_file() else {"trials": []}
    done = {(t["plant"], t["fault"], t["seed"]) for t in results["trials"]}
    # Round by round, so that an interrupted campaign has as many trials of each class.
    waiting = [
        (name, seed)
        for seed in range(job.trials)
        for name in names
        if (job.plant, name, seed) not in done
    ]
    failures, commit = 0, _commit()
    with tqdm(total=len(waiting), desc="faults", unit="trial") as bar:

        def keep(trial: Trial) -> None:
            _say(bar, trial)
            results["trials"].append(_row(job.plant, trial) | {"commit": commit})
            write_json(job.json, results)
            waiting.remove((trial.fault, trial.seed))
            bar.update()

        while waiting:
            simulated_time = _needs_simulated_time(waiting[0][0])
            batch = [w for w in waiting if _needs_simulated_time(w[0]) == simulated_time]
            batch = batch[:_TRIALS_A_GRAPH]
            run_dir = out / f"graph_{int(time.time() * 1000)}"
            finished = 0
            try:
                plant = PLANTS[job.plant](run_dir, simulated_time)
                with Rig(plant, run_dir, seed=len(done)) as rig:
                    for name, seed in batch:
                        bar.set_postfix_str(name)
                        try:
                            trial = run_trial(rig, CLASSES.get(name), seed, out)
                        except NotHeardError as error:
                            bar.write(f"{name}, seed {seed}, is tried again: {error}")
                            results["not_heard"] = results.get("not_heard", 0) + 1
                            continue
                        except GraphError as error:
                            keep(failed_trial(rig, name, seed, error, out))
                            raise
                        keep(trial)
                        finished += 1
                shutil.rmtree(run_dir, ignore_errors=True)
                if not finished:
                    raise GraphError("no trial could be heard")
            except GraphError as error:
                bar.write(f"graph given up: {error} ({run_dir})")
                failures = 0 if finished else failures + 1
                if failures >= _GIVE_UP:
                    raise SystemExit(
                        f"faults: {failures} graphs in a row failed; see {out}"
                    ) from error
    return results


def _needs_simulated_time(name: str) -> bool:
    return name in CLASSES and CLASSES[name].place == "clock"


def _row(plant: str, trial: Trial) -> dict[str, Any]:
    row = {"plant": plant, **dataclasses.asdict(trial)}
    for key in ("braking_s", "zero_s"):
        if row[key] is not None and not np.isfinite(row[key]):
            row[key] = 1e9  # JSON knows no infinity
    return row


def _commit() -> str:
    """Of the code that is judged, as far as it can be told."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    folder = Path(__file__).parent
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return told.stdout.strip()


def _say(bar: tqdm, trial: Trial) -> None:
    rules: dict[str, int] = {}
    for violation in trial.violations:
        rules[violation.rule] = rules.get(violation.rule, 0) + 1
    for text in (*(f"{rule}: {count} times" for rule, count in rules.items()), *trial.problems):
        bar.write(f"VIOLATION {trial.fault}, seed {trial.seed}: {text}")


def main() -> int:
    """Run the campaign and print the table; 1 when a promise was broken."""
    job = tyro.cli(Campaign, description=__doc__)
    try:
        results = run(job)
    except KeyboardInterrupt:
        results = json.loads(job.json.read_text()) if job.json.is_file() else {"trials": []}
        print("\ninterrupted; the same command goes on")
    trials = [trial for trial in results["trials"] if trial["plant"] == job.plant]
    print(table(trials))
    return int(any(trial["violations"] or trial["problems"] for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
