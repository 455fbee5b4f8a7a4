"""What the figures share: colours, type sizes, the page, and how it is saved. Draws no data."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rooflift.escape import plain

if TYPE_CHECKING:  # matplotlib costs half a second; importing this module costs nothing
    from pathlib import Path

    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design" (2008), without its black, which is the roofs'.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
INK, GREY, PALE = "#222222", "#767676", "#dddddd"
WIDTH_IN = 9.0  # 900 px at 100 dpi, the width of a pull request
DPI = 150
FONT_PT = 9.0
LINE_IN = 0.18
LONGEST_NAME = 24  # characters of a version's or a case's name

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

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name: the SVG holds it as text
        yield


def page(title: str, footnote: str, height_in: float) -> Figure:
    """Return an empty white figure with its title on top and where it was measured at the bottom.

    `height_in` has room for a line above and two below; for more of them the figure grows.
    """
    from matplotlib.figure import Figure

    above, below = _lines(title, 84, most=2), _lines(footnote, 130, most=5)
    height_in += LINE_IN * (above.count("\n") + max(0, below.count("\n") - 1))
    page = Figure(figsize=(WIDTH_IN, height_in), facecolor="white", layout="constrained")
    page.suptitle(above, x=0.01, ha="left", fontsize=FONT_PT + 3, fontweight="bold")
    page.supxlabel(below, x=0.01, ha="left", fontsize=FONT_PT, color=GREY)
    return page


def _lines(text: str, width: int, most: int) -> str:
    return textwrap.fill(plain(text), width, max_lines=most, placeholder=" …")


@styled()
def save(figure: Figure, stem: Path, *, png: bool = False) -> list[Path]:
    """Write `stem`.svg, its text kept as text, and with `png` also `stem`.png at 150 dpi; return the paths.

    The same figure gives the same bytes. The PNG has a palette: a figure's shades fit in 256 to the eye (off by 8 of
    255 at most), in a third of the bytes.
    """
    svg = stem.with_name(f"{stem.name}.svg")
    figure.savefig(svg, facecolor="white", metadata={"Date": None})
    if not png:
        return [svg]
    from PIL import Image

    figure.set_layout_engine("none")  # the SVG has settled it, and it takes half of the time of each
    drawn, path = io.BytesIO(), stem.with_name(f"{stem.name}.png")
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white", pil_kwargs={"compress_level": 1})
    shades = Image.open(drawn).convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    shades.save(path, dpi=(DPI, DPI))
    return [svg, path]


@styled()
def png(figure: Figure) -> bytes:
    """Return a figure as PNG at 100 dpi, as wide as a page: what a notebook shows."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100, facecolor="white")
    return drawn.getvalue()


def version_numbers(versions: Sequence[str]) -> list[int]:
    """Return the number in each name, v3_tile's 3, or the row's for a name without one."""
    found = [re.match(r"v(\d+)", version) for version in versions]
    return [int(match[1]) if match else row for row, match in enumerate(found)]


def colour_of(number: int) -> str:
    """Return the colour of a version's number; they repeat after seven."""
    return PALETTE[number % len(PALETTE)]


def shown_name(version: str) -> str:
    """Return a version's name as figures print it."""
    name = plain(version).replace("_", " ").strip()
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 2].rstrip() + " …"


def number_text(value: float) -> str:
    """Return three significant figures, without an exponent."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:.0f}"
