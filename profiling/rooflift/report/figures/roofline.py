"""The roofline figure: roofs, and the trail of the versions under them. Takes a summary, returns a Figure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.analysis.roofline import Roof, attainable_flops_per_s
from rooflift.analysis.sol import SUSPECT_PCT
from rooflift.report.cells import duration
from rooflift.report.figures.style import (
    FONT_PT,
    GREY,
    INK,
    PALE,
    PALETTE,
    colour_of,
    number_text,
    page,
    shown_name,
    styled,
    version_numbers,
)

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

READ_IN_WHITE = PALETTE[0], PALETTE[2], PALETTE[3]  # a number on the others is dark
BADGE_PT = 13.0
ROW_PT = 15.5  # from one line of the label column to the next
LABEL_PT = 2 * 1.2 * FONT_PT + 4  # a roof's label of two lines, and its distance from the line
COLUMN_AT = 0.7  # the column begins right of here, as a share of the axis
SHORT_LABEL = 35  # characters: a roof's label of this length is one line


@dataclass(frozen=True, slots=True)
class _Point:
    number: int
    intensity: float
    tflops_per_s: float
    label: str
    suspect: bool


@styled()
def roofline_figure(summary: pd.DataFrame, roofs: Sequence[Roof], *, title: str, footnote: str) -> Figure:
    """Draw the versions of one case and dtype, a row each and in order, as a trail under the roofs.

    `summary` has the columns `version`, `intensity` (FLOP per byte; of DRAM unless
    `intensity_bytes` says otherwise), `flops_per_s`, `sol_pct` and `time_us`.
    Both axes are logarithmic. A version that cannot be placed is named in the footnote; one above 100 % of SOL
    has a hollow marker and the word "suspect".
    """
    points, left_out = _points(summary)
    spec = page(title, " ".join([footnote, *left_out]), height_in=max(5.8, 2.4 + 0.3 * len(points)))
    axes = spec.add_subplot()
    axes.set(xscale="log", yscale="log", xlabel=f"FLOP per {_counted(summary)} byte", ylabel="TFLOP/s")
    start = _set_limits(axes, points, roofs)
    spec.draw_without_rendering()  # the layout is settled: angles and pixels can be computed from here on
    _make_room(spec, axes, points, roofs)
    spec.set_layout_engine("none")
    labels = [_draw_roof(axes, roof, roofs, start) for roof in roofs]
    _draw_trail(axes, points)
    _draw_column(axes, points, roofs, labels)
    return spec


def _counted(summary: pd.DataFrame) -> str:
    """Return whose bytes the intensities are made of."""
    return " or ".join(sorted(set(summary.get("intensity_bytes", ["DRAM"]))))


def _points(summary: pd.DataFrame) -> tuple[list[_Point], list[str]]:
    """Return what can be placed on logarithmic axes, and a sentence for each reason that something cannot."""
    points: list[_Point] = []
    left_out: dict[str, list[str]] = {}
    versions = [str(version) for version in summary["version"]]
    columns = summary[["intensity", "flops_per_s", "sol_pct", "time_us"]].astype(float)
    rows = zip(version_numbers(versions), versions, *(columns[name] for name in columns), strict=True)
    for number, version, intensity, flops_per_s, sol_pct, time_us in rows:
        if math.isnan(intensity):
            left_out.setdefault("no DRAM metrics", []).append(version)
        elif not (intensity > 0 and flops_per_s > 0):
            left_out.setdefault("no FLOP/s", []).append(version)
        else:
            suspect = sol_pct > SUSPECT_PCT
            share = "SOL missing" if math.isnan(sol_pct) else f"{sol_pct:.0f} %" + " suspect" * suspect
            label = f"{shown_name(version)}  {duration(time_us)}  {share}"
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
    trail, all_shown = math.log10(max(placed, default=start) / start), math.log10(max(shown) / start)
    labelled_below = any(roof.kind == "compute" and _label_below(roof, roofs) for roof in roofs)
    room = 0.43 if labelled_below else 0.60  # such a label stands at the right of the ridge
    decades = max(1, trail / 0.25, all_shown / room)
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


def _make_room(spec: Figure, axes: Axes, points: Sequence[_Point], roofs: Sequence[Roof]) -> None:
    """Make the figure taller where the column's lines have no room below the roof there and its label."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    roof = min(attainable_flops_per_s(left * (right / left) ** COLUMN_AT, roofs) / 1e12, high)
    share = math.log(roof / low) / math.log(high / low)
    lacking_pt = (len(points) * ROW_PT + LABEL_PT) / share - axes.get_window_extent().height / spec.dpi * 72
    if lacking_pt > 0:
        spec.set_figheight(spec.get_figheight() + lacking_pt / 72)
        spec.draw_without_rendering()


def _draw_roof(axes: Axes, roof: Roof, roofs: Sequence[Roof], start: float) -> Annotation:
    """Draw one roof up to its ridge, thin and dashed when it is a datasheet's, and return its label.

    A bandwidth is labelled between the left edge and `start`, a compute roof at the right edge.
    """
    (low, high), per_s, sloped = axes.get_xlim(), roof.per_s / 1e12, roof.kind == "bandwidth"
    others = max((other.per_s / 1e12 for other in roofs if other.kind != roof.kind), default=math.inf)
    begin, end = (low, min(high, others / per_s)) if sloped else (max(low, per_s / others), high)
    heights = [per_s * begin, per_s * end] if sloped else [per_s, per_s]
    width, dashes = (1.4, "-") if roof.measured else (0.8, "--")
    axes.plot([begin, end], heights, color=INK, linewidth=width, linestyle=dashes)
    (x0, y0), (x1, y1) = axes.transData.transform([(begin, heights[0]), (end, heights[1])])
    below = _label_below(roof, roofs)
    angle, gap_pt = math.atan2(y1 - y0, x1 - x0), -4 if below else 4
    x = math.sqrt(low * start) if sloped else high / 1.02
    value = f"{roof.name} {number_text(per_s)} {'TB/s' if sloped else 'TFLOP/s'}"
    one_line = f"{value}, {roof.source}"
    return axes.annotate(
        one_line if len(one_line) <= SHORT_LABEL else f"{value}\n{textwrap.fill(roof.source, 36)}",
        (x, per_s * x if sloped else per_s),
        (-gap_pt * math.sin(angle), gap_pt * math.cos(angle)),
        textcoords="offset points",
        rotation=math.degrees(angle),
        rotation_mode="anchor",
        ha="center" if sloped else "right",
        va="top" if below else "bottom",
        gid="roof-label",
    )


def _label_below(roof: Roof, roofs: Sequence[Roof]) -> bool:
    """Tell on which side of its line a label stands: away from the nearest line that is its counterpart.

    A measured roof's counterparts are the datasheet's of its kind, and the other way round.
    """
    others = [other.per_s for other in roofs if other.kind == roof.kind and other.measured != roof.measured]
    if not others:
        return roof.measured
    nearest = min(others, key=lambda per_s: abs(math.log(per_s / roof.per_s)))
    return roof.per_s < nearest or (roof.measured and roof.per_s == nearest)


def _draw_trail(axes: Axes, points: Sequence[_Point]) -> None:
    """Draw a dot a version, hollow for a suspect, and an arrow between two that stand far enough apart."""
    before: tuple[float, float] | None = None
    for point in points:
        place, colour = (point.intensity, point.tflops_per_s), colour_of(point.number)
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
        colour = colour_of(point.number)
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
