"""The metric registry: short name -> the ncu metrics that can supply it, its label, its unit, where it is shown.

No other file spells an ncu metric name, a metric's label, or a list of the metrics that a table or a figure shows.

Shares of a peak come in two forms that are never mixed: over the cycles in which a unit was *active*, and over all
*elapsed* ones. With few busy SMs they differ many times. The pipes (`alu_pct`) are active forms, as in ncu's Compute
Workload Analysis; the units of ncu's Speed Of Light breakdown (`alu_sol_pct`) are elapsed ones, and these can be
compared with DRAM and L2.
"""

from __future__ import annotations

from rooflift.ncu.metric import (
    OVER_TIME,
    SECTOR_BYTES,
    TIME,
    Metric,
    Place,
    conflicts,
    flop,
    launch,
    local,
    pct,
    per_request,
    pipe,
    sol,
    sol_pipe,
    stall,
    total,
    traffic,
)

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

TRACED = "cupti__kernel_duration"  # what rooflift calls a duration of CUPTI or torch's profiler, where ncu has none

METRICS: tuple[Metric, ...] = (
    # shares of a peak
    pct(
        "sm_pct",
        "sm__throughput.avg.pct_of_peak_sustained_elapsed",
        "SM Throughput",
        "busiest unit of the SMs, share of its peak",
        ("summary", "versions", "comparison", "estimate"),
        basic=True,
    ),
    pct(
        "dram_pct",
        (
            "dram__throughput.avg.pct_of_peak_sustained_elapsed",
            "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
        ),
        "DRAM Throughput",
        "DRAM throughput, share of its peak",
        ("summary", "versions", "comparison", "estimate"),
        bottleneck="DRAM",
        basic=True,
    ),
    pct(
        "l2_pct",
        "lts__throughput.avg.pct_of_peak_sustained_elapsed",
        "L2 Throughput",
        "L2 throughput, share of its peak",
        ("comparison", "estimate"),
        bottleneck="L2",
    ),
    pct(
        "l1_pct",
        "l1tex__throughput.avg.pct_of_peak_sustained_elapsed",
        "L1 Throughput",
        "L1 throughput, share of its peak",
        ("estimate",),
        bottleneck="L1",
    ),
    pct(
        "l1_active_pct",
        "l1tex__throughput.avg.pct_of_peak_sustained_active",
        "L1/TEX Cache Throughput",
        "L1 throughput, share of its peak while it was active",
        asked=False,
    ),
    pct(
        "memory_pct",
        "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
        "Memory Throughput",
        "busiest unit of the memory system, L1 to DRAM, share of its peak",
        asked=False,
    ),
    pct(
        "l2_hit_pct",
        "lts__t_sector_hit_rate.pct",
        "L2 Hit Rate",
        "sectors asked of L2 that it held",
        ("summary", "versions", "comparison"),
        basic=True,
    ),
    pct(
        "l1_hit_pct", "l1tex__t_sector_hit_rate.pct", "L1 Hit Rate", "sectors asked of L1 that it held", ("comparison",)
    ),
    pct(
        "warps_active_pct",
        "sm__warps_active.avg.pct_of_peak_sustained_active",
        "Achieved Occupancy",
        "resident warps, share of the SM's maximum",
        ("summary", "versions", "comparison"),
        basic=True,
    ),
    pct(
        "occupancy_pct",
        "sm__maximum_warps_per_active_cycle_pct",
        "Theoretical Occupancy",
        "warps that registers, shared memory and block size allow, share of the SM's maximum",
        ("compiled",),
    ),
    pipe("alu_pct", "alu", "ALU pipe", "integer and logic instructions, share of the pipe's peak", ("estimate",)),
    pipe("fma_pct", "fma", "FMA pipe", "FP32 and integer multiply-adds, share of the pipe's peak"),
    pipe("xu_pct", "xu", "XU pipe", "special functions and conversions, share of the pipe's peak"),
    pipe("lsu_pct", "lsu", "LSU pipe", "loads and stores, share of the pipe's peak"),
    pipe("tensor_pct", "tensor", "Tensor pipe", "matrix instructions, share of the pipe's peak"),
    pipe("fp64_pct", "fp64", "FP64 pipe", "FP64 instructions, share of the pipe's peak", asked=False),
    pipe("fp16_pct", "fp16", "FP16 pipe", "FP16 instructions, share of the pipe's peak", asked=False),
    pipe(
        "uniform_pct", "uniform", "Uniform pipe", "instructions of a whole warp, share of the pipe's peak", asked=False
    ),
    pipe("tex_pct", "tex", "TEX pipe", "texture and surface accesses, share of the pipe's peak", asked=False),
    pipe("adu_pct", "adu", "ADU pipe", "indexed constants and barriers, share of the pipe's peak", asked=False),
    pipe("cbu_pct", "cbu", "CBU pipe", "branches and warp convergence, share of the pipe's peak", asked=False),
    pct(
        "issue_active_pct",
        "smsp__issue_active.avg.pct_of_peak_sustained_active",
        "Issue Slots Busy",
        "cycles in which a scheduler issued an instruction",
        ("comparison", "estimate"),
        bottleneck="Issue Slots",
    ),
    # the units of ncu's Speed Of Light breakdown; of equally busy ones the first is named
    sol("dram", "DRAM", "dram__cycles_active", r"(dramc?|fbpa?)__(?!throughput)\w+", "DRAM", "busiest counter of DRAM"),
    sol(
        "l2",
        "L2",
        "lts__t_sectors",
        r"(lts|ltc|l2)__(?!throughput)\w+|gpu__compute_memory_\w+_activity",
        "L2",
        "busiest counter of L2",
    ),
    sol_pipe("alu", "alu", "ALU pipe", "integer and logic instructions"),
    sol_pipe("fp64", "fp64", "FP64 pipe", "FP64 instructions"),
    sol_pipe("fp16", "fp16|fma_type_fp16", "FP16 pipe", "FP16 instructions"),
    sol_pipe("fma", "fma(?!_type)", "FMA pipe", "FP32 and integer multiply-adds, busier half of the pipe"),
    sol_pipe("tensor", "tensor|tc(?=_)", "Tensor pipe", "matrix instructions"),  # tc: tcgen05 of Blackwell
    sol_pipe("shared_pipe", "shared", "FP64 and tensor pipe", "instructions of the pipe that FP64 and tensor share"),
    sol_pipe("xu", "xu", "XU pipe", "special functions and conversions"),
    sol_pipe("lsu", "lsu", "LSU pipe", "loads and stores"),
    sol_pipe("tex", "tex", "TEX pipe", "texture and surface accesses"),
    sol_pipe("uniform", "uniform", "Uniform pipe", "instructions of a whole warp"),
    sol_pipe("adu", "adu", "ADU pipe", "indexed constants and barriers"),
    sol_pipe("cbu", "cbu", "CBU pipe", "branches and warp convergence"),
    sol_pipe("tma", "tma", "TMA pipe", "tensor copies"),
    sol_pipe("ipa", "ipa", "IPA pipe", "attribute interpolation"),
    sol("l1", "L1", "l1tex__data_pipe_lsu_wavefronts", r"l1tex__(?!throughput)\w+", "L1", "busiest counter of L1"),
    sol(
        "mio",
        "MIO",
        "sm__mio_inst_issued",
        r"sm(sp)?__mio\w+",
        "MIO",
        "queue of shared memory and special instructions",
    ),
    sol(
        "idc", "constant cache", "idc__request_cycles_active", r"idcp?__\w+", "Constant cache", "requests of constants"
    ),
    sol(
        "issue",
        "Issue Slots",
        "sm__issue_active",
        r"sm(sp)?__(issue_active|inst_executed|inst_issued)",
        "Issue Slots",
        "issued instructions",
    ),
    # launch
    launch(
        "grid_size", "launch__grid_size", "Grid Size", "", "programs launched", ("summary", "comparison"), basic=True
    ),
    launch(
        "registers",
        "launch__registers_per_thread",
        "Registers",
        "register/thread",
        "registers of a thread",
        ("summary", "versions", "comparison", "compiled"),
    ),
    launch("block_size", "launch__block_size", "Block Size", "thread", "threads of a block"),
    launch(
        "shared_bytes",
        "launch__shared_mem_per_block",
        "Shared Memory",
        "byte/block",
        "shared memory of a block",
        ("comparison", "compiled"),
    ),
    launch("waves", "launch__waves_per_multiprocessor", "Waves Per SM", "", "full rounds of blocks on the SMs"),
    # time and traffic
    total(
        "ncu_time_ns",
        ("gpu__time_duration.sum", TRACED),
        "Duration",
        "ns",
        "kernel time under ncu: the weight of means, no speed",
    ),
    Metric(
        "sm_clock_hz",
        (
            "sm__cycles_elapsed.avg.per_second",
            "smsp__cycles_elapsed.avg.per_second",
            "gpc__cycles_elapsed.avg.per_second",
            "gpc__cycles_elapsed.max.per_second",
        ),
        "SM Frequency",
        "hz",
        "clock of the SMs while the kernel ran",
        "mean",
        asked=False,
    ),
    total(
        "dram_read_bytes",
        ("dram__bytes_read.sum", "dram__bytes_op_read.sum"),
        "DRAM Read",
        "byte",
        "bytes read from DRAM",
        ("comparison",),
        work="DRAM bytes",
        formulas=traffic("dram", "read"),
    ),
    total(
        "dram_write_bytes",
        ("dram__bytes_write.sum", "dram__bytes_op_write.sum"),
        "DRAM Write",
        "byte",
        "bytes written to DRAM",
        ("comparison",),
        work="DRAM bytes",
        formulas=traffic("dram", "write"),
    ),
    total(
        "dram_total_bytes",
        "dram__bytes.sum",
        "DRAM Bytes",
        "byte",
        "bytes read from DRAM and written to it, where a report does not tell the two apart",
        formulas=(((OVER_TIME, ("dram__bytes.sum.per_second", TIME)),),),
        asked=False,
    ),
    total(
        "l2_bytes",
        "lts__t_bytes.sum",
        "L2 Bytes",
        "byte",
        "bytes through L2",
        ("comparison",),
        work="L2 bytes",
        formulas=(((SECTOR_BYTES, ("lts__t_sectors.sum",)),), ((OVER_TIME, ("lts__t_bytes.sum.per_second", TIME)),)),
    ),
    total(
        "l1_bytes",
        "l1tex__t_bytes.sum",
        "L1 Bytes",
        "byte",
        "bytes through L1",
        work="L1 bytes",
        formulas=(((SECTOR_BYTES, ("l1tex__t_sectors.sum",)),),),
    ),
    # instructions
    total(
        "inst_executed",
        "smsp__inst_executed.sum",
        "Instructions",
        "inst",
        "instructions executed by warps",
        ("comparison",),
        work="instructions",
    ),
    total(
        "inst_spill",
        "sass__inst_executed_register_spilling",
        "Spill Instructions",
        "inst",
        "instructions executed that spill or fill a register; before ncu 2025 all that access local memory",
        formulas=(((1, ("sass__inst_executed_local_loads",)), (1, ("sass__inst_executed_local_stores",))),),
    ),
    flop("fadd", "FP32 Add", "FP32 additions by thread"),
    flop("fmul", "FP32 Mul", "FP32 multiplications by thread"),
    flop("ffma", "FP32 FMA", "FP32 multiply-adds by thread (2 FLOP each)"),
    flop("hadd", "FP16 Add", "FP16 additions by thread; a packed pair counts once"),
    flop("hmul", "FP16 Mul", "FP16 multiplications by thread; a packed pair counts once"),
    flop("hfma", "FP16 FMA", "FP16 multiply-adds by thread; a packed pair counts once"),
    flop("dadd", "FP64 Add", "FP64 additions by thread"),
    flop("dmul", "FP64 Mul", "FP64 multiplications by thread"),
    flop("dfma", "FP64 FMA", "FP64 multiply-adds by thread (2 FLOP each)"),
    Metric(
        "tensor_flop",
        ("sm__ops_path_tensor_src_fp16_dst_fp32.sum",),
        "Tensor FLOP",
        "FLOP",
        "floating-point operations of the tensor cores",
        "sum",
        asked=False,
        pattern=r"sm__ops_path_tensor_src_(?!u?int)((?!sparsity)\w)*\.sum",
        adds=True,
    ),
    # what a report of bank conflicts, coalescing or spills is about
    conflicts("load", "ld"),
    conflicts("store", "st"),
    local("load", "ld"),
    local("store", "st"),
    per_request("load", "ld"),
    per_request("store", "st"),
    # stalls: average warps that wait for the reason, per issued instruction
    *(stall(reason, meaning) for reason, meaning in STALL_REASONS.items()),
)

