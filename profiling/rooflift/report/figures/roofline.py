"""The roofline figure, zoomed to its points under the roofs that bind there. Takes rows and roofs, returns a Figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rooflift.analysis.roofline import Roof
from rooflift.analysis.sol import SUSPECT_PCT
from rooflift.report.cells import duration
from rooflift.report.figures.style import BAR, GREY, INK, OTHER, PALE, PAPER, SMALL_PT, page, shown_name, styled

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT_IN = 3.9
LABEL_PT = 22.0  # from one label at the right to the next: two lines
MARKERS = {"DRAM": "o", "L2": "s", "L1": "^"}
LEAST_SPAN = 5.0  # an axis shows this factor at least
NEAR = 4.0  # a ridge within this factor of the points is shown


@dataclass(frozen=True, slots=True)
class _Point:
    place: int  # of the row
    version: str
    time_us: float  # not NaN: FLOP/s would be
    tflops_per_s: float
    intensity: dict[str, float]  # FLOP a byte by level; "DRAM" always
    label: str
    suspect: bool
    is_best: bool = False


@styled()
def roofline_figure(
    rows: pd.DataFrame, roofs: Sequence[Roof], *, marked: Sequence[str] = (), title: str, footnote: str
) -> Figure:
    """Draw the versions of one case and dtype, a row each and in order, as a thin trail under the roofs.

    `rows` has version, intensity (FLOP per byte; of DRAM unless `intensity_bytes` says otherwise), flops_per_s,
    sol_pct and time_us; with flop, l2_bytes and l1_bytes the marked versions have a mark a level of the memory, with
    `versions` a row stands for a group. The first, the fastest and the `marked` versions, by default the last, have
    marks and labels, the others a dot. Both axes are logarithmic and show the points; of the roofs those are drawn that
    bind there, the others are named in the footnote, as is a version that cannot be placed. One above 100 % of SOL is
    hollow and called suspect.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    points, left_out = _points(rows)
    shown = _chosen(points, marked)
    bandwidths, compute, far = _binding(points, shown, roofs)
    sources = [f"{roof.name} {roof.source}" for roof in (*bandwidths, *compute)]
    notes = [f"Roofs: {', '.join(sources)}."] if sources else []
    notes += [f"Out of view: {', '.join(map(_rate, far))}."] if far else []
    spec = page(title, " ".join([*left_out, *notes, footnote]), height_in=HEIGHT_IN)
    axes = spec.add_subplot()
    counted = " or ".join(sorted(set(rows.get("intensity_bytes", ["DRAM"]))))
    levels = [level for level in MARKERS if any(level in point.intensity for point in shown)]
    of = " of the level's traffic" if len(levels) > 1 else f" of {counted} traffic"
    axes.set(xscale="log", yscale="log", xlabel=f"FLOP per byte{of}", ylabel="TFLOP/s")
    _set_limits(axes, points, shown, bandwidths, compute)
    widths = [axes.text(0, 0, point.label, fontsize=SMALL_PT, fontweight="bold") for point in shown]
    room = max((text.get_window_extent().width for text in widths), default=0.0) / spec.dpi
    for text in widths:
        text.remove()
    share = 1 - (room + 0.3) / spec.get_figwidth() if room else 1.0
    spec.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, share, 1)))  # the labels stand right of it
    if len(levels) > 1:
        _draw_legend(axes, levels, counted)
    spec.draw_without_rendering()  # the layout is settled: angles and pixels can be computed from here on
    spec.set_layout_engine("none")
    marks = [(x, point.tflops_per_s) for point in shown for x in point.intensity.values()]
    marks += [(point.intensity["DRAM"], point.tflops_per_s) for point in points]
    for roof in bandwidths:
        _draw_bandwidth(axes, roof, compute, marks)
    for roof in compute:
        _draw_compute(axes, roof, bandwidths)
    _draw_points(axes, points, shown)
    _draw_labels(axes, shown)
    return spec


