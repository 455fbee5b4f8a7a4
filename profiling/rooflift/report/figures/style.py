"""What the figures share: colours, light and dark, type sizes, the page, and how it is saved. Draws no data."""

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

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One ink, in two strengths, and one colour beside it, after Okabe and Ito's blue and vermilion, which nobody confuses
# ("Color universal design", 2008). Nothing is said by a colour alone.
PAPER, INK, GREY, PALE = "#ffffff", "#1b1f24", "#656d76", "#dfe3e8"
BAR, SOFT, OTHER = "#0a66ad", "#a9cbe8", "#c2500a"
DARK = {  # the same on a dark page
    PAPER: "#16181c",
    INK: "#e6e8eb",
    GREY: "#9aa4af",
    PALE: "#343b44",
    BAR: "#5aa9ee",
    SOFT: "#2b4f70",
    OTHER: "#f29b57",
}
WIDTH_IN = 6.25  # 600 px at 96 dpi: half of a laptop's screen, and the column of a pull request
DPI = 192  # of a PNG: 1 200 px
FONT_PT = 9.0
SMALL_PT = 8.0
LINE_IN = 0.16
LONGEST_NAME = 26  # characters of a version's or a case's name

_STYLE: dict[str, object] = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.labelsize": SMALL_PT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; a browser without it takes a narrower sans-serif
    "font.size": FONT_PT,
    "svg.fonttype": "none",
    "svg.hashsalt": "rooflift",
    "text.color": INK,
    "text.parse_math": False,  # a title may hold a dollar sign
    "xtick.color": GREY,
    "xtick.labelcolor": GREY,
    "xtick.labelsize": SMALL_PT,
    "ytick.color": GREY,
    "ytick.labelcolor": GREY,
    "ytick.labelsize": SMALL_PT,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults and `_STYLE`, whatever the caller's own settings are, which come back afterwards."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a name: the SVG holds it as text
        yield


def page(title: str, footnote: str, height_in: float) -> Figure:
    """Return an empty figure with its title on top and where it was measured at the bottom.

    `height_in` has room for a line above and two below; for more of them the figure grows.
    """
    from matplotlib.figure import Figure

    above, below = _lines(title, 66, most=2), _lines(footnote, 104, most=6)
    height_in += LINE_IN * (above.count("\n") + max(0, below.count("\n") - 1))
    page = Figure(figsize=(WIDTH_IN, height_in), facecolor=PAPER, layout="constrained")
    page.suptitle(above, x=0.01, ha="left", fontsize=FONT_PT + 2, fontweight="bold")
    page.supxlabel(below, x=0.01, ha="left", fontsize=SMALL_PT - 0.5, color=GREY)
    return page


def _lines(text: str, width: int, most: int) -> str:
    return textwrap.fill(plain(text), width, max_lines=most, placeholder=" …")


@styled()
def save(figure: Figure, stem: Path, *, png: bool = False) -> list[Path]:
    """Write `stem`.svg, its text kept as text, and with `png` also `stem`.png, 1 200 px wide; return the paths.

    The SVG is light, and dark where the reader's system is. The same figure gives the same bytes. The PNG has a
    palette: a figure's shades fit in 256 to the eye, in a third of the bytes.
    """
    svg = stem.with_name(f"{stem.name}.svg")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", facecolor=PAPER, metadata={"Date": None})
    svg.write_text(with_dark(drawn.getvalue()), encoding="utf-8")
    if not png:
        return [svg]
    from PIL import Image

    figure.set_layout_engine("none")  # the SVG has settled it, and it takes half of the time of each
    pixels, path = io.BytesIO(), stem.with_name(f"{stem.name}.png")
    figure.savefig(pixels, format="png", dpi=DPI, facecolor=PAPER, pil_kwargs={"compress_level": 1})
    shades = Image.open(pixels).convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    shades.save(path, dpi=(DPI, DPI))
    return [svg, path]


def with_dark(svg: str) -> str:
    """Return a figure's SVG with rules that exchange its colours on a dark page; viewers without CSS show the light.

    >>> with_dark('<svg a="1"><g/></svg>').startswith('<svg a="1"><style>@media (prefers-color-scheme: dark) {')
    True
    """
    rules = "".join(
        f'svg [style*="{name}: {light}"] {{ {name}: {dark} !important }}\n'
        for light, dark in DARK.items()
        for name in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{\n{rules}}}</style>"
    return re.sub(r"<svg\b[^>]*>", lambda found: found[0] + style, svg, count=1)


@styled()
def png(figure: Figure) -> bytes:
    """Return a figure as PNG at 128 dpi: what a notebook shows."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=128, facecolor=PAPER)
    return drawn.getvalue()


def name_rows(axes: Axes, names: Sequence[str], *, strong: str = "") -> None:
    """Name the rows of bars or cells, the first on top; the row `strong` in bold."""
    axes.set_yticks(range(len(names)), [shown_name(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", left=False)
    for name, label in zip(names, axes.get_yticklabels(), strict=True):
        label.set(color=INK, fontsize=FONT_PT, fontweight="bold" if name == strong else "normal")


def shown_name(version: str) -> str:
    """Return a version's name as figures print it."""
    name = plain(version).replace("_", " ").strip()
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 2].rstrip() + " …"


def short_name(version: str) -> str:
    """Return the number of a version's name, v3 of v3_pairs; another name as it is."""
    found = re.match(r"v\d+(?=_)", version)
    return found[0] if found else shown_name(version)
