"""What the first run of a captured program tells: its kernels, how often and how long each ran, regions, ranks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rooflift.errors import CatalogError, did_you_mean
from rooflift.ncu.metrics import BY_NAME, TRACED
from rooflift.ncu.names import short_name
from rooflift.ncu.report import read_reports
from rooflift.region import SEPARATOR

COLLECTIVE = "nccl"  # a kernel that waits for those of other ranks, which ncu lets run alone
MOST_LAUNCHES = 30  # of a kernel and grid, that a run without counters keeps
BY_NCU = "ncu, one pass"


class Group(msgspec.Struct, frozen=True):
    """Launches of one kernel with one grid and block in one process."""

    region: str  # version|case|dtype, "" outside of regions
    kernel: str  # demangled
    grid: tuple[int, ...]
    block: tuple[int, ...]
    durations_ns: list[float]


class Trace(msgspec.Struct, frozen=True):
    """What the tracer leaves of one process."""

    by: str
    ranks: dict[str, str]  # variables of the launcher and their values
    kernels: list[Group]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel of the first run."""

    name: str
    count: int
    total_ns: float
    share: float  # of the time of all kernels


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The processes that ran kernels."""

    traces: Sequence[Trace]

    @property
    def by(self) -> str:
        """What measured the durations."""
        return self.traces[0].by if self.traces else ""

    @property
    def groups(self) -> list[Group]:
        """The launches of all processes; where there are regions, those inside of them alone."""
        every = [group for trace in self.traces for group in trace.kernels]
        return [group for group in every if group.region] or every

    @property
    def regions(self) -> list[str]:
        """The labels of the regions that were seen."""
        return [*dict.fromkeys(group.region for group in self.groups if group.region)]

    @property
    def rank_variable(self) -> str:
        """The variable that tells the ranks apart, "" for a program of one rank."""
        found = [name for trace in self.traces for name in trace.ranks]
        return found[0] if found and len({trace.ranks.get(found[0]) for trace in self.traces}) > 1 else ""

    def kernels(self) -> list[Kernel]:
        """Return the kernels, by total time."""
        times: dict[str, list[float]] = {}
        for group in self.groups:
            times.setdefault(group.kernel, []).extend(group.durations_ns)
        total = sum(map(sum, times.values())) or math.nan
        found = [Kernel(name, len(own), sum(own), sum(own) / total) for name, own in times.items()]
        return sorted(found, key=lambda kernel: kernel.total_ns, reverse=True)


def read_traces(folder: Path) -> FirstRun:
    """Return what the tracer left; nothing of a program that is no Python, or that has ended itself without a word."""
    traces = []
    for path in sorted(folder.glob("*.json")):
        with suppress(msgspec.DecodeError):  # of a process that was killed while it wrote
            traces.append(msgspec.json.decode(path.read_bytes(), type=Trace))
    return FirstRun(traces)


def read_durations(reports: Sequence[Path]) -> FirstRun:
    """Return what a pass of ncu tells that took durations alone."""
    traces = []
    for path in reports:
        frame = read_reports([path], path.parent)
        keys = ["version", "case", "dtype", "kernel", "launch"]
        wide = frame.pivot_table(index=keys, columns="metric", values="value", sort=False).reset_index()
        groups: dict[tuple[str, str, int, int], list[float]] = {}
        for row in wide.to_dict("records"):
            region = SEPARATOR.join((row["version"], row["case"], row["dtype"])) if row["version"] else ""
            grid, block = (int(row.get(name, 0) or 0) for name in ("grid_size", "block_size"))
            groups.setdefault((region, row["kernel"], grid, block), []).append(row["ncu_time_ns"])
        kernels = [
            Group(region, name, (grid,), (block,), times) for (region, name, grid, block), times in groups.items()
        ]
        traces.append(Trace(BY_NCU, {}, kernels))
    return FirstRun(traces)


def choose(found: Sequence[Kernel], wanted: str | None, top: int) -> list[Kernel]:
    """Return the kernels that take most of the time, of those whose name a regular expression finds.

    Raises:
        CatalogError: the expression is none, or finds nothing.
    """
    try:
        expression = re.compile(wanted or "")
    except re.error as error:
        remedy = "Put a \\ before signs."
        raise CatalogError(f"--kernel {wanted!r} is no regular expression: {error}", remedy) from None
    chosen = [kernel for kernel in found if expression.search(kernel.name)]
    if not chosen:
        names = [short_name(kernel.name) for kernel in found]
        raise CatalogError(f"no kernel's name has {wanted!r} in it", did_you_mean(wanted or "", names))
    return chosen[:top]


def invocations(groups: Sequence[Group], kernels: Sequence[Kernel], launches: int) -> list[int]:
    """Return which launches of each kernel are recorded, from 1: without the first where all have more than these.

    ncu counts them in each process by kernel, grid and block, as groups do; of a kernel the group of most time decides.
    """
    heaviest: dict[str, Group] = {}
    for group in sorted(groups, key=lambda group: sum(group.durations_ns)):
        heaviest[group.kernel] = group
    many = all(len(heaviest[kernel.name].durations_ns) > launches for kernel in kernels)
    return list(range(1 + many, 1 + many + launches))


def as_metrics(groups: Sequence[Group]) -> str:
    """Return launches as the JSON that `rooflift import` takes: durations that CUPTI measured, and grids."""
    grid, block = (BY_NAME[name].ncu[0] for name in ("grid_size", "block_size"))
    launches = [
        {
            "kernel": group.kernel,
            TRACED: {"value": time_ns, "unit": "ns"},
            grid: {"value": math.prod(group.grid), "unit": "block"},
            block: {"value": math.prod(group.block), "unit": "thread"},
        }
        for group in groups
        for time_ns in group.durations_ns[-MOST_LAUNCHES:]
    ]
    return json.dumps(launches)
