"""Figures of a run: takes tidy frames, returns matplotlib Figures; measures nothing, and only `save` writes files."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.model.roofline import Roof, attainable_flops_per_s
from rooflift.present.tables import duration

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

# Okabe and Ito, "Color universal design" (2008), without its black, which is the roofs'.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442")
READ_IN_WHITE = PALETTE[0], PALETTE[2], PALETTE[3]  # a number on the others is dark
INK, GREY, PALE = "#222222", "#767676", "#dddddd"
WIDTH_IN = 9.0  # 900 px at 100 dpi, the width of a pull request
FONT_PT, BAR_PT, BADGE_PT = 9.0, 9.5, 13.0
ROW_PT = 15.5  # from one line of the label column to the next
PANELS_A_ROW = 4

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


@dataclass(frozen=True, slots=True)
class Panel:
    """One counter of `counters_figure`: the axis ends at `limit`, or a little above the largest value without one."""

    column: str
    label: str
    unit: str
    limit: float | None


DEFAULT_PANELS = (
    Panel("sm_pct", "SM throughput", "%", 100),
    Panel("dram_pct", "DRAM throughput", "%", 100),
    Panel("l1_pct", "L1 throughput", "%", 100),
    Panel("l2_pct", "L2 throughput", "%", 100),
    Panel("l2_hit_pct", "L2 hit rate", "%", 100),
    Panel("warps_active_pct", "warps active", "%", 100),
    Panel("issue_active_pct", "issue active", "%", 100),
    Panel("alu_pct", "ALU pipe", "%", 100),
    Panel("fma_pct", "FMA pipe", "%", 100),
    Panel("lsu_pct", "LSU pipe", "%", 100),
    Panel("registers", "registers", "per thread", None),
    Panel("excess_traffic", "DRAM / compulsory", "x", None),
)


@dataclass(frozen=True, slots=True)
class _Point:
    number: int
    intensity: float
    tflops_per_s: float
    label: str
    suspect: bool


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults and `_STYLE`, whatever the caller's own settings are, which come back afterwards."""
    from matplotlib import style

    with style.context(["default", _STYLE]):
        yield


@_style()
def roofline_figure(summary: pd.DataFrame, roofs: Sequence[Roof], *, title: str, footnote: str) -> Figure:
    """Draw the versions of one case and dtype, a row each and in order, as a trail under the roofs.

    `summary` has the columns `version`, `intensity` (FLOP per DRAM byte), `flops_per_s`, `roof_pct` and `time_us`.
    Both axes are logarithmic. A version that cannot be placed is named in the footnote; one above 100 % of its roof
    has a hollow marker and the word "suspect".
    """
    points, left_out = _points(summary)
    page = _page(title, " ".join([footnote, *left_out]), height_in=max(5.8, 2.4 + 0.3 * len(points)))
    axes = page.add_subplot()
    axes.set(xscale="log", yscale="log", xlabel="FLOP per DRAM byte", ylabel="TFLOP/s")
    start = _set_limits(axes, points, roofs)
    page.draw_without_rendering()  # the layout is settled: angles and pixels can be computed from here on
    page.set_layout_engine("none")
    labels = [_draw_roof(axes, roof, roofs, start) for roof in roofs]
    _draw_trail(axes, points)
    _draw_column(axes, points, roofs, labels)
    return page


