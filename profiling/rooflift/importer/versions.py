"""Which launches of which file are a version, and how long it takes by ncu's own durations. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rooflift.analysis.launches import LAUNCH, MEASURED, kernels, launches, pick
from rooflift.errors import CatalogError
from rooflift.ncu.names import short_name
from rooflift.schema import TimingRow

if TYPE_CHECKING:
    import pandas as pd

LONGEST_SLUG = 40  # characters
SMALL_PCT = 5.0  # of the time: beside a kernel of interest this is set-up or a remainder


@dataclass(frozen=True, slots=True)
class Choice:
    """What is taken of the files: `names` are the versions' names, one a file, or one a kernel with `by_kernel`.

    With `regions` the ranges of `rl.region` are versions, and ncu's durations are their times.
    """

    names: tuple[str, ...] = ()
    by_kernel: bool = False
    kernel: str | None = None
    launch: int | None = None
    skip: int = 0
    last: bool = False
    regions: bool = False


def slug(text: str) -> str:
    """Return what may follow the number in a version's name.

    >>> slug("warptiling<128, 64>")
    'warptiling_128_64'
    """
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:LONGEST_SLUG].strip("_").lower() or "kernel"


def chosen(frame: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return the rows of the launches that are taken.

    Raises:
        CatalogError: none is left.
    """
    found = pick(launches(frame), choice.kernel, choice.launch, choice.skip, last=choice.last)
    return frame.merge(found[LAUNCH], on=LAUNCH, how="inner")


def by_kernel(frame: pd.DataFrame, names: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of one report with each kernel, grid and block as a version, in the order of their first launch.

    Raises:
        CatalogError: there are names for more or fewer kernels.
    """
    found = launches(frame)
    groups = kernels(found).sort_values("numbers", kind="stable").to_dict("records")
    if names and len(names) != len(groups):
        told = ", ".join(short_name(group["kernel"], 30) for group in groups)
        raise CatalogError(
            f"{len(names)} names for {len(groups)} kernels", f"In order they are {told}; --kernel picks."
        )
    version: dict[int, str] = {}
    for place, group in enumerate(groups):
        name = versioned(names[place] if names else f"v{place}", short_name(group["kernel"]))
        version |= dict.fromkeys(group["numbers"], name)
    keys = found[LAUNCH].assign(named=found["number"].map(version))
    merged = frame.merge(keys, on=LAUNCH, how="inner", sort=False)
    return merged.assign(version=merged.pop("named"))[list(frame.columns)]


def versioned(name: str, about: str) -> str:
    """Return "v0_gemm" of the name "v0" about a gemm, and any longer name as it is."""
    return f"{name}_{slug(about)}" if re.fullmatch(r"v\d+", name) and about != name else name


def renumbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose launches count from 0 in each version, case and dtype, in the order that they have."""
    first = frame.drop_duplicates([*LAUNCH, "source"])[[*LAUNCH, "source"]]
    number = first.assign(count=first.groupby(MEASURED, sort=False).cumcount())
    merged = frame.merge(number, on=[*LAUNCH, "source"], how="left", sort=False)
    return merged.assign(launch=merged.pop("count"))[list(frame.columns)]


def durations(frame: pd.DataFrame) -> tuple[list[TimingRow], list[str]]:
    """Return the time of each version by ncu's durations: the sum of its kernels' medians; and what goes into it."""
    rows, notes = [], []
    for (version, case, dtype), own in launches(frame).groupby(MEASURED, sort=False):
        groups = kernels(own)
        notes += _told(str(version), groups)
        if groups["time_us"].isna().any() or (groups["time_us"] <= 0).any():
            continue
        low, middle, high = (float((own["ncu_time_ns"] / 1e3).quantile(q)) for q in (0.2, 0.5, 0.8))
        if len(groups) > 1:
            low = middle = high = float(groups["time_us"].sum())
        least = float(groups["low_us"].sum())
        figures = (round(value, 3) for value in (middle, low, high, least))
        rows.append(TimingRow(str(version), str(case), str(dtype), int(groups["count"].min()), *figures))
    return rows, notes


def _told(version: str, groups: pd.DataFrame) -> list[str]:
    """Return how a version's figures come from several launches; nothing of a version of one launch."""
    if len(groups) > 1:
        first = groups.iloc[0]
        parts = [f"{version} is the sum of {len(groups)} kernels, repeats as medians"]
        parts.append(f"{short_name(first['kernel'], 40)} takes {first['share_pct']:.0f} % of the time")
        small = [short_name(row["kernel"], 30) for row in groups.to_dict("records") if row["share_pct"] < SMALL_PCT]
        parts += [f"below {SMALL_PCT:.0f} %, perhaps set-up: {', '.join(dict.fromkeys(small[:4]))}"] if small else []
        return [f"{'; '.join(parts)}. --kernel takes some of them, --by-kernel makes each a version."]
    count = int(groups["count"].iloc[0])
    return (
        [f"{version}: medians of {count} launches of {short_name(groups['kernel'].iloc[0], 40)}."] if count > 1 else []
    )
