"""Times of configurations over each parameter, spills and failures marked. Takes rows, returns a Figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rooflift.report.figures.style import BAR, GREY, INK, OTHER, PALE, SMALL_PT, SOFT, page, styled

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

A_ROW = 3  # panels
PANEL_IN = 1.75
SPREAD = 0.3  # of the points of one value to its sides, in the order in which they were tried
LEGEND = (
    "A point is a configuration, an open ring one with spills, the line the fastest of each value; x at "
    "the top: so many cannot run or are wrong; dashed: the version as it stands. "
)


@styled()
def tune_figure(
    rows: pd.DataFrame, values: Mapping[str, Sequence[Any]], *, standing_us: float, title: str, footnote: str
) -> Figure:
    """Draw a panel a parameter that has several values: the time of each configuration over its value.

    `rows` has the configurations of one case and dtype: a column a parameter, time_us (NaN for what did not run) and
    spill_instructions; `standing_us` is the time of the version as it stands, NaN where it was not timed.
    """
    shown = {name: list(own) for name, own in values.items() if len(own) > 1} or {
        name: list(own) for name, own in values.items()
    }
    down = math.ceil(len(shown) / A_ROW)
    spec = page(title, LEGEND + footnote, height_in=0.9 + PANEL_IN * down)
    first: Axes | None = None
    for place, (name, own) in enumerate(shown.items()):
        axes = spec.add_subplot(down, min(A_ROW, len(shown)), place + 1, sharey=first)
        first = first or axes
        _panel(axes, rows, name, own, standing_us)
        if place % A_ROW:
            axes.tick_params(axis="y", labelleft=False)
        else:
            axes.set_ylabel("time, µs")
    return spec


def _panel(axes: Axes, rows: pd.DataFrame, name: str, values: list[Any], standing_us: float) -> None:
    axes.set_yscale("log")
    axes.minorticks_off()
    fastest = []
    for place, value in enumerate(values):
        own = rows[rows[name] == value]
        timed = own[own["time_us"].notna()]
        across = [place + SPREAD * (2 * number / max(len(timed) - 1, 1) - 1) for number in range(len(timed))]
        spills = (timed["spill_instructions"].fillna(0) > 0).tolist()
        for spilled, edge, face in ((False, "none", SOFT), (True, OTHER, "none")):
            chosen = [number for number, one in enumerate(spills) if one == spilled]
            axes.scatter(
                [across[number] for number in chosen],
                timed["time_us"].iloc[chosen],
                s=8,
                facecolors=face,
                edgecolors=edge,
                linewidths=0.9,
                gid="spills" if spilled else "timed",
                zorder=2,
            )
        if len(timed):
            fastest.append((place, float(timed["time_us"].min())))
        if len(timed) < len(own):
            text = f"x {len(own) - len(timed)}"
            above = axes.get_xaxis_transform()
            axes.text(
                place, 1.01, text, transform=above, ha="center", va="bottom", fontsize=SMALL_PT - 1.5, color=OTHER
            )
    axes.plot(
        *zip(*fastest, strict=True), color=BAR, linewidth=1.4, marker="o", markersize=3, zorder=3
    ) if fastest else None
    if not math.isnan(standing_us):
        axes.axhline(standing_us, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    _ticks(axes)
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xlabel(name, color=INK)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)


def _ticks(axes: Axes) -> None:
    """Label a logarithmic axis with whole numbers where it spans less than a decade, too."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
