"""Sections, tables and plots as one HTML file that needs nothing beside itself."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_TEMPLATE = Path(__file__).with_name("page.html")
_CODE = re.compile("`([^`]+)`")
_DPI = 150
WIDTH = 4.7  # inches: then the text is as large as the page's, on a phone too


@dataclass(frozen=True)
class Ink:
    """Colours of a plot, for light or for dark paper.

    Attributes:
        text: of words, axes and ticks.
        model: of what the model does.
        floor: of what it is held against.
        third: of a further thing.
        faint: of what is behind.
        paper: of the page.
    """

    text: str
    model: str
    floor: str
    third: str
    faint: str
    paper: str


LIGHT = Ink("#1c2126", "#1f6fb4", "#c8590a", "#2a8a57", "#b8bec5", "#ffffff")
DARK = Ink("#e6e8ea", "#63b0f0", "#f2a154", "#62c48f", "#59616a", "#14171a")


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        anchor: for links to it.
        title: of the part.
        body: HTML.
        figures: the numbers in it, JSON-ready.
    """

    anchor: str
    title: str
    body: str
    figures: dict[str, Any] = field(default_factory=dict)


def escape(text: object) -> str:
    """Text as HTML."""
    return html.escape(str(text))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text, `so` as code; ``kind`` "soft", "missing" or "warning"."""
    words = _CODE.sub(r"<code>\1</code>", escape(text))
    return f'<p class="{kind}">{words}</p>' if kind else f"<p>{words}</p>"


def missing(anchor: str, title: str, how: str) -> Section:
    """A part whose input was not given, and how to get it."""
    return Section(anchor, title, paragraph(how, "missing"), {"missing": how})


def table(head: Sequence[str], rows: Sequence[Sequence[object]], numbers_from: int = 1) -> str:
    """A table; columns from ``numbers_from`` on are aligned as numbers."""

    def cells(kind: str, row: Sequence[object]) -> str:
        return "".join(
            f'<{kind} class="number">{escape(v)}</{kind}>'
            if i >= numbers_from
            else f"<{kind}>{escape(v)}</{kind}>"
            for i, v in enumerate(row)
        )

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    top = f"<tr>{cells('th', head)}</tr>" if head else ""
    return f'<div class="wide"><table>{top}{"".join(lines)}</table></div>'


def folded(title: str, body: str) -> str:
    """HTML that is shown when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def figures(*pictures: str) -> str:
    """Pictures side by side where there is room."""
    return f'<div class="figures">{"".join(pictures)}</div>'


def picture(draw: Callable[[Ink], Figure], caption: str) -> str:
    """A plot in the light and in the dark, with what it shows in words.

    Args:
        draw: makes the figure in the colours it is given.
        caption: what is to be seen.
    """
    light, dark = (_png(draw, ink) for ink in (LIGHT, DARK))
    words = escape(caption)
    return (
        "<figure><picture>"
        f'<source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{words}"></picture><figcaption>{words}</figcaption></figure>'
    )


def write_page(title: str, summary: str, sections: Sequence[Section], out: Path) -> None:
    """Write the file.

    Args:
        title: of the page.
        summary: one line under it.
        sections: its parts, in order.
        out: file to write.
    """
    contents = "".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    bodies = "\n".join(
        f'<section id="{s.anchor}"><h2>{escape(s.title)}</h2>\n{s.body}</section>' for s in sections
    )
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in (
        ("title", escape(title)),
        ("summary", escape(summary)),
        ("contents", contents),
        ("sections", bodies),
    ):
        text = text.replace("{{" + name + "}}", value)
    out.write_text(text, encoding="utf-8")


def _png(draw: Callable[[Ink], Figure], ink: Ink) -> str:
    style: Any = {  # matplotlib's stubs list three hundred keys
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink.text),
        "axes.edgecolor": ink.faint,
    }
    buffer = io.BytesIO()
    with plt.rc_context(style):
        made = draw(ink)
        made.savefig(buffer, format="png", dpi=_DPI)
        plt.close(made)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
