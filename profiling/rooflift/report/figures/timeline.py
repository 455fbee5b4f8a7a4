"""Metrics over the time of a launch, a narrow panel each: ramp, phases, tail. Takes samples, returns a Figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rooflift.analysis.timeline import ramp_and_tail, telling
from rooflift.report.figures.style import BAR, GREY, INK, PALE, SMALL_PT, SOFT, page, styled

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.figure import Figure

PANEL_IN = 0.62
UNALIGNED = "Each panel begins with its first sample; panels may be of different passes of ncu, and are not aligned. "
ALIGNED = "Each panel begins with the launch; panels may be of different passes of ncu. "


@styled()
def timeline_figure(samples: pd.DataFrame, *, title: str, footnote: str) -> Figure:
    """Draw the series of one launch that tell most over its time; at the right the share of ramp and tail.

    `samples` has metric, unit, from_start, time_us and value. A gap is where ncu wrote no number.
    """
    found = telling(samples)
    about = ALIGNED if samples["from_start"].all() else UNALIGNED
    spec = page(title, about + footnote, height_in=0.9 + PANEL_IN * max(len(found), 1))
    if not found:
        axes = spec.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No metric has values over time.", ha="center", va="center", color=GREY)
        return spec
    last = max(series["time_us"].max() for series in found.values())
    for place, (name, series) in enumerate(found.items()):
        axes = spec.add_subplot(len(found), 1, place + 1)
        ordered = series.sort_values("time_us")
        axes.fill_between(ordered["time_us"], ordered["value"], color=SOFT, linewidth=0)
        axes.plot(ordered["time_us"], ordered["value"], color=BAR, linewidth=0.9)
        axes.set_xlim(0, last)
        axes.set_ylim(0, max(1.05 * ordered["value"].max(), 1e-9))
        axes.set_yticks([0, ordered["value"].max()], ["0", f"{ordered['value'].max():.3g}"])
        unit = f", {series['unit'].iloc[0]}" if series["unit"].iloc[0] else ""
        axes.set_title(f"{name}{unit}", loc="left", fontsize=SMALL_PT, color=INK, pad=2)
        ramp, tail = ramp_and_tail(series)
        if not math.isnan(ramp):
            text = f"ramp {100 * ramp:.0f} %\ntail {100 * tail:.0f} %"
            side = axes.get_yaxis_transform()
            axes.text(1.01, 0, text, transform=side, va="bottom", fontsize=SMALL_PT - 1, color=GREY)
        axes.grid(axis="x", color=PALE, linewidth=0.6)
        axes.tick_params(axis="x", labelbottom=place == len(found) - 1)
    axes.set_xlabel("time, µs")
    return spec
