"""Say in a few lines what a bundle or a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foresee.errors import UsageError
from world_model.bundle import MANIFEST, open_bundle
from world_model.data.dataset import open_dataset


def describe(path: Path) -> dict[str, Any]:
    """What is at ``path``, checked: a bundle (manifest and hashes) or a data set.

    Raises:
        BundleError: it is a bundle that is damaged.
        DatasetError: it is a data set that is damaged.
        UsageError: it is neither.
    """
    if (path / MANIFEST).is_file():
        return _bundle(path)
    if (path / "meta").is_dir():
        return _dataset(path)
    if not path.exists():
        raise UsageError(f"{path}: no such folder")
    raise UsageError(
        f"{path}: neither a bundle (no {MANIFEST}) nor a data set (no meta folder); give the "
        "folder that `foresee export` or `foresee collect` wrote"
    )


def lines_of(description: dict[str, Any]) -> list[str]:
    """The description as ``name  value`` lines for a terminal."""
    width = max(len(name) for name in description)
    return [f"{name:<{width}}  {_short(value)}" for name, value in description.items()]


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_short(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bundle(path: Path) -> dict[str, Any]:
    bundle = open_bundle(path)
    spec, manifest = bundle.spec, bundle.manifest
    training = manifest.get("training", {})
    validation = training.get("validation", {})
    return {
        "kind": "bundle",
        "path": str(path),
        "env": manifest.get("env_id"),
        "cameras": {name: f"{w}x{h}" for name, (h, w) in spec.cameras.items()},
        "fits": dict(spec.fits),
        "proprio": list(spec.proprio_names),
        "action": [
            f"{n} [{low:g}, {high:g}]"
            for n, low, high in zip(
                spec.action_names, spec.action_low.tolist(), spec.action_high.tolist(), strict=True
            )
        ],
        "model_dt_s": spec.model_dt_s,
        "context": spec.context,
        "latent": f"{spec.latent_shape[0]} x {spec.latent_shape[1]}",
        "trained": f"{training.get('step')} steps on {training.get('frames')} frames",
        "probe_r2": validation.get("probe_r2"),
        "rollout_ratio": validation.get("rollout_ratio"),
        "parity": manifest.get("parity", {}).get("max_abs_error"),
        "networks": ["encoder", "predictor", *bundle.networks],
        "bytes": sum(file.stat().st_size for file in bundle.files),
    }


def _dataset(path: Path) -> dict[str, Any]:
    dataset = open_dataset(path)
    for name in dataset.files():
        dataset.check_hash(name)
    spec = dataset.spec
    return {
        "kind": "data set (LeRobotDataset v3)",
        "path": str(path),
        "env": spec.env_id,
        "episodes": len(dataset),
        "frames": dataset.frames,
        "duration_s": round(dataset.frames / spec.fps, 1),
        "fps": spec.fps,
        "cameras": {name: f"{w}x{h}" for name, (h, w) in spec.cameras.items()},
        "fits": dict(spec.fits),
        "proprio": list(spec.proprio_names),
        "action": [
            f"{n} [{low:g}, {high:g}]"
            for n, low, high in zip(
                spec.action_names, spec.action_low, spec.action_high, strict=True
            )
        ],
        "evaluation": list(spec.evaluation_names) or "none",
        "seed": spec.seed,
        "bytes": sum((path / name).stat().st_size for name in dataset.files()),
    }
