"""The metric registry: short name -> the ncu metrics that can supply it. No other file spells an ncu metric name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Combine = Literal["sum", "mean", "max"]  # how the launches of one version become one figure; mean is weighted by time


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that rooflift collects.

    `ncu` lists the names that can supply it, the preferred one first: a report made with --metrics holds the first,
    a report made with sections alone may hold a later one. `basic` marks the metrics of the smallest set.
    """

    name: str
    ncu: tuple[str, ...]
    unit: str
    meaning: str
    better: Literal["higher", "lower", "neither"]
    combine: Combine
    basic: bool = False


def _pct(name: str, ncu: str | tuple[str, ...], meaning: str, basic: bool = False) -> Metric:
    names = (ncu,) if isinstance(ncu, str) else ncu
    return Metric(name, names, "%", meaning, "neither", "mean", basic)


def _sum(name: str, ncu: str, unit: str, meaning: str) -> Metric:
    return Metric(name, (ncu,), unit, meaning, "lower", "sum")


def _launch(name: str, ncu: str, unit: str, meaning: str, basic: bool = False) -> Metric:
    return Metric(name, (ncu,), unit, meaning, "neither", "max", basic)


def _pipe(name: str, pipe: str, meaning: str) -> Metric:
    # sm_100 reports fma under the sum of its two halves; the cycles form is the one that section reports hold
    suffix = "avg.pct_of_peak_sustained_active"
    names = (f"sm__inst_executed_pipe_{pipe}.{suffix}", f"sm__pipe_{pipe}_cycles_active.{suffix}")
    return _pct(name, names, meaning)


def _flop(op: str, meaning: str) -> Metric:
    ncu = f"smsp__sass_thread_inst_executed_op_{op}_pred_on.sum"
    return Metric(f"inst_{op}", (ncu,), "inst", meaning, "neither", "sum")


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
    # the five of the basic
    _pct(
        "sm_pct",
        ("sm__throughput.avg.pct_of_peak_sustained_elapsed",),
        "busiest SM unit, share of its peak",
        basic=True,
    ),
    _launch("grid_size", "launch__grid_size", "", "programs launched", basic=True),
    _pct(
        "warps_active_pct",
        "sm__warps_active.avg.pct_of_peak_sustained_active",
        "resident warps, share of the SM's maximum (achieved occupancy)",
        basic=True,
    ),
    _pct(
        "dram_pct",
        (
            "dram__throughput.avg.pct_of_peak_sustained_elapsed",
            "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
        ),
        "DRAM throughput, share of peak",
        basic=True,
    ),
    _pct("l2_hit_pct", "lts__t_sector_hit_rate.pct", "L2 sectors that hit", basic=True),
    # time and traffic
    _sum("ncu_time_ns", "gpu__time_duration.sum", "ns", "kernel time under ncu: weighs percentages, never a speed"),
    _sum("dram_read_bytes", "dram__bytes_read.sum", "byte", "bytes read from DRAM"),
    _sum("dram_write_bytes", "dram__bytes_write.sum", "byte", "bytes written to DRAM"),
    _sum("l2_bytes", "lts__t_bytes.sum", "byte", "bytes through L2"),
    _sum("l1_bytes", "l1tex__t_bytes.sum", "byte", "bytes through L1"),
    _pct("l1_hit_pct", "l1tex__t_sector_hit_rate.pct", "L1 sectors that hit"),
    _pct("l2_pct", "lts__throughput.avg.pct_of_peak_sustained_elapsed", "L2 throughput, share of peak"),
    _pct(
        "l1_pct",
        (
            "l1tex__throughput.avg.pct_of_peak_sustained_elapsed",
            "l1tex__throughput.avg.pct_of_peak_sustained_active",
        ),
        "L1 throughput, share of peak",
    ),
    # instructions
    _sum("inst_executed", "smsp__inst_executed.sum", "inst", "warp instructions executed"),
    _sum("inst_spill", "sass__inst_executed_register_spilling", "inst", "those that spill or fill a register"),
    _pct(
        "issue_active_pct",
        "smsp__issue_active.avg.pct_of_peak_sustained_active",
        "cycles in which a scheduler issued",
    ),
    _pipe("alu_pct", "alu", "integer and logic pipe, share of peak"),
    _pipe("fma_pct", "fma", "FP32 and integer multiply-add pipe, share of peak"),
    _pipe("lsu_pct", "lsu", "load/store pipe, share of peak"),
    _pipe("xu_pct", "xu", "special-function and conversion pipe, share of peak"),
    _pct(
        "tensor_pct",
        (
            "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active",
            "sm__inst_executed_pipe_tensor.avg.pct_of_peak_sustained_active",
        ),
        "tensor pipe, share of peak",
    ),
    _flop("fadd", "FP32 additions by thread"),
    _flop("fmul", "FP32 multiplications by thread"),
    _flop("ffma", "FP32 multiply-adds by thread (2 FLOP each)"),
    _flop("hadd", "FP16 additions by thread; a packed pair counts once"),
    _flop("hmul", "FP16 multiplications by thread; a packed pair counts once"),
    _flop("hfma", "FP16 multiply-adds by thread; a packed pair counts once"),
    _flop("dadd", "FP64 additions by thread"),
    _flop("dmul", "FP64 multiplications by thread"),
    _flop("dfma", "FP64 multiply-adds by thread (2 FLOP each)"),
    # launch
    _launch("registers", "launch__registers_per_thread", "register/thread", "registers a thread"),
    _launch("block_size", "launch__block_size", "thread", "threads a block"),
    _launch("shared_bytes", "launch__shared_mem_per_block", "byte/block", "shared memory a block"),
    _launch("waves", "launch__waves_per_multiprocessor", "", "full rounds of blocks on the SMs"),
    _pct(
        "occupancy_pct",
        "sm__maximum_warps_per_active_cycle_pct",
        "theoretical occupancy, by registers, shared memory, blocks",
    ),
    # stalls: average warps that wait for the reason, per issued instruction
    *(
        Metric(
            f"stall_{reason}",
            (f"smsp__average_warps_issue_stalled_{reason}_per_issue_active.ratio",),
            "warp/inst",
            meaning,
            "lower",
            "mean",
        )
        for reason, meaning in STALL_REASONS.items()
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}

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
