"""The launches of a report: listed by share of time, picked, and repeats of a kernel put together. No files, no GPU.

Launches of one kernel with the same grid and block are repeats: of each metric the median is shown, with their number.
All others stand apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rooflift.analysis.bottleneck import find_bottleneck
from rooflift.errors import CatalogError
from rooflift.ncu.doubt import doubt, reason
from rooflift.ncu.metrics import BY_NAME

if TYPE_CHECKING:
    import pandas as pd

MEASURED = ["version", "case", "dtype"]
LAUNCH = [*MEASURED, "kernel", "launch"]
SAME = [*MEASURED, "kernel", "grid_size", "block_size"]  # what repeats of a launch have in common


def launches(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return one row a launch, in order: number (from 0), version, case, dtype, kernel, launch, and each metric.

    What cannot be, and what is no number, is NaN; the column `missing` has the reasons by metric.
    """
    import pandas as pd

    known = metrics[metrics["metric"].isin(BY_NAME)]
    first = known.drop_duplicates(LAUNCH)[LAUNCH].reset_index(drop=True)
    values = known["value"].astype(float)
    certain = [not doubt(metric, value) for metric, value in zip(known["metric"], values, strict=True)]
    tidy = known.assign(value=values.where(certain))
    wide = tidy.pivot_table(index=LAUNCH, columns="metric", values="value", aggfunc="first", sort=False, dropna=False)
    wide = wide.reindex(pd.MultiIndex.from_frame(first)).reindex(columns=list(BY_NAME)).reset_index()
    reasons: dict[tuple[object, ...], dict[str, str]] = {}
    for row in known.itertuples():
        told = reason(row.metric, row.value, row.unit, row.missing)
        if told:
            reasons.setdefault(tuple(getattr(row, name) for name in LAUNCH), {})[row.metric] = told
    wide["missing"] = [reasons.get(tuple(key), {}) for key in first.itertuples(index=False)]
    wide.insert(0, "number", range(len(wide)))
    return wide


def pick(
    found: pd.DataFrame, kernel: str | None = None, launch: int | None = None, skip: int = 0, *, last: bool = False
) -> pd.DataFrame:
    """Return the launches whose kernel's name a regular expression finds, without the first `skip` of them.

    `launch` takes one by its number in the report, `last` the last one that is left.

    Raises:
        CatalogError: the expression is none, or no launch is left.
    """
    chosen = found
    if kernel is not None:
        try:
            wanted = re.compile(kernel)
        except re.error as error:
            raise CatalogError(
                f"--kernel {kernel!r} is no regular expression: {error}", "Put a \\ before signs."
            ) from None
        chosen = chosen[[bool(wanted.search(name)) for name in chosen["kernel"]]]
        if chosen.empty:
            names = ", ".join(dict.fromkeys(found["kernel"].str.slice(0, 60)))
            raise CatalogError(f"no kernel's name has {kernel!r} in it", f"There are {names}.")
    if launch is not None:
        chosen = chosen[chosen["number"] == launch]
    chosen = chosen.iloc[skip:]
    chosen = chosen.iloc[-1:] if last else chosen
    if chosen.empty:
        raise CatalogError("no launch is left to show", f"There are {len(found)}, from 0 to {len(found) - 1}.")
    return chosen


def kernels(found: pd.DataFrame) -> pd.DataFrame:
    """Return one row a kernel, grid and block, by share of time: each metric's median, and what limits the kernel.

    Columns beside the metrics: version, case, dtype, kernel, count (of launches), numbers (theirs), time_us (the
    median), low_us, high_us, total_us, share_pct (of the time of all launches), bottleneck, evidence. A launch without
    a value spoils only itself.
    """
    import pandas as pd

    keys = found.assign(**{name: found[name].fillna(-1) for name in ("grid_size", "block_size")})
    total = found["ncu_time_ns"].sum()
    rows = []
    for _, own in keys.groupby(SAME, sort=False, dropna=False):
        medians = own[list(BY_NAME)].median(skipna=True)
        limit = find_bottleneck(medians.to_dict(), own.iloc[0]["missing"])
        first = own.iloc[0]
        rows.append(
            {name: first[name] for name in (*MEASURED, "kernel")}
            | medians.to_dict()
            | {name: first[name] if first[name] >= 0 else float("nan") for name in ("grid_size", "block_size")}
            | {"count": len(own), "numbers": tuple(int(number) for number in own["number"])}
            | {"time_us": medians["ncu_time_ns"] / 1e3, "low_us": own["ncu_time_ns"].min() / 1e3}
            | {"high_us": own["ncu_time_ns"].max() / 1e3, "total_us": own["ncu_time_ns"].sum() / 1e3}
            | {"share_pct": 100 * own["ncu_time_ns"].sum() / total if total else float("nan")}
            | {"bottleneck": limit.resource, "evidence": limit.evidence}
        )
    return pd.DataFrame(rows).sort_values("share_pct", ascending=False, kind="stable", ignore_index=True)
