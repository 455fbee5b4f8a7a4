"""The columns of every table: those of metrics come from the registry, those of other figures stand here, once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rooflift.analysis.sol import rate_text
from rooflift.ncu.metric import Place
from rooflift.ncu.metrics import BY_NAME, METRICS, shown_in
from rooflift.report import cells
from rooflift.report.cells import MISSING, Cell, Column, Row, Table, figure, number, rate, time, words

if TYPE_CHECKING:
    import pandas as pd

MOVED_POINTS = 2.0  # a percentage that changed by less has not moved


def metric(name: str) -> Column:
    """Return the column of a metric."""
    about = BY_NAME[name]
    return figure(name, about.heading, about.decimals)


def metrics(place: Place) -> tuple[Column, ...]:
    """Return the columns of the metrics that a table shows."""
    return tuple(metric(about.name) for about in shown_in(place))


def with_arrows(place: Place) -> tuple[Column, ...]:
    """Return the columns of a table's metrics; an arrow says that a share moved from the row before."""
    return tuple(
        arrow(metric(m.name), m.name, MOVED_POINTS) if m.unit == "%" else metric(m.name) for m in shown_in(place)
    )


def arrow(column: Column, name: str, least: float) -> Column:
    """Return a column with an arrow where a figure differs from `<name>_before` by `least` or more."""

    def cell(row: Row) -> Cell:
        shown, difference = column.cell(row), row[name] - row.get(f"{name}_before", math.nan)
        if not abs(difference) >= least:  # NaN is no move
            return shown
        return Cell(f"{'↑' if difference > 0 else '↓'} {shown.text}", shown.value)

    return Column(column.heading, cell)


def interval(row: Row, ratio: str = "time_x") -> str:
    """Return a ratio with its interval: "0.5021x (0.5016 to 0.5027)", a dash where there is none."""
    if math.isnan(row[ratio]):
        return MISSING
    return f"{row[ratio]:.4f}x ({row['low']:.4f} to {row['high']:.4f})"


def _step(row: Row) -> Cell:
    return Cell(f"{interval(row, 'step_x')} {row['verdict']}" if row["verdict"] else MISSING, row["step_x"])


def _short_step(row: Row) -> Cell:
    if not row["verdict"]:
        return Cell(MISSING)
    return Cell(f"{number(row['step_x'], 3)}x {row['verdict']}".removeprefix(f"{MISSING}x "), row["step_x"])


def _verdict(row: Row) -> Cell:
    return Cell(f"{row['verdict']}: {row['reason']}" if row["reason"] else str(row["verdict"]))


def _case(row: Row) -> Cell:
    return Cell(f"{row['case']} {row['dtype']}".strip() or "not named")


def _measured(row: Row) -> Cell:
    return Cell(number(row["value"], 3 if abs(row["value"]) < 10 else 1), row["value"])


def _value(row: Row) -> Cell:
    return Cell("missing") if row["missing"] else Cell(number(row["value"], 2), row["value"])


def _rate(name: str, heading: str) -> Column:
    return Column(heading, lambda row: Cell(rate(row[name], row["unit"]), row[name]))


def _count(name: str) -> Column:
    """Return a column of metrics of any size."""

    def cell(row: Row) -> Cell:
        value = row[name]
        if value != int(value) or abs(value) < 1000:
            return Cell(number(value, 0 if value == int(value) else 1 if abs(value) >= 10 else 2), value)
        return Cell(number(value) if value < 1e8 else f"{value:.4g}", value)

    return Column(name, cell)


def _change(row: Row) -> Cell:
    change, ratio = row["change"], row["base"] and abs(row["change"] * row["base"] - row["head"]) < 1e-9 * row["head"]
    moved = ("↑ " if row["head"] > row["base"] else "↓ ") if row["moved"] else ""
    return Cell(moved + (f"{change:.2f}x" if ratio else f"{change:+.1f}"), change)


def _label(row: Row) -> Cell:
    return Cell(BY_NAME[row["metric"]].heading if row["metric"] in BY_NAME else row["metric"])


def _achieved(row: Row) -> Cell:
    return Cell(rate_text(row["achieved_per_s"], row["sol_binds"]) or MISSING, row["achieved_per_s"])


def _clocks(row: Row) -> Cell:
    return Cell(", ".join(map(str, row["clocks_after_mhz"])) or MISSING)


VERSION, CASE, DTYPE, PROVIDER = words("version"), words("case"), words("dtype"), words("provider")
KIND = words("kind")  # of a provider: version, baseline, memory
VERSIONS = Column("version", lambda row: Cell(str(row.get("versions", row["version"]))), right=False)  # or a group
TIME = time("time_us", "time")
SPEEDUP = figure("speedup", "speedup", 2, "x")
SOL_PCT, SOL_TERM, ACHIEVED = SOL = (
    figure("sol_pct", "SOL %", 1),
    words("sol_binds", "SOL term"),
    Column("achieved", _achieved),
)
EXCESS_TRAFFIC = figure("excess_traffic", "excess traffic", 3, "x")
BOTTLENECK = words("bottleneck")
PREDICTIONS = words("predictions")
SPILLS = figure("spill_instructions", "spills")

