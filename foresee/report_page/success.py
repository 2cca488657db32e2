"""How often the agent succeeds with the bundle, beside the floors."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from foresee.errors import UsageError
from foresee.report_page.material import Material
from foresee.report_page.page import (
    WIDTH,
    Ink,
    Section,
    figures,
    missing,
    paragraph,
    picture,
    table,
)
from world_model.bundle import MANIFEST, sha256

TITLE = "Success beside floors"


def section(material: Material) -> Section:
    """The table of `foresee eval`."""
    summary = material.evaluation
    if summary is None:
        how = (
            "Left out: give the file of `foresee eval --json` with `--eval`, or let "
            "this command run goals with `--episodes`."
        )
        return missing("success", TITLE, how)
    try:
        rows = {"agent": summary, **summary["floors"]}
        head = ("", "success", "95 % interval", "n", "final distance: median", "95 %")
        lines = [line for name, row in rows.items() for line in _lines(name, row)]
        body = paragraph(
            f"{summary['env']}, goals of seeds {summary['seed']} to "
            f"{summary['seed'] + summary['n'] - 1}, judged by the simulator's truth at the end of "
            "the episode; the world waits for each plan. Floors use no model; scripted knows the "
            "truth."
        )
        same = summary.get("manifest_sha256") == sha256(material.bundle.path / MANIFEST)
        pictures = figures(
            picture(lambda ink: _bars(ink, rows), "Success with its 95 % interval (Wilson).")
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"--eval: not a summary of `foresee eval --json` ({type(error).__name__}: {error})"
        ) from error
    if not same:
        body += paragraph(
            "This evaluation is of another bundle, or of this one before its manifest was "
            "changed: the hashes of the manifests differ.",
            "warning",
        )
    figures_out = {
        name: {key: row[key] for key in ("success_rate", "ci95", "n")} for name, row in rows.items()
    }
    return Section("success", TITLE, body + table(head, lines) + pictures, figures_out)


def _lines(name: str, row: dict[str, Any]) -> list[tuple[str, ...]]:
    final = row["final_distance_m"]
    title = name if name == "agent" else f"floor: {name}"
    distances = (f"{100 * final['median']:.1f} cm", f"{100 * final['p95']:.1f} cm")
    lines: list[tuple[str, ...]] = [(title, *_rate(row), str(row["n"]), *distances)]
    for also, rate in row.get("also", {}).items():
        words = also.removeprefix("success_").replace("_", " ")
        lines.append((f"… {words}", *_rate(rate), str(row["n"]), "", ""))
    return lines


def _rate(row: dict[str, Any]) -> tuple[str, str]:
    low, high = row["ci95"]
    return f"{row['success_rate']:.1%}", f"{low:.1%} – {high:.1%}"


def _bars(ink: Ink, rows: dict[str, dict[str, Any]]) -> Figure:
    figure, axes = plt.subplots(figsize=(WIDTH, 0.6 + 0.35 * len(rows)), layout="constrained")
    for place, (name, row) in enumerate(rows.items()):
        rate, (low, high) = row["success_rate"], row["ci95"]
        colour = ink.model if name == "agent" else ink.floor
        axes.errorbar(
            100 * rate,
            place,
            xerr=[[100 * max(rate - low, 0)], [100 * max(high - rate, 0)]],
            fmt="o",
            color=colour,
            capsize=3,
        )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("success (%)")
    return figure