@_style()
def counters_figure(
    summary: pd.DataFrame, *, title: str, footnote: str, panels: Sequence[Panel] = DEFAULT_PANELS
) -> Figure:
    """Draw one panel a counter and one bar a version (a row of `summary`, in order), its value printed at the right.

    A counter without a value, or without a column, reads "missing".
    """
    values = summary.reindex(columns=[panel.column for panel in panels]).astype(float)
    versions = [str(version) for version in summary["version"]]
    colours = [_colour(number) for number in _numbers(versions)]
    rows = math.ceil(len(panels) / PANELS_A_ROW)
    page = _page(title, footnote, height_in=0.9 + rows * (0.6 + 0.2 * len(versions)))
    for place, panel in enumerate(panels):
        axes = page.add_subplot(rows, PANELS_A_ROW, place + 1)
        column = [float(value) for value in values[panel.column]]
        largest = max((value for value in column if value > 0), default=1.0)
        axes.hlines(range(len(versions)), 0, column, colors=colours, linewidth=BAR_PT)  # a third of barh's SVG
        axes.set_xlim(0, panel.limit or 1.05 * largest)
        axes.set_title(f"{panel.label}, {panel.unit}", loc="left", fontsize=FONT_PT + 1)
        axes.locator_params(axis="x", nbins=2 if panel.limit else 4)
        _name_rows(axes, versions, shown=place % PANELS_A_ROW == 0)
        for row, value in enumerate(column):
            text = f"{value:.0f}" if value.is_integer() else _number_text(value)
            _print_value(axes, row, "" if math.isnan(value) else text)
    return page


@_style()
def stalls_figure(summary: pd.DataFrame, *, title: str, footnote: str) -> Figure:
    """Draw one stacked bar a version from the columns `stall_*`: warps stalled for a reason per issued instruction.

    The six largest reasons over all versions have a colour each, the rest is "other"; the total stands at the right.
    """
    versions = [str(version) for version in summary["version"]]
    stalls = summary[[name for name in summary.columns if str(name).startswith("stall_")]].astype(float)
    stalls = stalls.dropna(axis="columns", how="all")
    page = _page(title, footnote, height_in=1.8 + 0.3 * (0 if stalls.empty else len(versions)))
    axes = page.add_subplot()
    if stalls.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No stall reasons: no version has a value in a stall_* column.", ha="center", va="center")
        return page
    top = stalls.max().sort_values(ascending=False, kind="stable").index[:6]
    parts = stalls[top].rename(columns=lambda name: str(name).removeprefix("stall_").replace("_", " "))
    if len(stalls.columns) > len(top):
        parts["other"] = stalls.drop(columns=top).sum(axis="columns")
    left = [0.0] * len(versions)
    for name, colour in zip(parts.columns, (*PALETTE[:6], PALE), strict=False):
        widths = [float(width) for width in parts[name].fillna(0)]
        axes.barh(range(len(versions)), widths, left=left, color=colour, edgecolor="white", height=0.72, label=name)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, 1.02 * max(left) or 1)
    for row, absent in enumerate(stalls.isna().sum(axis="columns")):
        note = f" ({absent} missing)" if absent else ""
        _print_value(axes, row, "" if absent == len(stalls.columns) else _number_text(left[row]) + note)
    _name_rows(axes, versions)
    axes.set_xlabel("warps stalled per issued instruction, total at the right")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0)
    return page


@_style()
def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.svg, its text kept as text, and `stem`.png at 150 dpi; the same figure gives the same bytes."""
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("svg", "png")]
    for path, undated in zip(paths, ("Date", "Software"), strict=True):
        figure.savefig(path, dpi=150, facecolor="white", metadata={undated: None})
    return paths


def _page(title: str, footnote: str, height_in: float) -> Figure:
    """Return an empty white figure with its title on top and where it was measured at the bottom."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(WIDTH_IN, height_in), facecolor="white", layout="constrained")
    page.suptitle(textwrap.fill(title, 84), x=0.01, ha="left", fontsize=FONT_PT + 3, fontweight="bold")
    page.supxlabel(textwrap.fill(footnote, 130), x=0.01, ha="left", fontsize=FONT_PT, color=GREY)
    return page


