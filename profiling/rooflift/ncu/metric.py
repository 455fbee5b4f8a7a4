"""One entry of the metric registry, and how the entries of a kind are made. The registry is metrics.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Combine = Literal["sum", "mean", "max"]  # how the launches of one version become one figure; mean is weighted by time
Formula = tuple[tuple[float, tuple[str, ...]], ...]  # a sum of products: factors, each with the names it multiplies
Place = Literal["summary", "versions", "comparison", "estimate", "compiled"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that rooflift collects.

    `ncu` lists the names that can supply it, the preferred one first: a report made with --metrics holds the first,
    a report made with sections alone may hold a later one. Where none does, the largest of the metrics that `pattern`
    matches counts (with `adds` their sum), and then the first of `formulas` that can be computed. `label` is Nsight
    Compute's own. `show` names the tables and figures that show it, in the order of METRICS. `basic` marks the metrics
    of the smallest set; what is not `asked` is taken from reports and never asked for.

    Example:
        One more metric is one more entry of METRICS::

            Metric(
                "l2_read_bytes", ("lts__t_sectors_op_read.sum",), "L2 Read Sectors", "sector", "sectors read from L2",
                "sum", show=("summary", "comparison"),
            )
    """

    name: str
    ncu: tuple[str, ...]
    label: str
    unit: str
    meaning: str
    combine: Combine
    show: tuple[Place, ...] = ()
    decimals: int = 0  # in tables
    bottleneck: str = ""  # the resource whose share of its peak it is, where that resource can be a bottleneck
    is_pipe: bool = False  # the resource is a pipe of the SM: its instructions fill issue slots, too
    work: str = ""  # what it counts of a kernel's work; metrics with the same words are added up
    basic: bool = False
    asked: bool = True
    pattern: str = ""
    adds: bool = False
    formulas: tuple[Formula, ...] = ()
    sol: bool = False  # a unit of ncu's Speed Of Light breakdown: elapsed cycles

    @property
    def heading(self) -> str:
        """The label over a column: with the unit where a number does not say it."""
        return f"{self.label} %" if self.unit == "%" else self.label


def pct(
    name: str,
    ncu: str | tuple[str, ...],
    label: str,
    meaning: str,
    show: tuple[Place, ...] = (),
    bottleneck: str = "",
    basic: bool = False,
    asked: bool = True,
) -> Metric:
    """Return a share in percent; the launches of a version are averaged by time."""
    names = (ncu,) if isinstance(ncu, str) else ncu
    return Metric(name, names, label, "%", meaning, "mean", show, bottleneck=bottleneck, basic=basic, asked=asked)


def total(
    name: str,
    ncu: str | tuple[str, ...],
    label: str,
    unit: str,
    meaning: str,
    show: tuple[Place, ...] = (),
    work: str = "",
    formulas: tuple[Formula, ...] = (),
    asked: bool = True,
) -> Metric:
    """Return a count; the launches of a version are added up."""
    names = (ncu,) if isinstance(ncu, str) else ncu
    return Metric(name, names, label, unit, meaning, "sum", show, work=work, formulas=formulas, asked=asked)


def launch(
    name: str, ncu: str, label: str, unit: str, meaning: str, show: tuple[Place, ...] = (), basic: bool = False
) -> Metric:
    """Return a property of a launch; of several the largest counts."""
    return Metric(name, (ncu,), label, unit, meaning, "max", show, basic=basic)


def pipe(name: str, pipe: str, label: str, meaning: str, show: tuple[Place, ...] = (), asked: bool = True) -> Metric:
    """Return how busy a pipe of the SM is while the SM is active."""
    # sm_100 reports fma under the sum of its two halves; the cycles form is the one that section reports hold
    suffix = "avg.pct_of_peak_sustained_active"
    names = (f"sm__inst_executed_pipe_{pipe}.{suffix}", f"sm__pipe_{pipe}_cycles_active.{suffix}")
    pattern = ""
    if pipe == "tensor":  # its instructions take many cycles each: the cycles say how busy it is
        names = names[::-1]
        pattern = rf"sm__(pipe_tensor_\w+_cycles_active|inst_executed_pipe_tensor_\w+)\.{re.escape(suffix)}"
    return Metric(
        name, names, label, "%", meaning, "mean", show, bottleneck=label, is_pipe=True, asked=asked, pattern=pattern
    )