def _points(rows: pd.DataFrame) -> tuple[list[_Point], list[str]]:
    """Return what can be placed on logarithmic axes, and a sentence for each reason that something cannot."""
    points: list[_Point] = []
    left_out: dict[str, list[str]] = {}
    for place, row in enumerate(rows.to_dict("records")):
        version, flops_per_s, sol_pct = str(row["version"]), float(row["flops_per_s"]), float(row["sol_pct"])
        if math.isnan(row["intensity"]):
            missing = "FLOP" if row.get("dram_bytes", math.nan) > 0 else "DRAM"
            left_out.setdefault(f"no {missing} metrics", []).append(version)
            continue
        if not (row["intensity"] > 0 and flops_per_s > 0):
            left_out.setdefault("no FLOP/s", []).append(version)
            continue
        intensity = {"DRAM": float(row["intensity"])}
        for level, column in (("L2", "l2_bytes"), ("L1", "l1_bytes")):
            moved = float(row.get(column, math.nan))
            if moved > 0 and row.get("flop", math.nan) > 0:
                intensity[level] = float(row["flop"]) / moved
        suspect = sol_pct > SUSPECT_PCT
        share = "SOL missing" if math.isnan(sol_pct) else f"{sol_pct:.0f} % of SOL" + ", suspect" * suspect
        time_us = float(row["time_us"])
        name = str(row.get("versions", version)).removesuffix(" (same machine code)")
        label = f"{shown_name(name)}\n{duration(time_us)}, {share}"
        points.append(_Point(place, version, time_us, flops_per_s / 1e12, intensity, label, suspect))
    return points, [f"Not drawn, {reason}: {', '.join(names)}." for reason, names in left_out.items()]


def _chosen(points: Sequence[_Point], marked: Sequence[str]) -> list[_Point]:
    """Return the first, the fastest and the marked points, by default the last, in order."""
    if not points:
        return []
    best = min(points, key=lambda point: point.time_us)
    wanted = {points[0].version, best.version, *(marked or [points[-1].version])}
    return [replace(point, is_best=point.version == best.version) for point in points if point.version in wanted]


def _binding(
    points: Sequence[_Point], shown: Sequence[_Point], roofs: Sequence[Roof]
) -> tuple[list[Roof], list[Roof], list[Roof]]:
    """Return the bandwidths and the compute roofs to draw, and the roofs that do not bind near the points.

    Of a roof that was measured and published the measured one is drawn. A compute roof that a point is above is not
    that point's; one whose ridge is far from the points does not bind them.
    """
    measured = [roof for roof in roofs if roof.measured]
    names = {roof.name.split()[0] if roof.kind == "bandwidth" else roof.name for roof in measured}
    every = measured + [roof for roof in roofs if not roof.measured and roof.name not in names]
    levels = {level for point in shown for level in point.intensity} | {"DRAM"}
    bandwidths = [roof for roof in every if roof.kind == "bandwidth" and roof.name.split()[0] in levels]
    compute = [roof for roof in every if roof.kind == "compute"]
    if not points:
        return bandwidths, compute, []
    top, far = max(point.tflops_per_s for point in points) * 1e12, max(point.intensity["DRAM"] for point in points)
    dram = min((roof.per_s for roof in bandwidths if roof.name.startswith("DRAM")), default=math.inf)
    above = sorted((roof for roof in compute if roof.per_s >= top), key=lambda roof: roof.per_s)
    near = [roof for roof in above if roof.per_s <= NEAR * far * dram]
    drawn = near[:1] if near else above[:0]
    if not drawn and compute and not above:  # all points are above every roof, which is to be seen
        drawn = [max(compute, key=lambda roof: roof.per_s)]
    return bandwidths, drawn, [roof for roof in above if roof not in drawn]


