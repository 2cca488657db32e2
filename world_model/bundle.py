"""The exported model folder: what is in it, and proof that it is what it says.

A bundle is ``manifest.json`` beside ``encoder.onnx`` and ``predictor.onnx``. Everything that a
robot needs to run the model is in it, normalisation included: everything outside speaks SI.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
PREDICTOR = "predictor.onnx"
MODEL_FILES = (ENCODER, PREDICTOR)


class BundleError(ValueError):
    """A bundle that is missing, damaged, changed or of another version."""


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """What a world model expects and produces.

    Attributes:
        cameras: camera name to image size ``(height, width)`` in pixels; images are RGB uint8.
        proprio_names: P names, in order; SI units.
        action_names: A names, in order; SI units.
        action_low: ``(A,)`` float32, lowest action in the training data's action space.
        action_high: ``(A,)`` float32, highest.
        model_dt_s: time one rollout step stands for.
        context: C, the number of past latents the predictor sees.
        latent_shape: ``(N, D)``.
    """

    cameras: dict[str, tuple[int, int]]
    proprio_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: NDArray[np.float32]
    action_high: NDArray[np.float32]
    model_dt_s: float
    context: int
    latent_shape: tuple[int, int]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest and files have been checked.

    Attributes:
        path: its folder.
        spec: what the model expects and produces.
        manifest: the whole manifest, for people and reports.
    """

    path: Path
    spec: ModelSpec
    manifest: dict[str, Any]


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, spec: ModelSpec, details: dict[str, Any]) -> dict[str, Any]:
    """Describe the ONNX files in ``folder`` and write ``manifest.json``.

    Args:
        folder: holds the model files already.
        spec: what the model expects and produces.
        details: what else to record (``env_id``, ``training``, ``parity`` …); kept as it is.

    Returns:
        The manifest.
    """
    manifest = {
        "format_version": FORMAT_VERSION,
        "cameras": {
            name: {"height": h, "width": w, "colour": "RGB", "dtype": "uint8"}
            for name, (h, w) in spec.cameras.items()
        },
        "proprio": [{"name": n, "unit": unit_of(n)} for n in spec.proprio_names],
        "action": [
            {"name": n, "unit": unit_of(n), "low": float(low), "high": float(high)}
            for n, low, high in zip(
                spec.action_names, spec.action_low, spec.action_high, strict=True
            )
        ],
        "model_dt_s": spec.model_dt_s,
        "context": spec.context,
        "latent": {"tokens": spec.latent_shape[0], "width": spec.latent_shape[1]},
        "files": {
            name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
            for name in MODEL_FILES
        },
        **details,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def open_bundle(path: Path) -> Bundle:
    """Read a bundle and check every field and hash; no model is loaded.

    Raises:
        BundleError: one line that says which file or field is wrong and what to do.
    """
    manifest_path = path / MANIFEST
    if not path.is_dir():
        raise BundleError(f"{path}: no such bundle folder; `foresee export` writes one")
    if not manifest_path.is_file():
        raise BundleError(f"{path}: not a bundle, it has no {MANIFEST}; export it again")
    try:
        manifest = json.loads(manifest_path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{manifest_path}: not valid JSON ({error}); export it again") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{manifest_path}: format version {version!r}, this foresee reads {FORMAT_VERSION}; "
            "export the bundle again with this version"
        )
    try:
        spec = _spec(manifest)
        files = {name: manifest["files"][name]["sha256"] for name in MODEL_FILES}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{manifest_path}: missing or malformed field ({type(error).__name__}: {error}); "
            "export it again"
        ) from error
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise BundleError(f"{file}: missing from the bundle; copy the whole folder again")
        if sha256(file) != expected:
            raise BundleError(
                f"{file}: its hash differs from the manifest's (truncated or changed); copy the "
                "bundle again or export it again"
            )
    return Bundle(path, spec, manifest)


def unit_of(name: str) -> str:
    """The SI unit that a reading's or action's name ends in stands for.

    ``tool.x`` is a length in m, ``tool.vx`` a velocity in m/s, ``….position`` rad and
    ``….velocity`` rad/s of a joint; anything else has none.
    """
    last = name.rsplit(".", 1)[-1]
    units = {"position": "rad", "velocity": "rad/s", "x": "m", "y": "m", "z": "m", "yaw": "rad"}
    units |= {"vx": "m/s", "vy": "m/s", "vz": "m/s", "wz": "rad/s"}
    return units.get(last, "1")


def _spec(manifest: dict[str, Any]) -> ModelSpec:
    spec = ModelSpec(
        cameras={
            name: (int(camera["height"]), int(camera["width"]))
            for name, camera in manifest["cameras"].items()
        },
        proprio_names=tuple(entry["name"] for entry in manifest["proprio"]),
        action_names=tuple(entry["name"] for entry in manifest["action"]),
        action_low=np.array([entry["low"] for entry in manifest["action"]], np.float32),
        action_high=np.array([entry["high"] for entry in manifest["action"]], np.float32),
        model_dt_s=float(manifest["model_dt_s"]),
        context=int(manifest["context"]),
        latent_shape=(int(manifest["latent"]["tokens"]), int(manifest["latent"]["width"])),
    )
    if not spec.cameras or not spec.action_names:
        raise ValueError("a bundle needs at least one camera and one action")
    limits = np.stack([spec.action_low, spec.action_high])
    if not np.isfinite(limits).all() or not (limits[0] < limits[1]).all():
        raise ValueError("action limits must be finite with low < high")
    for name, camera in manifest["cameras"].items():
        if (camera["colour"], camera["dtype"]) != ("RGB", "uint8"):
            raise ValueError(f"camera {name}: images must be RGB uint8")
    if not 0 < spec.model_dt_s < 60 or spec.context < 1:
        raise ValueError("model_dt_s must lie in (0, 60) and context be at least 1")
    return spec
