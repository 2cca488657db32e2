"""`foresee train` and `foresee pretrain`: learn from data sets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from foresee.errors import UsageError
from world_model.config import RunConfig, TrainConfig
from world_model.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    from world_model.loop import TrainResult


@dataclass
class _Learn:
    """What every training command takes and says."""

    data: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction]
    """Data set folder; give --data again for each of several to mix, see --data-weights."""
    out: Path
    """Folder for checkpoints, metrics and TensorBoard curves."""
    resume: bool = False
    """Go on from the checkpoint in --out; give the other options as the run began with them."""
    skip_bad: bool = False
    """Leave out episodes that `foresee data check` calls damaged, and say how many."""
    json: Path | None = None
    """Write the summary here."""

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        print(
            f"step {summary['step']} of {summary['steps']} in {summary['wall_s']:.0f} s, "
            f"{summary['data_wait_share']:.1%} of it waiting for data: {summary['out']}"
        )
        for line in summary["warnings"]:
            print(f"WARNING {line}")


@dataclass
class Train(_Learn):
    """Train a world model on a data set. Ctrl-C or SIGTERM keeps a checkpoint, for --resume.

    On several GPUs: torchrun --nproc-per-node N -m foresee train --data ... --out ...
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    def run(self) -> dict[str, Any]:
        """Train."""
        from world_model.train import train

        result = train(given(self.data), self.out, self.config, self.resume, skip_bad=self.skip_bad)
        return _summary(result, self.config)


@dataclass
class Pretrain(_Learn):
    """Learn to see from camera streams, without actions; foresee train --encoder-from goes on.

    A vision transformer predicts what is hidden of a clip (V-JEPA) or, with --frames 1, of a frame
    (I-JEPA). Readings, where there are any, only judge it. Ctrl-C keeps a checkpoint; --resume goes
    on from it.
    """

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")] = field(
        default_factory=PretrainConfig
    )

    def run(self) -> dict[str, Any]:
        """Pretrain."""
        from world_model.pretrain import pretrain

        result = pretrain(
            given(self.data), self.out, self.config, self.resume, skip_bad=self.skip_bad
        )
        return _summary(result, self.config)


def given(data: tuple[Path, ...]) -> tuple[Path, ...]:
    """The data sets named; there must be one."""
    if not data:
        raise UsageError("no data set is given; name its folder with --data")
    return data


def _summary(result: TrainResult, config: RunConfig) -> dict[str, Any]:
    """For ``--json`` and ``say``; of several processes the first alone has one."""
    from world_model.ranks import is_first

    if not is_first():
        raise SystemExit(0 if result.finished else 130)
    return dataclasses.asdict(result) | {"out": str(result.out), "steps": config.steps}