def _points(summary: pd.DataFrame) -> tuple[list[_Point], list[str]]:
    """Return what can be placed on logarithmic axes, and a sentence for each reason that something cannot."""
    points: list[_Point] = []
    left_out: dict[str, list[str]] = {}
    versions = [str(version) for version in summary["version"]]
    columns = summary[["intensity", "flops_per_s", "roof_pct", "time_us"]].astype(float)
    rows = zip(_numbers(versions), versions, *(columns[name] for name in columns), strict=True)
    for number, version, intensity, flops_per_s, roof_pct, time_us in rows:
        if math.isnan(intensity):
            left_out.setdefault("no DRAM counters", []).append(version)
        elif not (intensity > 0 and flops_per_s > 0):
            left_out.setdefault("no FLOP/s", []).append(version)
        else:
            suspect = roof_pct > 100
            share = "roof missing" if math.isnan(roof_pct) else f"{roof_pct:.0f} %" + " suspect" * suspect
            label = f"{_shown(version)}  {duration(time_us)}  {share}"
            points.append(_Point(number, intensity, flops_per_s / 1e12, label, suspect))
    return points, [f"Not drawn, {reason}: {', '.join(names)}." for reason, names in left_out.items()]


def _set_limits(axes: Axes, points: Sequence[_Point], roofs: Sequence[Roof]) -> float:
    """Show the points and the ridge, with room for roof labels at the left and for the column at the right.

    Returns the intensity at which the points begin, 35 % from the left; they end at 60 % at the latest.
    """
    from matplotlib.ticker import LogLocator

    bandwidths = [roof.per_s / 1e12 for roof in roofs if roof.kind == "bandwidth"]
    heights = [roof.per_s / 1e12 for roof in roofs if roof.kind == "compute"]
    placed = [point.intensity for point in points]
    shown = placed + ([max(heights) / min(bandwidths)] if bandwidths and heights else []) or [1.0]
    start = min(shown)
    trail, all_shown = math.log10(max(placed, default=start) / start), math.log10(1.5 * max(shown) / start)
    decades = max(1, trail / 0.25, all_shown / 0.65)
    low, high = start / 10 ** (0.35 * decades), start * 10 ** (0.65 * decades)
    corners = [slope * x for slope in bandwidths for x in ((low,) if heights else (low, high))]
    heights += [point.tflops_per_s for point in points] + corners
    axes.set_xlim(low, high)
    axes.set_ylim(min(heights, default=1.0) / 1.3, max(heights, default=1.0) * 1.8)
    for axis, (first, last) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if last / first < 3000 else (1,)))
        axis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(color=PALE, linewidth=0.5)
    return start


def _draw_roof(axes: Axes, roof: Roof, roofs: Sequence[Roof], start: float) -> Annotation:
    """Draw one roof up to its ridge and return its label: below a measured line, above a datasheet's.

    A bandwidth is labelled between the left edge and `start`, a compute roof at the right edge.
    """
    (low, high), per_s, sloped = axes.get_xlim(), roof.per_s / 1e12, roof.kind == "bandwidth"
    others = max((other.per_s / 1e12 for other in roofs if other.kind != roof.kind), default=math.inf)
    begin, end = (low, min(high, others / per_s)) if sloped else (max(low, per_s / others), high)
    heights = [per_s * begin, per_s * end] if sloped else [per_s, per_s]
    axes.plot([begin, end], heights, color=INK, linewidth=1.4, linestyle="-" if roof.measured else "--")
    (x0, y0), (x1, y1) = axes.transData.transform([(begin, heights[0]), (end, heights[1])])
    angle, gap_pt = math.atan2(y1 - y0, x1 - x0), -4 if roof.measured else 4
    x = math.sqrt(low * start) if sloped else high / 1.02
    return axes.annotate(
        f"{roof.name} {_number_text(per_s)} {'TB/s' if sloped else 'TFLOP/s'}\n{textwrap.fill(roof.source, 36)}",
        (x, per_s * x if sloped else per_s),
        (-gap_pt * math.sin(angle), gap_pt * math.cos(angle)),
        textcoords="offset points",
        rotation=math.degrees(angle),
        rotation_mode="anchor",
        ha="center" if sloped else "right",
        va="top" if roof.measured else "bottom",
        gid="roof-label",
    )