BY_NAME = {metric.name: metric for metric in METRICS}

RESOURCES = {metric.name: metric.bottleneck for metric in METRICS if metric.bottleneck and metric.asked}
SHARES = {metric.name: metric.bottleneck for metric in METRICS if metric.bottleneck and not metric.sol}
SOL_UNITS = {metric.name: metric.bottleneck for metric in METRICS if metric.sol}
SOL_BREAKDOWNS = tuple(f"breakdown:{BY_NAME[name].ncu[0]}" for name in ("sm_pct", "memory_pct"))  # list their counters
PIPES = tuple(metric.name for metric in METRICS if metric.is_pipe)
STALLS = tuple(metric.name for metric in METRICS if metric.name.startswith("stall_"))


def shown_in(place: Place) -> tuple[Metric, ...]:
    """Return the metrics that a table or figure shows, in its order."""
    return tuple(metric for metric in METRICS if place in metric.show)


BASE_UNITS = {name: metric.unit for metric in METRICS for name in metric.ncu}
DISPLAYED = {"ns": "us", "byte": "Mbyte"}  # what `ncu` prints most values in by default, by their base unit

# What Nsight Compute calls a metric where people read it; with "%" where two metrics have the same name.
DISPLAY_NAMES: dict[tuple[str, str], str] = {
    ("Duration", ""): "gpu__time_duration.sum",
    ("Compute (SM) Throughput", ""): "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ("Compute (SM) [%]", ""): "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ("SM [%]", ""): "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ("SOL SM", ""): "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ("SM Throughput", ""): "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ("Compute Throughput", ""): "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    ("SM Frequency", ""): "smsp__cycles_elapsed.avg.per_second",
    ("Memory Throughput", "%"): "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    ("Memory [%]", ""): "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    ("SOL Memory", ""): "gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed",
    ("Memory Throughput", "byte/s"): "dram__bytes.sum.per_second",
    ("DRAM Throughput", ""): "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    ("SOL DRAM", ""): "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    ("SOL FB", ""): "gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed",
    ("L1/TEX Cache Throughput", ""): "l1tex__throughput.avg.pct_of_peak_sustained_active",
    ("SOL L1/TEX Cache", ""): "l1tex__throughput.avg.pct_of_peak_sustained_active",
    ("L2 Cache Throughput", ""): "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    ("SOL L2 Cache", ""): "lts__throughput.avg.pct_of_peak_sustained_elapsed",
    ("L1/TEX Hit Rate", ""): "l1tex__t_sector_hit_rate.pct",
    ("L2 Hit Rate", ""): "lts__t_sector_hit_rate.pct",
    ("Achieved Occupancy", ""): "sm__warps_active.avg.pct_of_peak_sustained_active",
    ("Theoretical Occupancy", ""): "sm__maximum_warps_per_active_cycle_pct",
    ("Issue Slots Busy", ""): "smsp__issue_active.avg.pct_of_peak_sustained_active",
    ("Registers Per Thread", ""): "launch__registers_per_thread",
    ("# Registers", ""): "launch__registers_per_thread",
    ("Grid Size", ""): "launch__grid_size",
    ("Block Size", ""): "launch__block_size",
    ("Waves Per SM", ""): "launch__waves_per_multiprocessor",
    ("Shared Memory Configuration Size", ""): "launch__shared_mem_config_size",
    ("Dynamic Shared Memory Per Block", ""): "launch__shared_mem_per_block_dynamic",
    ("Static Shared Memory Per Block", ""): "launch__shared_mem_per_block_static",
    ("Executed Instructions", ""): "smsp__inst_executed.sum",
    ("SM Active Cycles", ""): "sm__cycles_active.avg",
    ("Elapsed Cycles", ""): "gpc__cycles_elapsed.max",
}

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

