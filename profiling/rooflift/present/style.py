"""What the figures share: colours, type sizes, the page, and how it is saved. Draws no data."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib costs half a second; importing this module costs nothing
    from pathlib import Path

    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design" (2008), without its black, which is the roofs'.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
INK, GREY, PALE = "#222222", "#767676", "#dddddd"
WIDTH_IN = 9.0  # 900 px at 100 dpi, the width of a pull request
FONT_PT = 9.0

_STYLE: dict[str, object] = {
    "axes.edgecolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; a browser without it takes a narrower sans-serif
    "font.size": FONT_PT,
    "svg.fonttype": "none",
    "svg.hashsalt": "rooflift",
    "text.parse_math": False,  # a title may hold a dollar sign
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults and `_STYLE`, whatever the caller's own settings are, which come back afterwards."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


def page(title: str, footnote: str, height_in: float) -> Figure:
    """Return an empty white figure with its title on top and where it was measured at the bottom."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(WIDTH_IN, height_in), facecolor="white", layout="constrained")
    page.suptitle(textwrap.fill(title, 84), x=0.01, ha="left", fontsize=FONT_PT + 3, fontweight="bold")
    page.supxlabel(textwrap.fill(footnote, 130), x=0.01, ha="left", fontsize=FONT_PT, color=GREY)
    return page


@styled()
def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.svg, its text kept as text, and `stem`.png at 150 dpi; the same figure gives the same bytes."""
    svg, png = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png"))
    figure.savefig(png, dpi=150, facecolor="white", metadata={"Software": None})
    figure.set_layout_engine("none")  # the first drawing has settled it, and it takes half of the time of each
    figure.savefig(svg, facecolor="white", metadata={"Date": None})
    return [svg, png]


def version_numbers(versions: Sequence[str]) -> list[int]:
    """Return the number in each name, v3_tile's 3, or the row's for a name without one."""
    found = [re.match(r"v(\d+)", version) for version in versions]
    return [int(match[1]) if match else row for row, match in enumerate(found)]


def colour_of(number: int) -> str:
    """Return the colour of a version's number; they repeat after seven."""
    return PALETTE[number % len(PALETTE)]


def shown_name(version: str) -> str:
    """Return a version's name as figures print it."""
    return textwrap.shorten(version.replace("_", " "), 24, placeholder=" …")


def number_text(value: float) -> str:
    """Return three significant figures, without an exponent."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:.0f}"