def _draw_trail(axes: Axes, points: Sequence[_Point]) -> None:
    """Draw a dot a version, hollow for a suspect, and an arrow between two that stand far enough apart."""
    before: tuple[float, float] | None = None
    for point in points:
        place, colour = (point.intensity, point.tflops_per_s), _colour(point.number)
        face, edge = ("white", colour) if point.suspect else (colour, "white")
        axes.plot(*place, marker="o", markersize=7, markerfacecolor=face, markeredgecolor=edge, zorder=5, gid="dot")
        if before and math.dist(*axes.transData.transform([before, place])) > 14 * axes.figure.dpi / 72:
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 4, "shrinkB": 4}
            axes.annotate("", place, before, arrowprops=arrow, zorder=4)
        before = place


def _draw_column(axes: Axes, points: Sequence[_Point], roofs: Sequence[Roof], above: Sequence[Annotation]) -> None:
    """Label the points in a column at the right edge, below the roofs and `above`, each joined to its dot by a line."""
    box, px_a_pt, to_axes = axes.get_window_extent(), axes.figure.dpi / 72, axes.transAxes.inverted().transform
    order = sorted(points, key=lambda point: (-point.tflops_per_s, point.number))
    texts = [
        axes.text(1, 0, point.label, transform=axes.transAxes, va="center_baseline", gid="label") for point in order
    ]
    left = box.x1 - max((text.get_window_extent().width for text in texts), default=0)
    edge = left - 1.5 * BADGE_PT * px_a_pt
    roof = attainable_flops_per_s(float(axes.transData.inverted().transform((edge, box.y0))[0]), roofs) / 1e12
    tops = [float(axes.transData.transform((1, min(roof, axes.get_ylim()[1])))[1])]
    tops += [extent.y0 for label in above if (extent := label.get_window_extent()).x1 > edge]
    wanted = [float(axes.transData.transform((1, point.tflops_per_s))[1]) for point in order]
    half = ROW_PT / 2 * px_a_pt
    placed = _spread(wanted, 2 * half, box.y0 + half, min(tops) - half)
    for point, text, y in zip(order, texts, placed, strict=True):
        text.set_position(tuple(to_axes((left, y))))
        colour = _colour(point.number)
        circle = {"boxstyle": f"circle,pad={0.2 if point.number < 10 else 0.05}", "edgecolor": colour}
        axes.annotate(
            str(point.number),
            (point.intensity, point.tflops_per_s),
            tuple(to_axes((left - 0.8 * BADGE_PT * px_a_pt, y))),
            textcoords="axes fraction",
            ha="center",
            va="center_baseline",
            color="white" if colour in READ_IN_WHITE and not point.suspect else INK,
            bbox=circle | {"facecolor": "white" if point.suspect else colour},
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "relpos": (0, 0.5), "shrinkB": 4},
            gid="badge",
        )


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return the descending heights `wanted` at least `gap` apart between `low` and `high`, lowered before raised."""
    placed: list[float] = []
    for height in wanted:
        placed.append(min(height, placed[-1] - gap if placed else high))
    for i in reversed(range(len(placed))):
        placed[i] = max(placed[i], placed[i + 1] + gap if i + 1 < len(placed) else low)
    return placed


def _name_rows(axes: Axes, versions: Sequence[str], *, shown: bool = True) -> None:
    """Name the bars, or only make room for them, the first version on top."""
    axes.set_yticks(range(len(versions)) if shown else [], [_shown(version) for version in versions if shown])
    axes.set_ylim(len(versions) - 0.5, -0.5)
    axes.tick_params(axis="y", left=False)


def _print_value(axes: Axes, row: int, text: str) -> None:
    """Print `text` at the right of the bar's row, or the word "missing" where the bar would be."""
    place, shown, colour = (1.03, text, "black") if text else (0.03, "missing", GREY)
    axes.text(place, row, shown, transform=axes.get_yaxis_transform(), va="center", color=colour)


def _numbers(versions: Sequence[str]) -> list[int]:
    """Return the number in each name, v3_tile's 3, or the row's for a name without one."""
    found = [re.match(r"v(\d+)", version) for version in versions]
    return [int(match[1]) if match else row for row, match in enumerate(found)]


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _shown(version: str) -> str:
    return textwrap.shorten(version.replace("_", " "), 24, placeholder=" …")


def _number_text(value: float) -> str:
    """Return three significant figures, without an exponent."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:.0f}"
