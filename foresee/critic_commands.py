"""`foresee train-critic`: a learned cost-to-go for a trained model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from foresee.train_commands import given
from world_model.config import CriticConfig


@dataclass
class TrainCritic:
    """Learn how many steps it is from any frame to any goal, for a trained model; a minute or two.

    With --bundle the critic is put into the bundle at once; `cost: critic_weight` in the agent's
    settings then plans with it.
    """

    checkpoint: Path
    """Folder of `foresee train --out`; its encoder stays as it is."""
    data: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    """Data set of the same cameras; the actions in it are not used. Give --data again for each of
    several to mix, see --data-weights."""
    out: Path
    """New folder for critic.onnx and its report."""
    bundle: Path | None = None
    """Bundle exported from the same checkpoint, to put the critic into."""
    config: Annotated[CriticConfig, tyro.conf.arg(name="")] = field(default_factory=CriticConfig)
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Train."""
        from world_model.critic import train_critic

        data = given(self.data)
        result = train_critic(self.checkpoint, data, self.out, self.config, self.bundle)
        return dataclasses.asdict(result)

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        print(
            f"rank correlation with the steps to go, in episodes it has not seen: "
            f"{summary['spearman']:.2f} (distance of the latents: {summary['spearman_latent']:.2f})"
        )
        print(f"{self.bundle or self.out}: critic after {summary['wall_s']:.0f} s")