def _set_limits(
    axes: Axes,
    points: Sequence[_Point],
    shown: Sequence[_Point],
    bandwidths: Sequence[Roof],
    compute: Sequence[Roof],
) -> None:
    """Show the points and, where it is near them, the ridge."""
    from matplotlib.ticker import LogLocator, NullLocator

    xs = [point.intensity["DRAM"] for point in points] + [x for point in shown for x in point.intensity.values()]
    ys = [point.tflops_per_s for point in points]
    dram = min((roof.per_s / 1e12 for roof in bandwidths if roof.name.startswith("DRAM")), default=math.nan)
    heights = [roof.per_s / 1e12 for roof in compute]
    ridges = [height / dram for height in heights if not math.isnan(dram)]
    xs = xs + [1.3 * ridge for ridge in ridges if not xs or ridge <= NEAR * max(xs)] or [1.0]
    low, high = _span(min(xs) / 1.5, max(xs) * 1.5)
    ys += heights + ([] if math.isnan(dram) or heights else [dram * max(xs)])
    bottom, top = _span(min(ys, default=1.0) / 1.5, max(ys, default=1.0) * 1.35)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)
    for axis, (first, last) in ((axes.xaxis, (low, high)), (axes.yaxis, (bottom, top))):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if last / first < 300 else (1,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def _span(low: float, high: float) -> tuple[float, float]:
    """Return limits of at least `LEAST_SPAN`, widened on both sides alike."""
    wider = max(1.0, math.sqrt(LEAST_SPAN / (high / low)))
    return low / wider, high * wider


def _rate(roof: Roof) -> str:
    unit = "TB/s" if roof.kind == "bandwidth" else "TFLOP/s"
    digits = f"{roof.per_s / 1e12:#.3g}".rstrip(".")
    return f"{roof.name} {digits} {unit}"


def _draw_bandwidth(axes: Axes, roof: Roof, compute: Sequence[Roof], marks: Sequence[tuple[float, float]]) -> None:
    """Draw the part of a bandwidth that is in view and below the highest compute roof, its name along it.

    The name stands above the line, or below it, at the first place that covers none of the marks.
    """
    slope, (left, right), (bottom, top) = roof.per_s / 1e12, axes.get_xlim(), axes.get_ylim()
    highest = max((one.per_s / 1e12 for one in compute), default=math.inf)
    start, end = max(left, bottom / slope), min(right, min(top, highest) / slope)
    if start >= end:
        return
    style = "-" if roof.measured else "--"
    axes.plot([start, end], [slope * start, slope * end], color=INK, linewidth=1.2, linestyle=style, gid="roof")
    ends = axes.transData.transform([(start, slope * start), (end, slope * end)])
    angle = math.atan2(ends[1][1] - ends[0][1], ends[1][0] - ends[0][0])
    text = axes.text(0, 0, _rate(roof), fontsize=SMALL_PT - 0.5, color=GREY, gid="roof-label")
    px_a_pt = axes.figure.dpi / 72
    length, height = (side / px_a_pt for side in text.get_window_extent().size)
    text.remove()
    whole = math.dist(*ends) / px_a_pt
    seen = [_along(axes.transData.transform(mark), ends[0], angle, px_a_pt) for mark in marks]
    free = (
        (at, below)
        for below in (False, True)
        for at in (4.0 + 4.0 * step for step in range(max(1, int((whole - length - 4) / 4))))
        if not any(
            at - 6 < along < at + length + 6 and (-height - 8 < across < 5 if below else -5 < across < height + 8)
            for along, across in seen
        )
    )
    at, below = next(free, (4.0, False))
    place = axes.transData.inverted().transform(
        ends[0] + [at * px_a_pt * math.cos(angle), at * px_a_pt * math.sin(angle)]
    )
    away = -2.6 if below else 2.6
    axes.annotate(
        text.get_text(),
        tuple(place),
        (-away * math.sin(angle), away * math.cos(angle)),
        textcoords="offset points",
        rotation=math.degrees(angle),
        rotation_mode="anchor",
        va="top" if below else "baseline",
        fontsize=SMALL_PT - 0.5,
        color=GREY,
        gid="roof-label",
    )


def _along(place: Iterable[float], start: Iterable[float], angle: float, px_a_pt: float) -> tuple[float, float]:
    """Return how far a place is along a line from its start, and how far above it, in points."""
    x, y = ((one - other) / px_a_pt for one, other in zip(place, start, strict=True))
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _draw_compute(axes: Axes, roof: Roof, bandwidths: Sequence[Roof]) -> None:
    """Draw a compute roof from where the highest bandwidth meets it, its name above the right end."""
    height, (left, right) = roof.per_s / 1e12, axes.get_xlim()
    start = max([left, *(height / (one.per_s / 1e12) for one in bandwidths)] if len(bandwidths) == 1 else [left])
    style = "-" if roof.measured else "--"
    axes.plot([start, right], [height, height], color=INK, linewidth=1.2, linestyle=style, gid="roof")
    axes.annotate(
        _rate(roof),
        (right, height),
        (-2, 2.6),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL_PT - 0.5,
        color=GREY,
        gid="roof-label",
    )


def _draw_legend(axes: Axes, levels: Sequence[str], counted: str) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[level], markersize=5, color=GREY, label=f"FLOP per {name} byte")
        for level in levels
        for name in [counted if level == "DRAM" else level]
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        fontsize=SMALL_PT - 0.5,
        labelcolor=GREY,
        borderaxespad=0.2,
        handletextpad=0.1,
        columnspacing=1,
    )