TABLES: dict[str, tuple[Column, ...]] = {
    "summary": (VERSIONS, TIME, SPEEDUP, *SOL, *metrics("summary"), EXCESS_TRAFFIC, BOTTLENECK, PREDICTIONS),
    "progress": (
        *(VERSIONS, TIME, Column("over the one before", _short_step), SOL_PCT, BOTTLENECK),
        *(EXCESS_TRAFFIC, metric("registers"), PREDICTIONS),
    ),
    "versions": (
        *(VERSIONS, TIME, Column("time over the one before", _step), SPEEDUP, *SOL, *with_arrows("versions")),
        *(arrow(EXCESS_TRAFFIC, "excess_traffic", 0.02), SPILLS, figure("error", "error / tolerance", 2)),
        *(BOTTLENECK, PREDICTIONS),
    ),
    "other case": (VERSION, TIME, SPEEDUP, *SOL, *metrics("summary"), EXCESS_TRAFFIC, BOTTLENECK),
    "compiled": (
        *(VERSIONS, words("kernel"), DTYPE, words("target"), figure("stack_bytes", "stack B"), SPILLS),
        *(*metrics("compiled"), words("occupancy_limit", "occupancy limited by")),
    ),
    "predictions": (VERSION, words("prediction"), Column("measured", _measured), words("verdict")),
    "timings": (
        PROVIDER,
        KIND,
        time("median_us", "median"),
        time("q20_us", "20 %"),
        time("q80_us", "80 %"),
        figure("n", "samples"),
    ),
    "roofs": (
        *(words("name", "roof"), _rate("per_s", "rate"), _rate("q20_per_s", "20 %"), _rate("q80_per_s", "80 %")),
        *(_rate("datasheet_per_s", "datasheet"), Column("SM, memory MHz", _clocks)),
        words("configuration", "best configuration"),
    ),
    "metrics": (
        *(words("metric"), Column("label", _label, right=False), Column("value", _value), words("unit")),
        Column("ncu name, or why it is missing", lambda row: Cell(row["missing"] or row["ncu_name"]), right=False),
    ),
    "comparison": (
        *(CASE, DTYPE, time("base_us", "base"), time("head_us", "head")),
        Column("head / base", lambda row: Cell(interval(row), row["time_x"])),
        *(Column("verdict", _verdict, right=False), words("cause", "by the metrics")),
    ),
    "metric changes": (
        *(Column("metric", _label, right=False), _count("base"), _count("head"), Column("change", _change)),
    ),
    "gate": (
        words("rule"),
        words("where"),
        Column("value", lambda row: Cell(row["value"] or MISSING)),
        words("status"),
        words("reason"),
    ),
    "estimate": (
        *(
            VERSION,
            Column("case", _case, right=False),
            time("source_time_us", "time here"),
            time("time_us", "time there"),
        ),
        *(BOTTLENECK, *metrics("estimate")),
    ),
    "estimate errors": (
        *(VERSION, Column("case", _case, right=False)),
        *(time("estimated_time_us", "estimated"), time("measured_time_us", "measured")),
        figure("error_pct", "error", 1, " %"),
        *(
            figure("estimated_sm_pct", f"{BY_NAME['sm_pct'].heading} estimated", 1),
            figure("measured_sm_pct", "measured", 1),
        ),
        figure("estimated_dram_pct", f"{BY_NAME['dram_pct'].heading} estimated", 1),
        figure("measured_dram_pct", "measured", 1),
        *(words("estimated_bottleneck", "bottleneck, estimated"), words("measured_bottleneck", "measured")),
    ),
    "gpu states": (
        *(CASE, DTYPE, words("at"), figure("sm_mhz", "SM MHz"), figure("memory_mhz", "memory MHz")),
        *(figure("temperature_c", "°C"), figure("power_w", "W"), words("throttled", "throttled by")),
    ),
}


def table(name: str, frame: pd.DataFrame) -> Table:
    """Return a frame as the table of that name.

    Example:
        >>> table("summary", run_data.main).headings[:3]
        ('version', 'time', 'speedup')
    """
    return cells.table(frame, TABLES[name])


DERIVED = (  # name, heading, unit, meaning
    ("time_us", TIME.heading, "µs", "median time of CUDA events outside ncu, L2 flushed before each sample"),
    ("speedup", SPEEDUP.heading, "x", "time of the run's first version / time"),
    ("sol_pct", SOL_PCT.heading, "%", "speed of light: the least time that the case needs on this GPU / time"),
    ("sol_binds", SOL_TERM.heading, "", "what the least time is spent on: memory, or the unit that computes"),
    ("achieved_per_s", ACHIEVED.heading, "/s", "bytes a second where memory binds, else FLOP a second of that unit"),
    ("excess_traffic", EXCESS_TRAFFIC.heading, "x", "DRAM bytes / compulsory bytes"),
    ("bottleneck", BOTTLENECK.heading, "", "the busiest resource by its share of the peak, latency when none is busy"),
)


def glossary() -> list[dict[str, Any]]:
    """Return what every figure means: name, label, unit, ncu (its names there), meaning; docs/metrics.md shows them."""
    derived = [{"name": n, "label": label, "unit": unit, "ncu": (), "meaning": m} for n, label, unit, m in DERIVED]
    return derived + [
        {"name": m.name, "label": m.label, "unit": m.unit, "ncu": m.ncu, "meaning": m.meaning} for m in METRICS
    ]
