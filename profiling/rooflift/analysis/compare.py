"""Two versions compared: which is faster, by how much, and whether the samples can say so. No files, no GPU.

A ratio is `time_x`: the time of head relative to base, below 1 faster. It is the Hodges-Lehmann estimate on logarithms,
its interval the inversion of the rank test behind the verdict (Hollander, Wolfe and Chicken, "Nonparametric Statistical
Methods", 2014, chapters 3 and 4), so the two never disagree: Wilcoxon's signed ranks where both were timed in the same
rounds of one process, Mann and Whitney's otherwise. Pairing by round takes out what a whole round has in common: in the
recorded H100 runs the samples of two kernels correlate by up to 0.8, the logarithms of their ratios from round to
round by less than 0.2. Many cases are corrected by Holm's method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from rooflift.analysis.bottleneck import NO_STALL
from rooflift.analysis.drift import KEY_OF_TIMES, drift, same_code
from rooflift.analysis.summary import KEY, combined
from rooflift.errors import RunFault
from rooflift.ncu.metrics import BY_NAME, METRICS
from rooflift.schema import Manifest, NoiseRecord, ResolvedCase

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rooflift.runs.run import Run

    Times = NDArray[np.float64]

Verdict = Literal["faster", "slower", "within noise", "not comparable"]
ALPHA = 0.01
MIN_EFFECT = 0.01
BLOCK = 4_000_000  # pairs of samples in memory at once
MOVED = 0.02  # a count that changed by less, or a percentage by fewer than two points, has not moved
MOVED_STALL = 0.25  # warps an instruction
EXPLAINS = 0.5  # a count explains a change when it makes up at least this part of it, on a logarithmic scale
WORK = {work: [m.name for m in METRICS if m.work == work] for work in dict.fromkeys(m.work for m in METRICS if m.work)}
NEVER_COMPARED = ("ncu_time_ns",)  # weighs percentages; a time is never ncu's


@dataclass(frozen=True, slots=True)
class Rule:
    """When a difference counts."""

    alpha: float = ALPHA  # the probability of one false verdict or more among all the cases of a comparison
    min_effect: float = MIN_EFFECT  # a smaller change of the time is none; larger where the measured noise is


@dataclass(frozen=True, slots=True)
class Side:
    """A version as a run measured it."""

    manifest: Manifest
    version: str
    samples: pd.DataFrame
    metrics: pd.DataFrame

    @property
    def name(self) -> str:
        """The run and the version, as `rooflift compare` takes them."""
        return f"{self.manifest.name}:{self.version}"


class RatioEstimates(NamedTuple):
    """One figure a case."""

    time_x: Times
    low: Times
    high: Times
    p: Times


class Mean(NamedTuple):
    """The geometric mean of the ratios of some cases, with the interval that their measurement leaves."""

    time_x: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Head against base.

    `cases` has one row a case and dtype: case, dtype, base_us, head_us (medians), time_x, low, high, p (corrected),
    min_effect, n_base, n_head, paired, verdict, reason (of `not comparable`), same_code (never faster or slower), cause
    (what the metrics say of a change). `metrics` has one row a case, dtype and metric that both sides have: base, head,
    change, moved.
    """

    base: Side
    head: Side
    rule: Rule
    differences: list[str]  # of the machines; each makes every case not comparable
    cases: pd.DataFrame
    metrics: pd.DataFrame
    mean: Mean | None  # over the cases with a verdict, or with `force` over those with a ratio

    @property
    def paired(self) -> bool:
        """Whether the two were timed in the same rounds of one process."""
        return bool(self.cases["paired"].any())

    def count(self, verdict: Verdict) -> int:
        """Return the number of cases with a verdict."""
        return int((self.cases["verdict"] == verdict).sum())


def side(run: Run, version: str) -> Side:
    """Return a version of a run that has been read."""
    return Side(run.manifest, version, run.samples, run.metrics)


