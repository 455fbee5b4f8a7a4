"""Figures of metrics and stalls: takes a summary, returns matplotlib Figures; measures nothing, writes nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rooflift.ncu.metrics import BY_NAME, shown_in
from rooflift.report.columns import EXCESS_TRAFFIC
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

BAR_PT = 9.5
PANELS_A_ROW = 4
PEER_MARKS = "sD^v"
LEGEND_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure of `metrics_figure`: the axis ends at `limit`, or a little above the largest value without one."""

    column: str
    heading: str
    limit: float | None


DEFAULT_PANELS = (
    *(Panel(metric.name, metric.heading, 100 if metric.unit == "%" else None) for metric in shown_in("panels")),
    Panel("excess_traffic", EXCESS_TRAFFIC.heading, None),
)


@styled()
def metrics_figure(
    summary: pd.DataFrame, *, title: str, footnote: str, panels: Sequence[Panel] = DEFAULT_PANELS
) -> Figure:
    """Draw one panel a metric and one bar a version (a row of `summary`, in order), its value printed at the right.

    A metric without a value, or without a column, reads "missing".
    """
    values = summary.reindex(columns=[panel.column for panel in panels]).astype(float)
    versions = [str(version) for version in summary["version"]]
    colours = [colour_of(number) for number in version_numbers(versions)]
    rows = math.ceil(len(panels) / PANELS_A_ROW)
    spec = page(title, footnote, height_in=0.9 + rows * (0.6 + 0.2 * len(versions)))
    for place, panel in enumerate(panels):
        axes = spec.add_subplot(rows, PANELS_A_ROW, place + 1)
        column = [float(value) for value in values[panel.column]]
        largest = max((value for value in column if value > 0), default=1.0)
        axes.hlines(range(len(versions)), 0, column, colors=colours, linewidth=BAR_PT)  # a third of barh's SVG
        axes.set_xlim(0, panel.limit or 1.05 * largest)
        axes.set_title(panel.heading, loc="left", fontsize=FONT_PT + 1)
        axes.locator_params(axis="x", nbins=2 if panel.limit else 4)
        _name_rows(axes, versions, shown=place % PANELS_A_ROW == 0)
        for row, value in enumerate(column):
            text = f"{value:.0f}" if value.is_integer() else number_text(value)
            _print_value(axes, row, "" if math.isnan(value) else text)
    return spec


@styled()
def stalls_figure(summary: pd.DataFrame, *, title: str, footnote: str) -> Figure:
    """Draw one stacked bar a version from the columns `stall_*`: warps stalled for a reason per issued instruction.

    The six largest reasons over all versions have a colour each, the rest is "other"; the total stands at the right.
    """
    versions = [str(version) for version in summary["version"]]
    stalls = summary[[name for name in summary.columns if str(name).startswith("stall_")]].astype(float)
    stalls = stalls.dropna(axis="columns", how="all")
    spec = page(title, footnote, height_in=1.8 + 0.3 * (0 if stalls.empty else len(versions)))
    axes = spec.add_subplot()
    if stalls.empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No stall reasons: no version has a value in a stall_* column.", ha="center", va="center")
        return spec
    top = stalls.max().sort_values(ascending=False, kind="stable").index[:6]
    parts = stalls[top].rename(columns=lambda name: BY_NAME[name].label.removeprefix("Stall "))
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
        _print_value(axes, row, "" if absent == len(stalls.columns) else number_text(left[row]) + note)
    _name_rows(axes, versions)
    axes.set_xlabel("warps stalled per issued instruction, total at the right")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0)
    return spec


@styled()
def suite_figure(shares: pd.DataFrame, *, title: str, footnote: str) -> Figure:
    """Draw a panel a dtype, a row a case: the versions as dots, the baselines as hollow marks, SOL as a line.

    `shares` has one row a provider, case and dtype: provider, case, dtype, is_version and sol_pct. The last version's
    dot is the large one, and its share is printed at the right.
    """
    from matplotlib.lines import Line2D

    cases, dtypes = (list(dict.fromkeys(shares[column])) for column in ("case", "dtype"))
    versions, baselines = (
        list(dict.fromkeys(shares.loc[shares["is_version"] == is_version, "provider"])) for is_version in (True, False)
    )
    dots: list[tuple[str, dict[str, Any]]] = [
        (version, {"marker": "o", "color": colour_of(number), "markersize": 4.0})
        for version, number in zip(versions, version_numbers(versions), strict=True)
    ]
    for _, style in dots[-1:]:
        style |= {"markersize": 7.0, "markeredgecolor": INK}
    hollow: dict[str, Any] = {"color": GREY, "markerfacecolor": "none", "markersize": 6.0}
    marks = [
        (baseline, hollow | {"marker": mark})
        for baseline, mark in zip(baselines, itertools.cycle(PEER_MARKS), strict=False)
    ]
    legend_rows = math.ceil((len(marks) + len(dots) + 1) / LEGEND_COLUMNS)
    heights = (0.2 * legend_rows, 0.4 + 0.27 * len(cases))
    spec = page(title, footnote, height_in=1.0 + sum(heights))
    grid = spec.add_gridspec(2, len(dtypes), height_ratios=heights)
    places = shares.set_index(["dtype", "provider", "case"])["sol_pct"].astype(float)
    for place, dtype in enumerate(dtypes):
        axes = spec.add_subplot(grid[1, place])
        sol = axes.axvline(100, color=INK, linewidth=1, zorder=1, label="SOL")
        columns = {
            provider: [float(places.get((dtype, provider, case), math.nan)) for case in cases]
            for provider in (*versions, *baselines)
        }
        rows = list(range(len(cases)))
        lines = [
            Line2D(columns[provider], rows, linestyle="", zorder=3, label=shown_name(provider), **style)
            for provider, style in (*marks, *dots)
        ]
        for line in lines:
            axes.add_line(line)
        for row, share in enumerate(columns[versions[-1]] if versions else []):
            _print_value(axes, row, "" if math.isnan(share) else f"{share:.0f}")
        axes.set_xlim(0, 1.05 * max(100.0, float(shares["sol_pct"].max())))
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title(f"{dtype}, %", loc="left", fontsize=FONT_PT + 1)
        axes.locator_params(axis="x", nbins=5)
        _name_rows(axes, cases)
        if place:
            axes.tick_params(axis="y", labelleft=False)
    above = spec.add_subplot(grid[0, :])
    above.set_axis_off()
    above.legend(handles=[*lines, sol], loc="center left", ncols=LEGEND_COLUMNS, frameon=False, borderaxespad=0)
    return spec


def _name_rows(axes: Axes, versions: Sequence[str], *, shown: bool = True) -> None:
    """Name the bars, or only make room for them, the first version on top."""
    axes.set_yticks(range(len(versions)) if shown else [], [shown_name(version) for version in versions if shown])
    axes.set_ylim(len(versions) - 0.5, -0.5)
    axes.tick_params(axis="y", left=False)


def _print_value(axes: Axes, row: int, text: str) -> None:
    """Print `text` at the right of the bar's row, or the word "missing" where the bar would be."""
    place, shown, colour = (1.03, text, "black") if text else (0.03, "missing", GREY)
    axes.text(place, row, shown, transform=axes.get_yaxis_transform(), va="center", color=colour)
