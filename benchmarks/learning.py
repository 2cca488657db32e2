"""One world, one data set, one budget: which way of learning gives the agent that succeeds?

    python -m benchmarks.learning --study recipes --data data/push --steps 4000 \
        --out runs/learning --json runs/results/recipes.json

Each variant of the study goes through foresee's own commands, each in a process of its own: train
end to end, a predictor on the frozen encoder, a critic, export, and `foresee eval` on the same
seeds, which nothing was trained or tuned on. A step whose result is there is not done again: Ctrl-C
and the same command go on, and studies with the same --out share what they have in common
(`ours`). --dry-run prints the commands and what there is already.

recipes: the representation by other recipes; all get the same encoder, updates, second stage,
critic and planner. frames: our recipe on fewer frames, held-out episodes the same. robustness: a
bundle trained without and one with domain randomisation, in worlds that look otherwise.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
import yaml
from tqdm import tqdm

from benchmarks import learning_page
from benchmarks.steps import ROOT, Step, StepError, interrupt
from benchmarks.studies import LOOKS, OURS, PIPELINES, STUDIES, VARIED, Pipeline, Variant
from foresee.commands import shipped_bundle
from foresee.summary import write_json
from world_model.bundle import agent_settings

section = learning_page.section


@dataclass
class Learning:
    """Learn and judge the variants of a study; prints a table in Markdown."""

    study: Literal["recipes", "frames", "robustness"]
    """What is compared, see above."""
    data: Path
    """Data set of the world; it is only read (its .cache is made if it is not there)."""
    out: Path = Path("runs/learning")
    """Folder for runs, bundles, logs and the figures of each step. One for each world, data set
    and number of steps."""
    env: str = "foresee/Push-v0"
    """World."""
    steps: int = 4000
    """Updates of the encoder; predictor and critic are shortened as much as it is. The shipped
    bundle of Push had 12000."""
    only: tuple[str, ...] = ()
    """Variants of the study, in this order; all of them by default."""
    episodes: int = 100
    """Episodes of each evaluation."""
    seed: int = 10_000
    """Of the first episode."""
    agent: Path | None = None
    """Settings of the agent; by default those of the bundle that is shipped for the world."""
    varied_data: Path | None = None
    """robustness: data set with domain randomisation; by default one is collected, as large."""
    bundle: Path | None = None
    """robustness: judge this bundle as the one trained without, and train none."""
    varied_bundle: Path | None = None
    """robustness: the same for the one trained with domain randomisation."""
    workers: int = 1
    """Steps side by side, each on one thread."""
    options: str = ""
    """Further options of every training but the critic's, for a quick look; with an equals sign:
    --options="--batch 16"."""
    dry_run: bool = False
    """Print the commands, and which of them are done, and end."""
    json: Path | None = None
    """Write the summary here."""

    def __post_init__(self) -> None:
        """Paths as the steps need them, which run in the repository's folder."""
        for name in ("data", "out", "agent", "varied_data", "bundle", "varied_bundle"):
            value = getattr(self, name)
            setattr(self, name, None if value is None else value.resolve())

    @property
    def pipeline(self) -> Pipeline:
        """How the world is learned."""
        return PIPELINES[self.env]

    def scaled(self) -> tuple[int, int, int]:
        """Steps of encoder, predictor and critic."""
        first, *others = self.pipeline.steps
        predictor, critic = (-(-self.steps * steps // first) for steps in others)
        return self.steps, predictor, critic


def variants_of(job: Learning) -> list[Variant]:
    """What is to be learned and judged, in order."""
    there = {variant.name: variant for variant in STUDIES[job.study]}
    if unknown := set(job.only) - set(there):
        raise StepError(f"no variant {sorted(unknown)} in {job.study}; there are: {list(there)}")
    chosen = [there[name] for name in job.only or there]
    most = 0.9 * frames_of(job.data)  # a tenth is held out; more than that is `ours`
    chosen = [variant for variant in chosen if variant.frames < most]
    if not job.scaled()[2]:  # nothing to leave out
        chosen = [variant for variant in chosen if "critic_weight" not in variant.cost]
    return chosen


def steps_of(job: Learning, variant: Variant) -> list[Step]:
    """The commands of a variant in their order, those of the one it takes from included."""
    given = {OURS: job.bundle, VARIED: job.varied_bundle} if job.study == "robustness" else {}
    folder = job.out / variant.name
    bundle = given.get(variant.of or variant.name)
    steps: list[Step] = []
    if bundle is None and variant.takes == "bundle":
        owner = next(other for other in STUDIES[job.study] if other.name == variant.of)
        steps = [step for step in steps_of(job, owner) if step.name != "eval"]
        bundle = job.out / owner.name / "bundle"
    elif bundle is None:
        steps = _learning(job, variant)
        bundle = folder / "bundle"
    words = ["eval", "--env", job.env, "--bundle", str(bundle)]
    words += ["--agent", str(folder / "agent.yaml"), "--workers", "1"]
    words += ["--episodes", str(job.episodes), "--seed", str(job.seed)]
    words += [] if variant.name == OURS else ["--no-floors"]
    words += ["--randomization", str(folder / "look.yaml")] if variant.look else []
    return [*steps, Step("eval", folder, words, quiet=True)]


def _learning(job: Learning, variant: Variant) -> list[Step]:
    """From data to bundle."""
    folder, pipeline = job.out / variant.name, job.pipeline
    encoder_steps, predictor_steps, critic_steps = job.scaled()
    bundle = folder / "bundle"
    steps: list[Step] = []

    def add(name: str, words: list[str], makes: Path, into: Path = folder) -> None:
        steps.append(Step(name, into, [*words, "--out", str(makes)], makes, quiet=True))

    data = str(job.data)
    if variant.varied:
        data = str(job.varied_data or folder / "data")
        if job.varied_data is None:
            words = ["collect", "--env", job.env, "--frames", str(frames_of(job.data))]
            words += ["--randomization", str(ROOT / "config" / "randomization.yaml")]
            add("collect", [*words, "--seed", "3", "--workers", "1"], Path(data))
    source = ["--data", data, "--threads", "1"]
    source += ["--train-frames", str(variant.frames)] if variant.frames else []
    extra = shlex.split(job.options)
    kind = [*pipeline.encoder, *variant.encoder]
    taken: list[str] = []
    if variant.trunk:
        trunk, first = job.out / "vit-trunk" / "run", encoder_steps // 2
        encoder_steps -= first
        words = ["pretrain", *source, "--steps", str(first), "--validate-every", str(first)]
        add("pretrain", words, trunk, trunk.parent)
        taken = ["--encoder-from", str(trunk)]
        taken += ["--no-freeze-encoder"] if variant.trunk == "tuned" else []
    run = folder / "encoder"
    if variant.takes == "encoder":
        owner = next(other for other in STUDIES[job.study] if other.name == variant.of)
        run = job.out / owner.name / "encoder"
        steps += [step for step in _learning(job, owner) if step.name in ("pretrain", "encoder")]
    else:
        words = ["train", *source, "--steps", str(encoder_steps), *taken, *kind, *pipeline.terms]
        words += [*variant.terms, "--validate-every", str(encoder_steps)]
        add("encoder", [*words, *extra], run)
    if variant.predictor is not None:
        words = ["train", *source, "--steps", str(predictor_steps), "--encoder-from", str(run)]
        words += [*kind, *pipeline.predictor, *variant.predictor]
        run = folder / "predictor"
        add("predictor", [*words, "--validate-every", str(predictor_steps), *extra], run)
    words = ["export", "--checkpoint", str(run), "--data", data]
    add("export", [*words, "--agent", str(folder / "agent.yaml")], bundle)
    if critic_steps:
        words = ["train-critic", "--checkpoint", str(run), *source, "--bundle", str(bundle)]
        add("critic", [*words, "--steps", str(critic_steps), *pipeline.critic], folder / "critic")
    return steps


def frames_of(data: Path) -> int:
    """Frames of a data set."""
    return int(json.loads((data / "meta" / "info.json").read_text())["total_frames"])


def prepare(job: Learning, variant: Variant) -> None:
    """Write what the commands of a variant read: the agent's settings and the look of the world."""
    folder = job.out / variant.name
    agent = job.agent or agent_settings(job.bundle or shipped_bundle(job.env))
    settings: dict[str, Any] = yaml.safe_load(agent.read_text()) if agent else {}
    settings["cost"] = settings.get("cost", {}) | variant.cost
    files = {"agent.yaml": settings}
    if variant.look:
        files["look.yaml"] = LOOKS[variant.look] | {"exact": True}
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in files.items():
        text = yaml.safe_dump(values)
        if (path := folder / name).is_file() and path.read_text() != text:
            raise StepError(f"{path}: holds other settings than asked for; choose another --out")
        path.write_text(text)


def run_all(job: Learning, variants: list[Variant]) -> tuple[list[dict[str, Any]], list[str]]:
    """Run every step that is not done.

    Returns:
        The rows of the variants that were judged, and a line for each that failed.
    """
    locks: defaultdict[tuple[Path, str], threading.Lock] = defaultdict(threading.Lock)
    stop = threading.Event()
    every = {(step.folder, step.name) for v in variants for step in steps_of(job, v)}
    bar = tqdm(total=len(every), desc=job.study, unit="step")
    done: set[tuple[Path, str]] = set()

    def work(variant: Variant) -> dict[str, Any]:
        results = {}
        for step in steps_of(job, variant):
            key = (step.folder, step.name)
            with locks[key]:  # another variant may be at it
                if stop.is_set():
                    raise StepError("interrupted")
                if key not in done and step.kept() is None:
                    log = step.folder / f"{step.name}.log"
                    bar.write(f"{variant.name}: {step.words[0]} ({step.name}), tail -f {log}")
                results[step.name] = step.run()
                if key not in done:
                    done.add(key)
                    bar.update()
        return row_of(variant, results)

    for variant in (*variants, *(v for v in STUDIES[job.study] if v.name in _owners(variants))):
        prepare(job, variant)
    found: dict[str, dict[str, Any]] = {}
    failed = []
    with bar, ThreadPoolExecutor(job.workers) as executor:
        futures = {executor.submit(work, variant): variant.name for variant in variants}
        try:
            for future in as_completed(futures):
                name = futures[future]
                try:
                    found[name] = future.result()
                except StepError as error:
                    failed.append(f"{name}: {error}")
                    bar.write(f"FAILED {failed[-1]}")
        except KeyboardInterrupt:
            stop.set()
            interrupt()
            executor.shutdown(cancel_futures=True)
            raise
    return [found[v.name] for v in variants if v.name in found], failed


def _owners(variants: list[Variant]) -> set[str]:
    return {variant.of for variant in variants if variant.takes}


def row_of(variant: Variant, steps: dict[str, Any]) -> dict[str, Any]:
    """What is told of a variant: how it was judged, what it took, what validation says."""
    learned = {k: v for k, v in steps.items() if k in ("pretrain", "encoder", "predictor")}
    trained = learned | {k: v for k, v in steps.items() if k == "critic"}
    last = next(iter(reversed(learned.values())), None)
    judged = {k: v for k, v in steps["eval"]["summary"].items() if k != "episodes"}
    return {
        "name": variant.name,
        "says": variant.says,
        "of": variant.of,
        "look": variant.look,
        "frames": last["summary"]["frames"] if last else judged["trained_on_frames"],
        "cpu_s": {name: step["cpu_s"] for name, step in trained.items()},
        "wall_s": {name: step["wall_s"] for name, step in trained.items()},
        "eval_cpu_s": steps["eval"]["cpu_s"],
        "validation": last["summary"]["validation"] if last else None,
        "critic": steps["critic"]["summary"] if "critic" in steps else None,
        "eval": judged,
        "commands": [step["command"] for step in steps.values()],
    }


def main() -> int:
    """Learn, judge, print, write the summary."""
    job = tyro.cli(Learning, description=__doc__)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C, unless nohup ignores it
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        if job.env not in PIPELINES:
            raise StepError(f"no pipeline for {job.env!r}; there are: {', '.join(PIPELINES)}")
        variants = variants_of(job)
        # What is there of other settings is told now, before anything is done or overwritten.
        steps = {step.command: step for v in variants for step in steps_of(job, v)}
        done = {command: step.kept() is not None for command, step in steps.items()}
        if job.dry_run:
            print("\n".join(f"{'done' if there else 'todo'}  {c}" for c, there in done.items()))
            return 0
        rows, failed = run_all(job, variants)
    except (StepError, ValueError, OSError) as error:
        print(f"learning: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("learning: interrupted; the same command goes on", file=sys.stderr)
        return 130
    summary = {
        "study": job.study,
        "env": job.env,
        "data_frames": frames_of(job.data),
        "steps": list(job.scaled()),
        "options": job.options,
        "places": list(job.pipeline.places),
        "episodes": job.episodes,
        "seed": job.seed,
        "cpu_count": os.cpu_count(),
        "workers": job.workers,
        "load": round(os.getloadavg()[2], 1),
        "rows": rows,
        "failed": failed,
    }
    if job.json is not None:
        write_json(job.json, summary)
    print(section(summary))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