def estimate_ratios(base: Times, head: Times, *, paired: bool, alpha: float) -> RatioEstimates:
    """Return the ratio of head to base for each row, its interval at 1 - `alpha`, and the two-sided p of no change.

    `base` and `head` are (cases, samples) in any unit of time; paired, sample i of both is of the same round. The
    p is the normal approximation without a correction for ties, which makes it larger.
    """
    import numpy as np

    cases, n = base.shape
    m = head.shape[1]
    middle, spread = _null(n, m, paired=paired)
    pairs = int(2 * middle)
    rank = max(math.floor(middle - NormalDist().inv_cdf(1 - alpha / 2) * spread), 0)
    ranks = (rank, (pairs - 1) // 2, pairs // 2, pairs - 1 - rank)
    found = np.empty((4, cases))
    rows = max(BLOCK // pairs, 1)
    first, second = np.triu_indices(n)
    for start in range(0, cases, rows):
        block = slice(start, start + rows)
        if paired:
            shift = np.log(head[block]) - np.log(base[block])
            shifts = (shift[:, first] + shift[:, second]) / 2
        else:
            shifts = (np.log(head[block])[:, :, None] - np.log(base[block])[:, None, :]).reshape(-1, pairs)
        above = (shifts > 0).sum(axis=1) + 0.5 * (shifts == 0).sum(axis=1)
        ordered = np.partition(shifts, sorted(set(ranks)), axis=1)
        low, left, right, high = (ordered[:, place] for place in ranks)
        found[:, block] = (left + right) / 2, low, high, np.abs(above - middle) / spread
    p = np.array([math.erfc(z / math.sqrt(2)) for z in found[3]])
    return RatioEstimates(np.exp(found[0]), np.exp(found[1]), np.exp(found[2]), p)


def _null(n: int, m: int, *, paired: bool) -> tuple[float, float]:
    """Return mean and standard deviation of the rank statistic when nothing changed."""
    if paired:
        return n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return n * m / 2, math.sqrt(n * m * (n + m + 1) / 12)


def smallest_p(n: int, m: int, *, paired: bool) -> float:
    """Return the p of samples of which every one of head is above all of base: no test can give a smaller one."""
    if n == 0 or m == 0:
        return 1.0
    middle, spread = _null(n, m, paired=paired)
    return math.erfc(middle / spread / math.sqrt(2))


def holm(p: Times) -> Times:
    """Return p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    import numpy as np

    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def verdicts(estimates: RatioEstimates, min_effect: Times, rule: Rule) -> tuple[Times, list[Verdict]]:
    """Return the corrected p-values and the verdict of each row: test and minimum effect must both be passed."""
    corrected = holm(estimates.p)
    found: list[Verdict] = []
    for time_x, p, least in zip(estimates.time_x, corrected, min_effect, strict=True):
        if p >= rule.alpha or 1 / (1 + least) < time_x < 1 + least:
            found.append("within noise")
        else:
            found.append("slower" if time_x > 1 else "faster")
    return corrected, found


def noise_of(samples: pd.DataFrame, alpha: float = ALPHA) -> list[NoiseRecord]:
    """Return what a version that was timed twice differs by from itself, by case and dtype."""
    found = []
    twins = samples.loc[samples["repeat"] == 1, KEY_OF_TIMES].drop_duplicates()
    for provider, case, dtype in twins.itertuples(index=False):
        one, other = (_times(samples, provider, repeat)[case, dtype] for repeat in (0, 1))
        seen = estimate_ratios(one.to_numpy()[None], other.to_numpy()[None], paired=True, alpha=alpha)
        figures = (round(float(values[0]), 6) for values in seen[:3])
        found.append(NoiseRecord(provider, case, dtype, *figures))
    return found


def _times(samples: pd.DataFrame, provider: str, repeat: int = 0) -> dict[tuple[str, str], pd.Series]:
    """Return a provider's times by case and dtype, each a series by round."""
    own = samples[(samples["provider"] == provider) & (samples["repeat"] == repeat)].sort_values("round")
    return {
        (str(case), str(dtype)): rows.set_index("round")["time_us"]
        for (case, dtype), rows in own.groupby(["case", "dtype"], sort=False)
    }


def compare(base: Side, head: Side, rule: Rule | None = None, *, force: bool = False) -> Comparison:
    """Compare two versions case by case and dtype by dtype.

    With `force` what is not comparable has its ratio, and still no verdict.

    Raises:
        RunFault: the two are of different operators.
    """
    import pandas as pd

    rule = rule or Rule()
    if base.manifest.operator != head.manifest.operator:
        raise RunFault(
            f"{base.name} is of {base.manifest.operator} and {head.name} of {head.manifest.operator}",
            "Compare runs of one operator.",
        )
    differences = machine_differences(base.manifest, head.manifest)
    records = [_records(one.manifest) for one in (base, head)]
    times = [_times(one.samples, one.version) for one in (base, head)]
    origin = base.manifest.origin  # launches of a report are no rounds
    same_run = base.manifest is head.manifest and not (origin and origin.repeats)
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys([*records[0], *records[1]]):
        own = [side_times.get(key) for side_times in times]
        reasons = [*differences, *_case_differences(records[0].get(key), records[1].get(key), own)]
        rows.append({"case": key[0], "dtype": key[1], "reason": "; ".join(reasons), "times": own} | _medians(own))
    for row in rows:
        one, other = row["times"]
        row["paired"] = same_run and one is not None and other is not None and one.index.equals(other.index)
    shown = [row for row in rows if row["n_base"] and row["n_head"] and (force or not row["reason"])]
    for row in shown:
        row["p_least"] = smallest_p(row["n_base"], row["n_head"], paired=row["paired"])
    for row in shown:
        if not row["reason"] and row["p_least"] * len(shown) >= rule.alpha:
            row["reason"] = f"too few samples ({row['n_base']} and {row['n_head']}) for a verdict"
    _judge(shown, base, head, rule)
    drawn = shown if force else [row for row in shown if not row["reason"]]
    metrics = compare_metrics(base, head)
    columns = ["case", "dtype", "base_us", "head_us", "time_x", "low", "high", "p", "min_effect"]
    columns += ["n_base", "n_head", "paired", "verdict", "reason", "same_code"]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    frame["same_code"] = frame["same_code"].eq(True)
    frame["verdict"] = frame["verdict"].where(frame["reason"] == "", "not comparable")
    hidden = (frame["reason"] != "") & (not force)
    frame.loc[hidden, ["time_x", "low", "high", "p"]] = math.nan
    frame["cause"] = [_cause(row, metrics) for row in frame.to_dict("records")]
    return Comparison(base, head, rule, differences, frame, metrics, _mean(drawn, rule))


def _records(manifest: Manifest) -> dict[tuple[str, str], ResolvedCase]:
    return {(case.case, case.dtype): case for case in manifest.cases}


def _medians(own: Sequence[pd.Series | None]) -> dict[str, float]:
    counts = [0 if times is None else len(times) for times in own]
    medians = [math.nan if times is None else float(times.median()) for times in own]
    return {"base_us": medians[0], "head_us": medians[1], "n_base": counts[0], "n_head": counts[1]}


def _judge(rows: list[dict[str, Any]], base: Side, head: Side, rule: Rule) -> None:
    """Put ratio, interval, corrected p, minimum effect and verdict into the rows; those of one shape at a time."""
    import numpy as np

    least = _least_effects(base, head, rule)
    shapes: dict[tuple[int, int, bool], list[dict[str, Any]]] = {}
    for row in rows:
        shapes.setdefault((row["n_base"], row["n_head"], row["paired"]), []).append(row)
    for (_, _, paired), own in shapes.items():
        one, other = (np.stack([row["times"][place].to_numpy() for row in own]) for place in (0, 1))
        estimates = estimate_ratios(one, other, paired=paired, alpha=rule.alpha)
        for place, row in enumerate(own):
            row |= dict(zip(("time_x", "low", "high", "p"), (float(v[place]) for v in estimates), strict=True))
            row["min_effect"] = least((row["case"], row["dtype"]), paired)
    judged = [row for row in rows if not row["reason"]]
    every = RatioEstimates(*(np.array([row[name] for row in judged]) for name in ("time_x", "low", "high", "p")))
    corrected, found = verdicts(every, np.array([row["min_effect"] for row in judged]), rule)
    for row, p, verdict in zip(judged, corrected, found, strict=True):
        key = (row["case"], row["dtype"])
        row["same_code"] = same_code(base.manifest, base.version, head.manifest, head.version, key)
        row |= {"p": float(p), "verdict": "within noise" if row["same_code"] else verdict}


def _least_effects(base: Side, head: Side, rule: Rule) -> Callable[[tuple[str, str], bool], float]:
    """Return a function: the minimum effect of a case and dtype, by the rule, the noise and, of two runs, the drift."""
    noise: dict[tuple[str, str], float] = {}
    for one in (base, head):
        for record in one.manifest.noise:
            key = (record.case, record.dtype)
            noise[key] = max(noise.get(key, 0.0), record.high - 1, 1 / record.low - 1)
    drifted: dict[tuple[str, str], float] = {}
    if base.manifest is not head.manifest:
        drifted = drift(base.manifest, base.samples, head.manifest, head.samples)

    def least(key: tuple[str, str], paired: bool) -> float:
        return max(rule.min_effect, noise.get(key, 0.0), 0.0 if paired else drifted.get(key, 0.0))

    return least


def _mean(rows: Iterable[Mapping[str, Any]], rule: Rule) -> Mean | None:
    """Return the geometric mean; its interval holds for these cases, and adds the variances of their logarithms."""
    own = [row for row in rows if not math.isnan(row.get("time_x", math.nan))]
    if not own:
        return None
    z = NormalDist().inv_cdf(1 - rule.alpha / 2)
    centre = sum(math.log(row["time_x"]) for row in own) / len(own)
    spread = math.sqrt(sum((math.log(row["high"] / row["low"]) / (2 * z)) ** 2 for row in own)) / len(own)
    return Mean(math.exp(centre), math.exp(centre - z * spread), math.exp(centre + z * spread), len(own))


# --- what may be compared


def machine_differences(base: Manifest, head: Manifest) -> list[str]:
    """Return why no case of two runs can be compared: "torch 2.11.0 and 2.12.0"; [] when nothing is in the way."""
    told = [
        (
            ("GPU", run.machine.gpu),
            ("driver", run.machine.driver.split(".")[0]),
            ("torch", run.machine.torch),
            ("triton", run.machine.triton),
            ("clock policy", run.clock_control),
            ("reference.py", run.sha256.get(f"kernels/{run.operator}/reference.py", "unknown")[:12]),
        )
        for run in (base, head)
    ]
    return [f"{name} {one} and {other}" for (name, one), (_, other) in zip(*told, strict=True) if one != other]


def _case_differences(
    base: ResolvedCase | None, head: ResolvedCase | None, times: Sequence[pd.Series | None]
) -> list[str]:
    if base is None or head is None:
        return [f"only in {'head' if base is None else 'base'}"]
    fields = ("init", "inputs", "compulsory_bytes")
    found = [
        f"{field.replace('_', ' ')} {getattr(base, field)} and {getattr(head, field)}"
        for field in fields
        if getattr(base, field) != getattr(head, field)
    ]
    untimed = [name for name, own in zip(("base", "head"), times, strict=True) if own is None]
    return found + [f"{name} was not timed" for name in untimed]


# --- metrics beside the times


def compare_metrics(base: Side, head: Side) -> pd.DataFrame:
    """Return the metrics that both sides have: case, dtype, metric, base, head, change, moved.

    The change is a ratio, for percentages and stalls a difference; DRAM bytes have a row of their own, dram_bytes.
    """
    import pandas as pd

    sides = [_metrics(one) for one in (base, head)]
    rows = []
    for key in (key for key in sides[0] if key in sides[1]):
        rows += [(*key, *change) for change in metric_changes(sides[0][key], sides[1][key])]
    return pd.DataFrame(rows, columns=["case", "dtype", "metric", "base", "head", "change", "moved"])


def metric_changes(base: Mapping[str, float], head: Mapping[str, float]) -> list[tuple[str, float, float, float, bool]]:
    """Return metric, base, head, change and moved, as `compare_metrics` has them, of what both sides have."""
    rows = []
    for metric, (one, other) in _both(base, head).items():
        difference = metric.startswith("stall_") or BY_NAME[metric].unit == "%" if metric in BY_NAME else False
        change = other - one if difference else other / one if one else math.nan
        limit = MOVED_STALL if metric.startswith("stall_") else 100 * MOVED
        moved = abs(change) >= limit if difference else one != other and not abs(change - 1) < MOVED
        rows.append((metric, one, other, change, moved))
    return rows


def _metrics(one: Side) -> dict[tuple[str, str], dict[str, float]]:
    if one.metrics.empty:
        return {}
    own = combined(one.manifest, one.metrics[one.metrics["version"] == one.version]).set_index(KEY)
    return {(case, dtype): compared_figures(row.to_dict()) for (_, case, dtype), row in own.iterrows()}


def compared_figures(row: Mapping[Any, Any]) -> dict[str, float]:
    """Return what is compared of a row of `combine`: the metrics but ncu's time, and the DRAM bytes of both ways."""
    own = {str(name): float(value) for name, value in row.items() if name in BY_NAME and name not in NEVER_COMPARED}
    return own | {"dram_bytes": own["dram_read_bytes"] + own["dram_write_bytes"]}


def _both(base: Mapping[str, float], head: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    pairs = {name: (value, head[name]) for name, value in base.items()}
    return {name: pair for name, pair in pairs.items() if not any(map(math.isnan, pair))}


def _cause(row: Mapping[str, Any], metrics: pd.DataFrame) -> str:
    """Return what the metrics say of a change of time: the work that explains it, or the stall that moved with it."""
    if row["same_code"]:
        return "the same machine code"
    if row["verdict"] not in ("faster", "slower"):
        return ""
    own = metrics[(metrics["case"] == row["case"]) & (metrics["dtype"] == row["dtype"])].set_index("metric")
    return explanation(row["time_x"], own) if not own.empty else "not profiled"


def explanation(time_x: float, own: pd.DataFrame) -> str:
    """Return what explains a change of the time among the changes of metrics, a frame with the index `metric`."""
    change = math.log(time_x)
    shares = {}
    for name, parts in WORK.items():
        if all(metric in own.index for metric in parts):
            totals = [sum(float(own.loc[metric, at]) for metric in parts) for at in ("base", "head")]
            if all(totals):
                shares[name] = math.log(totals[1] / totals[0])
    explaining = [name for name, share in shares.items() if share / change >= EXPLAINS]
    if explaining:
        return "explained by " + ", ".join(f"{name} {math.exp(shares[name]):.2f}x" for name in explaining)
    stalls = own[own.index.str.startswith("stall_") & ~own.index.isin(NO_STALL) & own["moved"].astype(bool)]
    stalls = stalls[stalls["change"].astype(float) * change > 0]
    if not stalls.empty:
        worst = stalls["change"].astype(float).abs().idxmax()
        text = f"{worst} {stalls.loc[worst, 'base']:.1f} to {stalls.loc[worst, 'head']:.1f} warps an instruction"
        return f"neither bytes nor instructions explain it; {text}"
    return "no counter explains it"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for a program; what is missing is None."""

    def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return found

    return {
        "base": comparison.base.name,
        "head": comparison.head.name,
        "alpha": comparison.rule.alpha,
        "min_effect": comparison.rule.min_effect,
        "differences": comparison.differences,
        "cases": rows(comparison.cases),
        "metrics": rows(comparison.metrics),
        "geometric_mean": comparison.mean._asdict() if comparison.mean else None,
        "noise": msgspec.to_builtins([*comparison.base.manifest.noise]),
    }