def _draw_points(axes: Axes, points: Sequence[_Point], shown: Sequence[_Point]) -> None:
    """Draw the trail, a dot a version, and marks of the chosen ones: a level a shape, the fastest in the other ink."""
    xs, ys = [point.intensity["DRAM"] for point in points], [point.tflops_per_s for point in points]
    axes.plot(xs, ys, color=GREY, linewidth=0.7, zorder=3, gid="trail")
    chosen = {point.place: point for point in shown}
    for point in points:
        mark = chosen.get(point.place)
        colour = OTHER if mark and mark.is_best else BAR
        for level, x in (mark.intensity if mark else {"DRAM": point.intensity["DRAM"]}).items():
            size = 3.2 if mark is None else 8.0 if level == "DRAM" else 5.5
            (line,) = axes.plot(
                x,
                point.tflops_per_s,
                linestyle="",
                marker=MARKERS[level],
                markersize=size,
                markerfacecolor=PAPER if point.suspect else colour,
                markeredgecolor=colour if point.suspect else PAPER,
                markeredgewidth=1.2 if point.suspect else 0.6,
                zorder=5 if mark else 4,
            )
            line.set_gid(f"roofline-{point.place}" if level == "DRAM" else f"roofline-{point.place}-{level}")


def _draw_labels(axes: Axes, shown: Sequence[_Point]) -> None:
    """Label the marks in a column right of the axes, as high as they stand where there is room, each with a line."""
    px_a_pt = axes.figure.dpi / 72
    box = axes.get_window_extent()
    order = sorted(shown, key=lambda point: -point.tflops_per_s)
    wanted = [float(axes.transData.transform((1, point.tflops_per_s))[1]) for point in order]
    half = LABEL_PT / 2 * px_a_pt
    for point, y in zip(order, _spread(wanted, 2 * half, box.y0 + half, box.y1 - half), strict=True):
        axes.annotate(
            point.label,
            (point.intensity["DRAM"], point.tflops_per_s),
            (1.03, (y - box.y0) / box.height),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL_PT,
            fontweight="bold" if point.is_best else "normal",
            color=OTHER if point.is_best else INK,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "relpos": (0, 0.5), "shrinkB": 5},
            zorder=2,
            gid="label",
        )


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return the descending heights `wanted` at least `gap` apart between `low` and `high`, lowered before raised."""
    placed: list[float] = []
    for height in wanted:
        placed.append(min(height, placed[-1] - gap if placed else high))
    for i in reversed(range(len(placed))):
        placed[i] = max(placed[i], placed[i + 1] + gap if i + 1 < len(placed) else low)
    return placed
