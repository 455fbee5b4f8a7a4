"""The metric registry: short name -> the ncu metrics that can supply it, its label, its unit, where it is shown.

No other file spells an ncu metric name, a metric's label, or a list of the metrics that a table or a figure shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Combine = Literal["sum", "mean", "max"]  # how the launches of one version become one figure; mean is weighted by time
Place = Literal["summary", "versions", "comparison", "panels", "estimate", "compiled"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that rooflift collects.

    `ncu` lists the names that can supply it, the preferred one first: a report made with --metrics holds the first,
    a report made with sections alone may hold a later one. `label` is Nsight Compute's own. `show` names the tables and
    figures that show it, in the order of METRICS. `basic` marks the metrics of the smallest set.

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

    @property
    def heading(self) -> str:
        """The label over a column: with the unit where a number does not say it."""
        return f"{self.label} %" if self.unit == "%" else self.label


def _pct(
    name: str,
    ncu: str | tuple[str, ...],
    label: str,
    meaning: str,
    show: tuple[Place, ...] = (),
    bottleneck: str = "",
    basic: bool = False,
) -> Metric:
    names = (ncu,) if isinstance(ncu, str) else ncu
    return Metric(name, names, label, "%", meaning, "mean", show, bottleneck=bottleneck, basic=basic)


def _sum(
    name: str, ncu: str, label: str, unit: str, meaning: str, show: tuple[Place, ...] = (), work: str = ""
) -> Metric:
    return Metric(name, (ncu,), label, unit, meaning, "sum", show, work=work)


def _launch(
    name: str, ncu: str, label: str, unit: str, meaning: str, show: tuple[Place, ...] = (), basic: bool = False
) -> Metric:
    return Metric(name, (ncu,), label, unit, meaning, "max", show, basic=basic)


def _pipe(name: str, pipe: str, label: str, meaning: str, show: tuple[Place, ...] = ()) -> Metric:
    # sm_100 reports fma under the sum of its two halves; the cycles form is the one that section reports hold
    suffix = "avg.pct_of_peak_sustained_active"
    names = (f"sm__inst_executed_pipe_{pipe}.{suffix}", f"sm__pipe_{pipe}_cycles_active.{suffix}")
    if pipe == "tensor":  # its instructions take many cycles each: the cycles say how busy it is
        names = names[::-1]
    return Metric(name, names, label, "%", meaning, "mean", show, bottleneck=label, is_pipe=True)


def _flop(op: str, label: str, meaning: str) -> Metric:
    ncu = f"smsp__sass_thread_inst_executed_op_{op}_pred_on.sum"
    return Metric(f"inst_{op}", (ncu,), label, "inst", meaning, "sum")


def _stall(reason: str, meaning: str) -> Metric:
    ncu = f"smsp__average_warps_issue_stalled_{reason}_per_issue_active.ratio"
    words = (word.upper() if word in ("lg", "mio", "imc", "gmma") else word.capitalize() for word in reason.split("_"))
    return Metric(f"stall_{reason}", (ncu,), f"Stall {' '.join(words)}", "warp/inst", meaning, "mean", decimals=1)


STALL_REASONS = {
    "long_scoreboard": "waiting for data of global or local memory",
    "short_scoreboard": "waiting for data of shared memory or a special unit",
    "lg_throttle": "the queue of global and local accesses is full",
    "mio_throttle": "the queue of shared memory and special instructions is full",
    "tex_throttle": "the queue of the texture unit is full",
    "math_pipe_throttle": "the arithmetic pipe it needs is busy",
    "wait": "a fixed latency between dependent instructions",
    "barrier": "waiting at a block-wide barrier",
    "membar": "waiting at a memory barrier",
    "branch_resolving": "waiting for a branch target",
    "no_instruction": "waiting for an instruction to be fetched",
    "imc_miss": "waiting for a constant",
    "dispatch_stall": "the dispatcher holds the warp back",
    "drain": "waiting for stores to leave before exit",
    "gmma": "waiting for warp-group matrix instructions",
    "sleeping": "asleep by instruction",
    "misc": "other reasons",
    "not_selected": "ready, another warp was chosen",
    "selected": "issuing",
}

METRICS: tuple[Metric, ...] = (
    # shares of a peak
    _pct(
        "sm_pct",
        "sm__throughput.avg.pct_of_peak_sustained_elapsed",
        "SM Throughput",
        "busiest unit of the SMs, share of its peak",
        ("summary", "versions", "comparison", "panels", "estimate"),
        basic=True,
    ),
    _pct(
        "dram_pct",
        (
            "dram__throughput.avg.pct_of_peak_sustained_elapsed",
            "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
        ),
        "DRAM Throughput",
        "DRAM throughput, share of its peak",
        ("summary", "versions", "comparison", "panels", "estimate"),
        bottleneck="DRAM",
        basic=True,
    ),
    _pct(
        "l2_pct",
        "lts__throughput.avg.pct_of_peak_sustained_elapsed",
        "L2 Throughput",
        "L2 throughput, share of its peak",
        ("comparison", "panels", "estimate"),
        bottleneck="L2",
    ),
    _pct(
        "l1_pct",
        (
            "l1tex__throughput.avg.pct_of_peak_sustained_elapsed",
            "l1tex__throughput.avg.pct_of_peak_sustained_active",
        ),
        "L1 Throughput",
        "L1 throughput, share of its peak",
        ("panels", "estimate"),
        bottleneck="L1",
    ),
    _pct(
        "l2_hit_pct",
        "lts__t_sector_hit_rate.pct",
        "L2 Hit Rate",
        "sectors asked of L2 that it held",
        ("summary", "versions", "comparison", "panels"),
        basic=True,
    ),
    _pct(
        "l1_hit_pct", "l1tex__t_sector_hit_rate.pct", "L1 Hit Rate", "sectors asked of L1 that it held", ("comparison",)
    ),
    _pct(
        "warps_active_pct",
        "sm__warps_active.avg.pct_of_peak_sustained_active",
        "Achieved Occupancy",
        "resident warps, share of the SM's maximum",
        ("summary", "versions", "comparison", "panels"),
        basic=True,
    ),
    _pct(
        "occupancy_pct",
        "sm__maximum_warps_per_active_cycle_pct",
        "Theoretical Occupancy",
        "warps that registers, shared memory and block size allow, share of the SM's maximum",
        ("compiled",),
    ),
    _pipe(
        "alu_pct", "alu", "ALU pipe", "integer and logic instructions, share of the pipe's peak", ("panels", "estimate")
    ),
    _pipe("fma_pct", "fma", "FMA pipe", "FP32 and integer multiply-adds, share of the pipe's peak", ("panels",)),
    _pipe("xu_pct", "xu", "XU pipe", "special functions and conversions, share of the pipe's peak"),
    _pipe("lsu_pct", "lsu", "LSU pipe", "loads and stores, share of the pipe's peak", ("panels",)),
    _pipe("tensor_pct", "tensor", "Tensor pipe", "matrix instructions, share of the pipe's peak"),
    _pct(
        "issue_active_pct",
        "smsp__issue_active.avg.pct_of_peak_sustained_active",
        "Issue Slots Busy",
        "cycles in which a scheduler issued an instruction",
        ("comparison", "panels", "estimate"),
        bottleneck="Issue Slots",
    ),
    # launch
    _launch(
        "grid_size", "launch__grid_size", "Grid Size", "", "programs launched", ("summary", "comparison"), basic=True
    ),
    _launch(
        "registers",
        "launch__registers_per_thread",
        "Registers",
        "register/thread",
        "registers of a thread",
        ("summary", "versions", "comparison", "panels", "compiled"),
    ),
    _launch("block_size", "launch__block_size", "Block Size", "thread", "threads of a block"),
    _launch(
        "shared_bytes",
        "launch__shared_mem_per_block",
        "Shared Memory",
        "byte/block",
        "shared memory of a block",
        ("comparison", "compiled"),
    ),
    _launch("waves", "launch__waves_per_multiprocessor", "Waves Per SM", "", "full rounds of blocks on the SMs"),
    # time and traffic
    _sum(
        "ncu_time_ns",
        "gpu__time_duration.sum",
        "Duration",
        "ns",
        "kernel time under ncu: the weight of means, no speed",
    ),
    _sum(
        "dram_read_bytes",
        "dram__bytes_read.sum",
        "DRAM Read",
        "byte",
        "bytes read from DRAM",
        ("comparison",),
        work="DRAM bytes",
    ),
    _sum(
        "dram_write_bytes",
        "dram__bytes_write.sum",
        "DRAM Write",
        "byte",
        "bytes written to DRAM",
        ("comparison",),
        work="DRAM bytes",
    ),
    _sum("l2_bytes", "lts__t_bytes.sum", "L2 Bytes", "byte", "bytes through L2", ("comparison",), work="L2 bytes"),
    _sum("l1_bytes", "l1tex__t_bytes.sum", "L1 Bytes", "byte", "bytes through L1", work="L1 bytes"),
    # instructions
    _sum(
        "inst_executed",
        "smsp__inst_executed.sum",
        "Instructions",
        "inst",
        "instructions executed by warps",
        ("comparison",),
        work="instructions",
    ),
    _sum(
        "inst_spill",
        "sass__inst_executed_register_spilling",
        "Spill Instructions",
        "inst",
        "instructions executed that spill or fill a register",
    ),
    _flop("fadd", "FP32 Add", "FP32 additions by thread"),
    _flop("fmul", "FP32 Mul", "FP32 multiplications by thread"),
    _flop("ffma", "FP32 FMA", "FP32 multiply-adds by thread (2 FLOP each)"),
    _flop("hadd", "FP16 Add", "FP16 additions by thread; a packed pair counts once"),
    _flop("hmul", "FP16 Mul", "FP16 multiplications by thread; a packed pair counts once"),
    _flop("hfma", "FP16 FMA", "FP16 multiply-adds by thread; a packed pair counts once"),
    _flop("dadd", "FP64 Add", "FP64 additions by thread"),
    _flop("dmul", "FP64 Mul", "FP64 multiplications by thread"),
    _flop("dfma", "FP64 FMA", "FP64 multiply-adds by thread (2 FLOP each)"),
    # stalls: average warps that wait for the reason, per issued instruction
    *(_stall(reason, meaning) for reason, meaning in STALL_REASONS.items()),
)

BY_NAME = {metric.name: metric for metric in METRICS}

RESOURCES = {metric.name: metric.bottleneck for metric in METRICS if metric.bottleneck}
PIPES = tuple(metric.name for metric in METRICS if metric.is_pipe)
STALLS = tuple(metric.name for metric in METRICS if metric.name.startswith("stall_"))


def shown_in(place: Place) -> tuple[Metric, ...]:
    """Return the metrics that a table or figure shows, in its order."""
    return tuple(metric for metric in METRICS if place in metric.show)


# FLOP of one thread instruction; packed half-precision operations count once in ncu and are two each.
FLOP_OF_INSTRUCTION = {
    "inst_fadd": 1,
    "inst_fmul": 1,
    "inst_ffma": 2,
    "inst_dadd": 1,
    "inst_dmul": 1,
    "inst_dfma": 2,
}

DEVICE_NAME = "device__attribute_display_name"

# What a report says of its GPU: field of a GPU spec or of a machine -> ncu name and the factor to base units.
DEVICE_ATTRIBUTES: dict[str, tuple[str, int]] = {
    "sm_count": ("device__attribute_multiprocessor_count", 1),
    "registers_per_sm": ("device__attribute_max_registers_per_multiprocessor", 1),
    "max_registers_per_thread": ("device__attribute_max_registers_per_thread", 1),
    "max_threads_per_block": ("device__attribute_max_threads_per_block", 1),
    "max_threads_per_sm": ("device__attribute_max_threads_per_multiprocessor", 1),
    "max_warps_per_sm": ("device__attribute_max_warps_per_multiprocessor", 1),
    "max_blocks_per_sm": ("device__attribute_max_blocks_per_multiprocessor", 1),
    "warp_size": ("device__attribute_warp_size", 1),
    "shared_bytes_per_sm": ("device__attribute_max_shared_memory_per_multiprocessor", 1),
    "max_shared_bytes_per_block": ("device__attribute_max_shared_memory_per_block_optin", 1),
    "l2_bytes": ("device__attribute_l2_cache_size", 1),
    "boost_clock_hz": ("device__attribute_clock_rate", 1000),
    "memory_bytes": ("device__attribute_total_memory", 1),
    "major": ("device__attribute_compute_capability_major", 1),
    "minor": ("device__attribute_compute_capability_minor", 1),
    "memory_clock_hz": ("device__attribute_memory_clock_rate", 1000),
    "memory_bus_bits": ("device__attribute_global_memory_bus_width", 1),
}

# Sections beside the metrics, so that Nsight Compute shows its pages and rules for the same report.
SECTIONS = (
    "SpeedOfLight",
    "SpeedOfLight_HierarchicalSingleRooflineChart",
    "ComputeWorkloadAnalysis",
    "MemoryWorkloadAnalysis",
    "MemoryWorkloadAnalysis_Tables",
    "Occupancy",
    "LaunchStats",
    "SchedulerStats",
    "WarpStateStats",
)

METRIC_SETS = ("none", "basic", "standard", "full")


def ncu_names(metric_set: str) -> list[str]:
    """Return the ncu metrics to ask for in one of the METRIC_SETS but `none`."""
    return [metric.ncu[0] for metric in METRICS if metric.basic or metric_set != "basic"]
