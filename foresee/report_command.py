"""`foresee report`: what a model learned, as one HTML page."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from foresee.errors import UsageError

if TYPE_CHECKING:
    from world_model.bundle import Bundle
    from world_model.data.clips import Cache

_FIRST_GOAL = 10_000  # seeds of `foresee eval`, which no data set is recorded with


@dataclass
class Report:
    """Write one HTML page of what a bundle's model learned: looked at, not only counted.

    With --data: probes, rollout error beside "nothing changes", energies and their quantiles,
    nearest neighbours, energy maps over two actions, and imagined rollouts drawn by a decoder that
    is trained for the page (about two minutes on a core in all). With --run: loss and rank curves.
    With --eval or --episodes: success beside its floors. What is not given is left out, and the
    page says how to get it. docs/understanding.md tells how to read it.
    """

    bundle: Annotated[Path, tyro.conf.Positional]
    """Bundle folder."""
    data: Path | None = None
    """Data set folder, best the one it was trained on: its held-out episodes are judged."""
    training_run: Annotated[Path | None, tyro.conf.arg(name="run")] = None
    """Folder of the training run (`foresee train --out`)."""
    evaluation: Annotated[Path | None, tyro.conf.arg(name="eval")] = None
    """Summary of `foresee eval --json`."""
    episodes: int = 0
    """Without --eval: run this many goals now, and the floors."""
    env: str | None = None
    """World of --episodes (default the bundle's)."""
    out: Path = Path("report.html")
    """File to write; it needs nothing beside itself."""
    frames: int = 12_000
    """At most so many frames to fit probes and decoder on, and as many held-out ones to judge."""
    probe_steps: int = 2000
    """Training steps of the network probe."""
    decoder_steps: int = 400
    """Training steps of the decoder; more draw sharper, 400 take about half a minute."""
    store_energies: bool = False
    """Measure the energy quantiles on held-out episodes of --data, as an export does, and write
    them into the bundle's manifest; for bundles from before there were any."""
    seed: int = 0
    """Of every choice that is made; the goals of --episodes have seeds from 10000 + this on."""
    json: Path | None = None
    """Write the figures on the page here."""

    def run(self) -> dict[str, Any]:
        """Look."""
        from foresee.report_page.build import build
        from foresee.report_page.material import Material, see_data
        from foresee.worlds import check_seed
        from world_model.bundle import open_bundle
        from world_model.runtime import load_world_model

        began = time.monotonic()
        progress = sys.stderr.isatty()
        check_seed(self.seed)
        self._check()
        bundle = open_bundle(self.bundle)
        summary = self._evaluation(bundle)
        data = None
        if self.data is not None:
            from world_model.data.cache import build_cache

            cache = build_cache(self.data, progress)
            if self.store_energies:
                bundle = self._store_energies(bundle, cache)
            model = load_world_model(self.bundle)
            data = see_data(bundle, model, cache, self.data, self.frames, self.seed, progress)
        else:
            model = load_world_model(self.bundle)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        material = Material(
            bundle=bundle,
            model=model,
            data=data,
            run=self.training_run,
            evaluation=summary,
            probe_steps=self.probe_steps,
            decoder_steps=self.decoder_steps,
            seed=self.seed,
            progress=progress,
        )
        sections = build(material, self.out)
        return {
            "out": str(self.out),
            "bytes": self.out.stat().st_size,
            "left_out": [s.anchor for s in sections if "missing" in s.figures],
            "figures": {s.anchor: s.figures for s in sections},
            "settings": {k: str(v) for k, v in asdict(self).items()},
            "wall_s": round(time.monotonic() - began, 1),
        }

    def say(self, summary: dict[str, Any]) -> None:
        """Print where it is, and what is not in it."""
        print(f"{summary['out']}: {summary['bytes'] / 1e6:.1f} MB, {summary['wall_s']:.0f} s")
        if summary["left_out"]:
            print(f"left out for want of input: {', '.join(summary['left_out'])} (see the page)")

    def _check(self) -> None:
        if min(self.frames, self.probe_steps, self.decoder_steps) < 1 or self.episodes < 0:
            raise UsageError(
                "--frames, --probe-steps and --decoder-steps must be at least 1, --episodes 0"
            )
        if self.store_energies and self.data is None:
            raise UsageError("--store-energies measures on held-out episodes; give --data")
        if self.evaluation is not None and self.episodes:
            raise UsageError("--episodes runs what --eval already has; give one of them")
        if self.env is not None and not self.episodes:
            raise UsageError("--env is the world that --episodes runs goals in; give --episodes")
        if self.out.is_dir():
            raise UsageError(f"--out {self.out}: is a folder; name a file, like report.html")

    def _evaluation(self, bundle: Bundle) -> dict[str, Any] | None:
        if self.evaluation is not None:
            try:
                summary = loads(self.evaluation.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UsageError(f"{self.evaluation}: not JSON ({error})") from error
            if not isinstance(summary, dict):
                raise UsageError(f"{self.evaluation}: not a summary of `foresee eval --json`")
            return summary
        if not self.episodes:
            return None
        from foresee.commands import agent_config
        from foresee.evaluate import Evaluation, evaluate

        env = self.env or bundle.manifest.get("env_id")
        if not env:
            raise UsageError(f"{self.bundle}: names no world to run goals in; give it with --env")
        agent = agent_config(None, self.bundle)
        seed = _FIRST_GOAL + self.seed
        return evaluate(Evaluation(env, self.bundle, agent, self.episodes, seed))

    def _store_energies(self, bundle: Bundle, cache: Cache) -> Bundle:
        from world_model.bundle import annotate
        from world_model.energy import FIELD
        from world_model.held_out import calibrate_on, split_of
        from world_model.runtime import load_world_model

        training = bundle.manifest.get("training", {})
        if training.get("dataset_hash") != cache.dataset_hash:
            raise UsageError(
                f"--store-energies: {self.data} is not the data set the bundle was trained on, so "
                "it cannot be told which of its episodes were held out"
            )
        _, held_out = split_of(bundle, cache)
        measured = calibrate_on(load_world_model(self.bundle), cache, held_out)
        return annotate(self.bundle, {FIELD: measured.to_json()})
