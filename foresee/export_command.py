"""`foresee export`: from a training run to a bundle."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from foresee.errors import UsageError
from foresee.train_commands import given


@dataclass
class Export:
    """Write a bundle (ONNX networks and manifest) from a training run, with a parity check.

    With --variants, faster rollouts in less precision are made too. Each is kept only if the
    planner picks the same elites with it (95 %), it is faster here and the agent succeeds as often
    (within 2 points); the manifest tells what was measured of those that were not.
    """

    checkpoint: Path
    """Folder of `foresee train --out`."""
    data: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    """Data set that it was trained on; its held-out episodes serve the parity check. Of several
    give all, in the same order."""
    out: Path
    """New bundle folder."""
    overwrite: bool = False
    """Replace an existing bundle."""
    skip_bad: bool = False
    """It was trained with --skip-bad."""
    variants: bool = False
    """Try int8 and bf16 rollouts as well; `--variant` of run and eval then takes what was kept."""
    agent: Path | None = None
    """YAML file of the controller's settings to put into the bundle; whoever runs it gets them by
    default, and --variants judges with them."""
    episodes: int = 100
    """With --variants: closed-loop episodes for fp32 and for each variant."""
    json: Path | None = None
    """Write the manifest here."""

    def run(self) -> dict[str, Any]:
        """Export."""
        from controller.config import AgentConfig, load_agent_config
        from world_model.bundle import AGENT_SETTINGS, open_bundle
        from world_model.export import export

        agent = load_agent_config(self.agent) if self.agent else AgentConfig()
        if self.variants:
            _check_world(given(self.data))
            if agent.cost.critic_weight:
                raise UsageError(
                    f"--variants judges with {self.agent}, whose critic_weight asks for a critic, "
                    "and a new bundle has none: export without --variants"
                )
        bundle = export(self.checkpoint, given(self.data), self.out, self.overwrite, self.skip_bad)
        if self.agent:
            shutil.copyfile(self.agent, self.out / AGENT_SETTINGS)
        if self.variants:
            from foresee.variants import add_variants

            env = bundle.manifest["env_id"]
            add_variants(
                self.out, self.checkpoint, self.data, env, agent, self.episodes, self.skip_bad
            )
            bundle = open_bundle(self.out)
        return {"out": str(bundle.path), **bundle.manifest}

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        errors = ", ".join(
            f"{name} {value:.1e}" for name, value in summary["parity"]["max_abs_error"].items()
        )
        files = [*summary["files"].values(), *summary["networks"].values()]
        size = sum(entry["bytes"] for entry in files)
        print(f"{summary['out']}: {size / 1e6:.1f} MB; torch - ONNX at most {errors}")
        for name, verdict in summary.get("variants", {}).items():
            print(f"variant {name}: {_told(verdict)}")


def _check_world(data: tuple[Path, ...]) -> None:
    from world_model.data.dataset import open_dataset

    worlds = {open_dataset(path).spec.env_id for path in data}
    if len(worlds) > 1 or None in worlds:
        raise UsageError(
            "--variants judges in the simulated world that the data were recorded in, and "
            + ("they are of several" if len(worlds) > 1 else "these name none (env_id)")
            + ": export without it"
        )


def _told(verdict: dict[str, Any]) -> str:
    figures = []
    if verdict["elite_overlap"] is not None:
        figures += [f"elite overlap {verdict['elite_overlap']:.1%}", f"x {verdict['speedup']:.2f}"]
    if verdict["success_rate"] is not None:
        figures.append(
            f"success {verdict['success_rate']:.1%} (fp32 {verdict['fp32_success_rate']:.1%}, "
            f"n = {verdict['episodes']})"
        )
    word = "accepted" if verdict["accepted"] else f"rejected: {verdict['reason']}"
    return "; ".join([word, *figures])
