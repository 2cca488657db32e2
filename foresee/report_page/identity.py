"""What the bundle is."""

from __future__ import annotations

from foresee.info import describe
from foresee.report_page.material import Material
from foresee.report_page.page import Section, escape, folded, paragraph, table
from world_model.bundle import agent_settings, sha256, unit_of

TITLE = "What the bundle is"


def section(material: Material) -> Section:
    """Cameras, readings, actions, training, parity, files."""
    bundle = material.bundle
    spec, manifest = bundle.spec, bundle.manifest
    training = manifest.get("training", {})
    validation = training.get("validation", {})
    rows = [
        ("folder", bundle.path),
        ("world and robot", f"{manifest.get('env_id')}, {manifest.get('robot_type')}"),
        ("cameras", ", ".join(f"{n} {w}x{h} RGB" for n, (h, w) in spec.cameras.items())),
        ("one step of the model", f"{spec.model_dt_s:g} s, from the last {spec.context} frames"),
        ("latent", f"{spec.latent_shape[0]} x {spec.latent_shape[1]} numbers for a frame"),
        ("trained", f"{training.get('step')} steps, regulariser {training.get('regularizer')}"),
        (
            "training data",
            f"{training.get('frames')} frames, hash {str(training.get('dataset_hash'))[:16]} …",
        ),
        ("seed of the training", training.get("seed")),
        ("at the end of training", _validation(validation)),
        ("ONNX against torch", _parity(manifest.get("parity"))),
        ("energy quantiles", _energies(material)),
    ]
    settings = agent_settings(bundle.path)
    body = table((), rows, numbers_from=9)
    body += "<h3>Actions</h3>" + table(
        ("action", "unit", "lowest", "highest"),
        [
            (name, unit_of(name), f"{low:g}", f"{high:g}")
            for name, low, high in zip(
                spec.action_names, spec.action_low.tolist(), spec.action_high.tolist(), strict=True
            )
        ],
        numbers_from=2,
    )
    body += folded(
        f"Readings ({len(spec.proprio_names)})",
        table(("reading", "unit"), [(n, unit_of(n)) for n in spec.proprio_names], numbers_from=9),
    )
    body += "<h3>Files</h3>" + table(
        ("file", "kB", "SHA-256"),
        [(f.name, f"{f.stat().st_size / 1e3:.0f}", sha256(f)[:16] + " …") for f in bundle.files],
    )
    if settings is None:
        body += paragraph("No agent.yaml: the controller's default settings are used.", "soft")
    else:
        text = escape(settings.read_text(encoding="utf-8"))
        body += folded("agent.yaml, the controller's settings", f"<pre>{text}</pre>")
    return Section("bundle", TITLE, body, describe(bundle.path))


def _validation(validation: dict) -> str:
    if not validation:
        return "not recorded"
    return (
        f"rollout error {validation['rollout_ratio']:.3f} x that of predicting no change, "
        f"effective rank {validation['effective_rank']:.1f}"
    )


def _parity(parity: dict | None) -> str:
    if not parity:
        return "not recorded: this bundle was not checked against torch"
    errors = ", ".join(f"{name} {value:.1e}" for name, value in parity["max_abs_error"].items())
    return (
        f"largest differences: {errors}; allowed {parity['tolerance']:.0e} "
        f"({parity['samples']} clips)"
    )


def _energies(material: Material) -> str:
    stored = material.bundle.energies
    if stored is None:
        return "none in this bundle (foresee report --data … --store-energies puts them in)"
    return f"{stored.clips} clips of {stored.episodes} held-out episodes, 1 to {stored.steps} steps"
