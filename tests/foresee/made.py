"""The whole path of commands, small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foresee.cli import main


@dataclass(frozen=True)
class Made:
    """What the whole path of commands made for one environment."""

    env: str
    data: Path
    run: Path
    bundle: Path


def make(
    env: str, folder: Path, frames: int, steps: int, cameras: tuple[str, ...] = ("scene",)
) -> Made:
    """Collect, train and export through the command line, small."""
    made = Made(env, folder / "data", folder / "run", folder / "bundle")
    tiny = ["--encoder.width", "8", "--predictor.hidden", "32", "--batch", "16"]
    tiny += ["--loss.sigreg-projections", "32", "--validate-every", "1000", "--threads", "1"]
    collect = ["collect", "--env", env, "--out", str(made.data), "--frames", str(frames)]
    collect += ["--cameras", *cameras]
    train = ["train", "--data", str(made.data), "--out", str(made.run), "--steps", str(steps)]
    export = ["export", "--checkpoint", str(made.run), "--data", str(made.data)]
    assert main([*collect, "--episode-frames", "40", "--seed", "5"]) == 0
    assert main([*train, *tiny]) == 0
    assert main([*export, "--out", str(made.bundle)]) == 0
    return made