_SOL = "avg.pct_of_peak_sustained_elapsed"


def sol(name: str, unit: str, typical: str, pattern: str, resource: str, meaning: str) -> Metric:
    """Return a unit of ncu's Speed Of Light breakdown: `pattern` matches the metrics that are its own there."""
    return Metric(
        f"{name}_sol_pct",
        (f"{typical}.{_SOL}",),
        f"SOL {unit}",
        "%",
        meaning,
        "mean",
        bottleneck=resource,
        asked=False,
        pattern=rf"({pattern})\.{re.escape(_SOL)}",
        sol=True,
    )


def sol_pipe(name: str, pattern: str, label: str, meaning: str) -> Metric:
    """Return a pipe in ncu's Speed Of Light breakdown."""
    typical = f"sm__inst_executed_pipe_{pattern.partition('|')[0].partition('(')[0]}"
    return sol(name, label, typical, rf"sm(sp)?__(inst_executed_)?pipe_({pattern})\w*", label, meaning)


TIME = "gpu__time_duration.sum"  # ns
OVER_TIME = 1e-9


def flop(op: str, label: str, meaning: str) -> Metric:
    """Return a floating-point instruction; section reports hold its rate, which times the time is the count."""
    base = f"sass_thread_inst_executed_op_{op}_pred_on.sum"
    rates = (
        ((OVER_TIME, (f"{unit}__{base}.per_cycle_elapsed", f"{unit}__cycles_elapsed.avg.per_second", TIME)),)
        for unit in ("smsp", "sm")
    )
    return total(f"inst_{op}", (f"smsp__{base}", f"sm__{base}"), label, "inst", meaning, formulas=tuple(rates))


SECTOR_BYTES = 32  # bytes, on every GPU that ncu knows (NVIDIA, Nsight Compute, Metrics Decoder: sector)


def traffic(unit: str, way: str) -> tuple[Formula, ...]:
    """Return how a report without the bytes of DRAM tells them: sectors, or a rate."""
    rates = (f"{unit}__bytes_{way}.sum.per_second", f"{unit}__bytes_op_{way}.sum.per_second")
    return (
        ((SECTOR_BYTES, (f"{unit}__sectors_{way}.sum",)),),
        *(((OVER_TIME, (name, TIME)),) for name in rates),
    )


def conflicts(what: str, op: str) -> Metric:
    """Return the bank conflicts of shared memory."""
    ncu = f"l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_{op}.sum"
    meaning = f"additional wavefronts of shared memory {what}s, for conflicts and arbitration"
    return total(f"bank_conflicts_{what}", ncu, f"Bank Conflicts, {what}s", "", meaning, asked=False)


def local(what: str, op: str) -> Metric:
    """Return the sectors of local memory, where arrays and spilled registers of a thread are."""
    ncu = f"l1tex__t_sectors_pipe_lsu_mem_local_op_{op}.sum"
    label, meaning = f"Local Memory, {what}s", f"sectors of local memory {what}s: arrays of a thread, spilled registers"
    return total(f"local_sectors_{what}", ncu, label, "sector", meaning, asked=False)


def per_request(what: str, op: str) -> Metric:
    """Return how well the lanes of a warp share sectors."""
    ncu = f"l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_{op}.ratio"
    meaning = f"sectors of a global {what} by a warp; 4 where every lane has its own 4 bytes in a row"
    name, label = f"sectors_per_{what}", f"Sectors/Request, global {what}s"
    return Metric(name, (ncu,), label, "sector", meaning, "mean", decimals=1, asked=False)


def stall(reason: str, meaning: str) -> Metric:
    """Return the warps that wait for a reason."""
    ncu = f"smsp__average_warps_issue_stalled_{reason}_per_issue_active.ratio"
    words = (word.upper() if word in ("lg", "mio", "imc", "gmma") else word.capitalize() for word in reason.split("_"))
    return Metric(f"stall_{reason}", (ncu,), f"Stall {' '.join(words)}", "warp/inst", meaning, "mean", decimals=1)
