"""The exported model folder: what is in it, and proof that it is what it says.

A bundle is ``manifest.json`` beside ``encoder.onnx`` and ``predictor.onnx``. Everything that a
robot needs to run the model is in it, normalisation included: everything outside speaks SI. What
speed or a feature adds (``rollout.onnx``, ``critic.onnx``) is listed under ``networks`` and may be
absent; who does not know a network leaves it alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.energy import EnergyQuantiles, quantiles_from
from world_model.image_fit import Fit, fits_of

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
AGENT_SETTINGS = "agent.yaml"  # not hashed: whoever deploys may edit it
ENCODER = "encoder.onnx"
PREDICTOR = "predictor.onnx"
CRITIC = "critic"  # name of the optional network that says how many steps it is to a goal
MODEL_FILES = (ENCODER, PREDICTOR)
_FILE_FIELDS = {"file", "sha256", "bytes"}


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
        fits: camera name to how images of another size are brought to this one, as on the import of
            the training data; of cameras that it does not say, as an import does by default.
    """

    cameras: dict[str, tuple[int, int]]
    proprio_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: NDArray[np.float32]
    action_high: NDArray[np.float32]
    model_dt_s: float
    context: int
    latent_shape: tuple[int, int]
    fits: Mapping[str, Fit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Say it of every camera."""
        object.__setattr__(self, "fits", fits_of(self.cameras, self.fits))


@dataclass(frozen=True)
class Network:
    """A network that a bundle may have beside encoder and predictor.

    Attributes:
        path: its file.
        details: what its maker wrote down about it (inputs, parity, whether it was accepted …).
    """

    path: Path
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose manifest and files have been checked.

    Attributes:
        path: its folder.
        spec: what the model expects and produces.
        manifest: the whole manifest, for people and reports.
        networks: by name ("rollout", "critic" …), what it has beside encoder and predictor.
        energies: how large the energy of its predictions is on held-out episodes; None for a
            bundle that does not say.
    """

    path: Path
    spec: ModelSpec
    manifest: dict[str, Any]
    networks: Mapping[str, Network] = field(default_factory=dict)
    energies: EnergyQuantiles | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of it, the manifest first."""
        required = (self.path / name for name in (MANIFEST, *MODEL_FILES))
        return (*required, *(network.path for network in self.networks.values()))


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
            name: {
                "height": h,
                "width": w,
                "fit": spec.fits[name],
                "colour": "RGB",
                "dtype": "uint8",
            }
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
    _write_json(folder / MANIFEST, manifest)
    return manifest


def agent_settings(path: Path) -> Path | None:
    """The YAML file of agent settings that came with a bundle; None when none did."""
    file = Path(path) / AGENT_SETTINGS
    return file if file.is_file() else None


def add_network(path: Path, name: str, source: Path, details: Mapping[str, Any]) -> Bundle:
    """Put a network into a bundle, or replace the one of that name.

    Args:
        path: a bundle.
        name: of the network, letters, digits, ``-`` and ``_``; its file is ``<name>.onnx``.
        source: the ONNX file to copy.
        details: JSON-ready, what to write down about it.

    Returns:
        The bundle as it is then.

    Raises:
        BundleError: the bundle is damaged or the name cannot be used.
    """
    bundle = open_bundle(path)
    file = f"{name}.onnx"
    if not name.replace("-", "").replace("_", "").isalnum() or file in MODEL_FILES:
        raise BundleError(f"a network cannot be named {name!r}; use letters, digits, - and _")
    if details.keys() & _FILE_FIELDS:
        raise BundleError(f"details of a network cannot have {sorted(_FILE_FIELDS)}")
    staged = path / f".{file}"
    shutil.copyfile(source, staged)
    entry = {"file": file, "sha256": sha256(staged), "bytes": staged.stat().st_size, **details}
    # In this order a bundle that is cut off in between is refused for its hash and never misread.
    os.replace(staged, path / file)
    networks = bundle.manifest.get("networks", {}) | {name: entry}
    _write_json(path / MANIFEST, bundle.manifest | {"networks": networks})
    return open_bundle(path)


def annotate(path: Path, details: Mapping[str, Any]) -> Bundle:
    """Write further fields into a bundle's manifest; JSON-ready, none that the format has."""
    bundle = open_bundle(path)
    _write_json(path / MANIFEST, bundle.manifest | dict(details))
    return open_bundle(path)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    staged = path.with_name(f".{path.name}")
    staged.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(staged, path)


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
        energies = quantiles_from(manifest)
        files = {name: manifest["files"][name]["sha256"] for name in MODEL_FILES}
        networks = {}
        for name, entry in manifest.get("networks", {}).items():
            if Path(entry["file"]).name != entry["file"]:
                raise ValueError(f"network {name}: {entry['file']!r} is not a file of the bundle")
            files[entry["file"]] = entry["sha256"]
            details = {key: v for key, v in entry.items() if key not in _FILE_FIELDS}
            networks[name] = Network(path / entry["file"], details)
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
    return Bundle(path, spec, manifest, networks, energies)


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
        fits={n: camera["fit"] for n, camera in manifest["cameras"].items() if "fit" in camera},
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