SOURCE_SECTION = "SourceCounters"  # samples and metrics of each instruction

_SAMPLED_AS = {"no_instruction": "no_instructions", "gmma": "warpgroup_arrive"}  # reason -> as samples spell it

# What ncu has of each instruction: column of the source frame -> the names that can supply it. Not the metrics ending
# in _not_issued, which count the samples in which the scheduler issued nothing once more.
SAMPLES = "samples"
INSTRUCTION_METRICS: dict[str, tuple[str, ...]] = {
    SAMPLES: ("smsp__pcsamp_sample_count",),
    **{
        f"stall_{reason}": (f"smsp__pcsamp_warps_issue_stalled_{_SAMPLED_AS.get(reason, reason)}",)
        for reason in STALL_REASONS
    },
    "instructions": ("inst_executed",),
    "thread_instructions": ("thread_inst_executed_true",),
    "sectors": ("memory_l2_theoretical_sectors_global",),
    "sectors_ideal": ("memory_l2_theoretical_sectors_global_ideal",),
    "wavefronts": ("memory_l1_wavefronts_shared",),
    "wavefronts_ideal": ("memory_l1_wavefronts_shared_ideal",),
}
PER_LAUNCH = ("launch__", "sass__", "smsp__sass", "smsp__pcsamp", "derived__")  # what no range of launches has
TIME_SECTION = "PmSampling"  # metrics sampled over the time of a launch
METRIC_SETS = ("none", "basic", "standard", "source", "timeline", "full")
WORKLOAD_TIME = "profiler__timestamp_workload_{side}_{group}"  # begin and end of a launch in a group of passes
SAMPLED_METRICS = {  # those over the time of a launch that tell most, in this order: what they are called -> a pattern
    "active cycles of an SM": r"sm__cycles_active",
    "warps an SM": r"warps_active",
    "DRAM throughput": r"dramc?__throughput",
    "L2 throughput": r"l?ts__.*throughput",
    "tensor pipe": r"pipe_tensor",
    "issued": r"inst_executed_realtime.*pct",
    "blocks launched": r"ctas_launched",
}
SAMPLED_SETS = ("timeline", "full")  # that hold PM sampling, where ncu and the GPU have it


def ncu_names(metric_set: str) -> list[str]:
    """Return the ncu metrics to ask for in one of the METRIC_SETS but `none`."""
    return [metric.ncu[0] for metric in METRICS if metric.asked and (metric.basic or metric_set != "basic")]


def ncu_sections(metric_set: str) -> tuple[str, ...]:
    """Return the ncu sections to ask for in one of the METRIC_SETS; of `full`, ncu's own set has them."""
    more = {"standard": (), "source": (SOURCE_SECTION,), "timeline": (TIME_SECTION,)}
    return (*SECTIONS, *more[metric_set]) if metric_set in more else ()
