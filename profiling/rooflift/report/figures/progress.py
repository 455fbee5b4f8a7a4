"""How far each version came: bars under the speed of light and the best baseline. Takes rows, returns a Figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rooflift.analysis.sol import SUSPECT_PCT
from rooflift.report.cells import duration
from rooflift.report.figures.style import (
    BAR,
    FONT_PT,
    GREY,
    INK,
    OTHER,
    PAPER,
    SMALL_PT,
    SOFT,
    name_rows,
    page,
    shown_name,
    styled,
)

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR_IN = 0.24  # from one bar to the next
COLUMN_PT = {"time": 54.0, "SOL": 38.0, "step": 62.0}
LEGEND = "Step: time over that of the version before; a pale bar changed nothing, a hollow one is slower."
UNCHANGED = ("within noise", "not comparable")


class Level(NamedTuple):
    """A time that versions are held against: the best baseline's."""

    name: str
    time_us: float


@styled()
def progress_figure(rows: pd.DataFrame, *, baseline: Level | None = None, title: str, footnote: str) -> Figure:
    """Draw a bar a version, in order: its share of SOL, or its time where SOL is not known.

    `rows` has version, time_us and sol_pct; with `versions` a row stands for a group of the same machine code, and with
    `verdict` ("faster", "slower", "within noise", ...) and `step_x`, the time ratio to the row before, the bars say
    what the step changed: a full bar is faster, a pale one no change, a hollow one slower. The fastest version's name
    is bold, a share above 100 has an exclamation mark. Lines stand at SOL and at the best baseline.

    Example:
        >>> import pandas as pd
        >>> rows = pd.DataFrame({"version": ["v0", "v1"], "time_us": [20.0, 10.0], "sol_pct": [40.0, 80.0]})
        >>> progress_figure(rows, baseline=Level("torch_eager", 16.0), title="softmax", footnote="H100")
        <Figure size 600x...>
    """
    names = [str(name) for name in (rows["versions"] if "versions" in rows else rows["version"])]
    names = [name.removesuffix(" (same machine code)") for name in names]
    times, shares = ([float(value) for value in rows[column]] for column in ("time_us", "sol_pct"))
    by_share = not all(map(math.isnan, shares))
    values = shares if by_share else times
    verdicts = [str(verdict) for verdict in rows["verdict"]] if "verdict" in rows else [""] * len(names)
    steps = [float(step) for step in rows["step_x"]] if "step_x" in rows else [math.nan] * len(names)
    if any(verdicts):
        footnote = f"{LEGEND} {footnote}"
    spec = page(title, footnote, height_in=1.35 + BAR_IN * len(names))
    axes = spec.add_subplot()
    known = [time for time in times if not math.isnan(time)]
    best = names[times.index(min(known))] if known else ""
    level = _level(baseline, times, shares) if by_share else (baseline.time_us if baseline else math.nan)
    axes.set_xlim(0, max([100.0] * by_share + [1.02 * v for v in (*values, level) if not math.isnan(v)], default=1.0))
    for place, (value, verdict) in enumerate(zip(values, verdicts, strict=True)):
        _draw_bar(axes, place, value, verdict)
    name_rows(axes, names, strong=best)
    columns = {"time": [duration(time) if not math.isnan(time) else "missing" for time in times]}
    if by_share:
        columns["SOL"] = ["" if math.isnan(s) else f"{s:.0f} %" + "!" * (s > SUSPECT_PCT) for s in shares]
    if any(verdicts):
        columns["step"] = [_step(step, verdict) for step, verdict in zip(steps, verdicts, strict=True)]
    _print_columns(axes, columns, names.index(best) if best else -1)
    _draw_levels(axes, baseline, level, by_share=by_share)
    axes.set_xlabel("% of the speed of light (SOL)" if by_share else "time, µs")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    return spec


def _step(step_x: float, verdict: str) -> str:
    if verdict == "within noise":
        return "no change"
    if verdict not in ("faster", "slower"):
        return verdict and "unknown"
    return f"{step_x:.2f}x {verdict if verdict == 'slower' else ''}".rstrip()


def _print_columns(axes: Axes, columns: dict[str, list[str]], strong: int) -> None:
    """Print texts in columns at the right of the bars, under headings."""
    place_pt = 0.0
    for heading, texts in columns.items():
        place_pt += COLUMN_PT[heading]
        for row, text in enumerate([heading, *texts], -1):
            axes.annotate(
                text,
                (1, row if row >= 0 else -0.5),
                (place_pt, 0 if row >= 0 else 2),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center" if row >= 0 else "bottom",
                fontsize=SMALL_PT,
                fontweight="bold" if row == strong else "normal",
                color=INK if row >= 0 else GREY,
                gid=f"text-{heading}",
            )


def _level(baseline: Level | None, times: list[float], shares: list[float]) -> float:
    """Return the baseline's share of SOL, from a row's time and share."""
    known = [t * s for t, s in zip(times, shares, strict=True) if not math.isnan(t * s)]
    return known[0] / baseline.time_us if baseline and known else math.nan


def _draw_bar(axes: Axes, place: int, value: float, verdict: str) -> None:
    face = {"slower": PAPER}.get(verdict, SOFT if verdict in UNCHANGED else BAR)
    edge = SOFT if verdict in UNCHANGED else BAR
    (bar,) = axes.barh(place, 0 if math.isnan(value) else value, height=0.62, color=face, edgecolor=edge, linewidth=1)
    bar.set_gid(f"progress-{place}")


def _draw_levels(axes: Axes, baseline: Level | None, level: float, *, by_share: bool) -> None:
    """Draw SOL and the best baseline as lines that are named above the bars, apart where they are near each other."""
    end = axes.get_xlim()[1]
    if by_share:
        axes.axvline(100, color=INK, linewidth=1, zorder=3)
        axes.annotate("SOL", (100 / end, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", ha="center")
    if baseline is None or math.isnan(level):
        return
    axes.axvline(level, color=OTHER, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
    right = level / end > 0.4
    text = f"{shown_name(baseline.name)}, {duration(baseline.time_us)}"
    axes.annotate(
        text,
        (level / end, 1),
        (-4 if right else 4, 2 + FONT_PT * 1.25 * (by_share and abs(level - 100) / end < 0.08)),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right" if right else "left",
        color=OTHER,
        gid="level",
    )
