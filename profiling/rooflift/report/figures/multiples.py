"""Small multiples: what each version keeps busy, and what its warps wait for. Takes rows, returns Figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rooflift.analysis.bottleneck import NO_STALL, elapsed_shares
from rooflift.ncu.metrics import BY_NAME, RESOURCES
from rooflift.report.figures.style import BAR, GREY, SMALL_PT, SOFT, name_rows, page, styled

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.figure import Figure

ROW_IN = 0.22
QUIET_PCT = 20.0  # a unit that is never busier is named in the footnote alone
MOST_REASONS = 6


@styled()
def bottleneck_figure(rows: pd.DataFrame, *, title: str, footnote: str) -> Figure:
    """Draw a column a unit and a row a version: how busy the unit is, in % of its peak; the bottleneck's bar is dark.

    The shares are those that the bottleneck is judged by, over elapsed cycles (`rooflift.analysis.bottleneck`). `rows`
    has version, bottleneck and metrics; with `versions` a row stands for a group. A version whose bottleneck is no unit
    (latency) has no dark bar; its name stands at the right.
    """
    import pandas as pd

    found = [_units(row) for row in rows.to_dict("records")]
    named = [unit for unit in dict.fromkeys(RESOURCES.values()) if any(unit in own for own in found)]
    named += [unit for own in found for unit in own if unit not in named]
    shares = pd.DataFrame(found, columns=list(dict.fromkeys(named)), dtype=float)
    busy = [unit for unit in shares if shares[unit].max() >= QUIET_PCT]
    quiet = [str(unit) for unit in shares if unit not in busy]
    marked = [[unit == resource for unit in busy] for resource in rows["bottleneck"]]
    return _multiples(
        shares[busy],
        marked,
        names=_names(rows),
        right=[str(resource) for resource in rows["bottleneck"]],
        title=title,
        footnote=footnote + (f" Below {QUIET_PCT:g} % throughout: {', '.join(quiet)}." if quiet else ""),
        absent="No version has a value of how busy a unit is.",
    )


@styled()
def stalls_figure(rows: pd.DataFrame, *, title: str, footnote: str) -> Figure:
    """Draw a column a reason and a row a version: the share of the waiting warps that wait for it, in %.

    `rows` has version and columns `stall_*`, warps per issued instruction. The reasons with the largest shares have a
    column, the rest is "other". The longest wait of a version is dark; all that wait, per instruction, stand at the
    right. Warps that could issue wait for nothing: they are left out.
    """
    names = [name for name in rows if str(name).startswith("stall_") and name not in NO_STALL]
    stalls = rows[names].astype(float).dropna(axis="columns", how="all")
    totals = stalls.sum(axis="columns", min_count=1)
    shares = 100 * stalls.div(totals, axis="index")
    top = list(shares.max().sort_values(ascending=False, kind="stable").index[:MOST_REASONS])
    shown = shares[top].rename(columns=lambda name: BY_NAME[name].label.removeprefix("Stall "))
    if len(stalls.columns) > len(top):
        shown["other"] = shares.drop(columns=top).sum(axis="columns", min_count=1)
    largest = shares[top].max(axis="columns")
    marked = [[value == most for value in row] + [False] for row, most in zip(shares[top].values, largest, strict=True)]
    return _multiples(
        shown,
        marked,
        names=_names(rows),
        right=["" if math.isnan(total) else f"{total:.1f}" for total in totals],
        title=title,
        footnote=f"At the right: waiting warps per issued instruction. {footnote}",
        absent="No version has a value of why its warps wait.",
    )


def _units(row: Mapping[str, float]) -> dict[str, float]:
    """Return the share of each unit by its name; of two metrics of one unit the larger."""
    found: dict[str, float] = {}
    for name, share in elapsed_shares(row).items():
        unit = BY_NAME[name].bottleneck
        if unit:
            found[unit] = max(share, found.get(unit, 0.0))
    return found


def _names(rows: pd.DataFrame) -> list[str]:
    names = rows["versions"] if "versions" in rows else rows["version"]
    return [str(name).removesuffix(" (same machine code)") for name in names]


def _multiples(
    values: pd.DataFrame,
    marked: list[list[bool]],
    *,
    names: list[str],
    right: list[str],
    title: str,
    footnote: str,
    absent: str,
) -> Figure:
    """Draw narrow panels of bars of percentages side by side, a row a version, each value printed at its bar."""
    spec = page(title, footnote, height_in=1.1 + ROW_IN * (len(names) if len(values.columns) else 1))
    if not len(values.columns):
        axes = spec.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.5, absent, ha="center", va="center", color=GREY)
        return spec
    for place, name in enumerate(values):
        axes = spec.add_subplot(1, len(values.columns), place + 1)
        for row, value in enumerate(values[name]):
            dark = marked[row][place]
            axes.barh(row, 0 if math.isnan(value) else value, height=0.78, color=BAR if dark else SOFT)
            text = "-" if math.isnan(value) else f"{value:.0f}"
            beyond = math.isnan(value) or value < 60  # else the number stands in the bar
            axes.text(
                (0 if math.isnan(value) else value) + 4 if beyond else value - 4,
                row,
                text,
                ha="left" if beyond else "right",
                va="center",
                fontsize=SMALL_PT - 1,
                fontweight="bold" if dark else "normal",
                color=("#fefefe" if dark and not beyond else None),
            )
        axes.set_xlim(0, 100)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_title(str(name).replace(" ", "\n"), loc="left", fontsize=SMALL_PT - 0.5)
        name_rows(axes, names)
        if place:
            axes.tick_params(axis="y", labelleft=False)
    for row, text in enumerate(right):
        axes.text(1.06, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL_PT, color=GREY)
    return spec
