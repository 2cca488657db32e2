"""Put the page together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from foresee.report_page import (
    energies,
    identity,
    imagination,
    maps,
    neighbours,
    probes,
    rollouts,
    success,
    training,
)
from foresee.report_page.material import Material
from foresee.report_page.page import Section, write_page


def build(material: Material, out: Path) -> list[Section]:
    """Make every part and write the page.

    Args:
        material: what it is made from.
        out: file to write.

    Raises:
        UsageError: the run or the evaluation that was given cannot be used.
    """
    # First what can refuse its input, then what takes long.
    parts: list[tuple[str, Callable[[], Section]]] = [
        ("bundle", lambda: identity.section(material)),
        ("success", lambda: success.section(material)),
        ("training", lambda: training.section(material)),
    ]
    network = None
    if material.data is not None:
        network = probes.fit(material.data, material.probe_steps, material.seed, material.progress)
    parts += [
        ("probes", lambda: probes.section(material, network)),
        ("rollouts", lambda: rollouts.section(material, network)),
        ("energy", lambda: energies.section(material)),
        ("neighbours", lambda: neighbours.section(material)),
        ("maps", lambda: maps.section(material)),
        ("imagination", lambda: imagination.section(material)),
    ]
    sections = []
    bar = tqdm(parts, desc="report", unit="part", disable=not material.progress)
    for name, make in bar:
        bar.set_postfix_str(name)
        sections.append(make())
    manifest = material.bundle.manifest
    title = f"{manifest.get('env_id') or 'Bundle'}: what the model learned"
    write_page(title, _summary(material), sections, out)
    return sections


def _summary(material: Material) -> str:
    data = material.data
    if data is None:
        return f"Bundle {material.bundle.path}; no data set was given."
    own = (
        "the one it was trained on; everything below is judged on episodes that were held out"
        if data.same
        else "not the one it was trained on by its hash (if it was one of several, held-out "
        "episodes may be training episodes)"
    )
    return f"Bundle {material.bundle.path}; data set {data.path}, {own}. Seed {material.seed}."
