"""What a version would need on another GPU, from its metrics and both GPUs' specs. No files, no GPU.

Each resource has work, counted on the source, and a rate on the target; their quotient is its time at peak, of which it
sustains a share. Resources that overlap perfectly take as long as the slowest of them, the roofline model (Williams,
Waterman and Patterson, CACM 52(4), 2009) with one ceiling for each; without any overlap they take their sum. Between
the two lies the p-norm of their times, and the p that gives the time measured on the source is kept for the target.
What even the sum does not explain, such as latency and the tail of the last programs, is added.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rooflift.analysis.bottleneck import find_bottleneck
from rooflift.compile.occupancy import theoretical_occupancy
from rooflift.errors import RunFault
from rooflift.ncu.metrics import PIPES, RESOURCES
from rooflift.project.gpus import GpuSpec

SCHEDULERS_PER_SM = 4  # each issues one warp instruction a clock, on every GPU of the specs
SUSTAINED = 0.85  # of the peak of an SM unit: kernels that one of them bounds reach 82 to 87 % on an H100
CACHES = ("l1_pct", "l2_pct")  # no kernel here is bound by one; taken to sustain their peak
DRAM_SUSTAINED = 0.9  # of the spec's bandwidth, where no copy was timed: one reaches 90 % on an H100
LIKELY_CLOCK = 0.9  # of the spec's: a lower one, from the cycles of busy SMs, may be that some were idle
MOST_OVERLAP = 100.0  # the p-norm of nine equal times is then 2 % above the largest
NEEDED = ("inst_executed", "issue_active_pct", "dram_read_bytes", "dram_write_bytes", "ncu_time_ns")


@dataclass(frozen=True, slots=True)
class Need:
    """A resource on the target: its time at peak, the share of the peak that it sustains, and what ncu would show."""

    resource: str
    metric: str
    peak_us: float
    sustained: float
    pct: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A version on another GPU; the times are those of CUDA events, NaN where the source was not timed."""

    time_us: float
    source_time_us: float
    resource: str
    unexplained_us: float  # of the kernels' time on the target: more than all resources one after the other
    needs: tuple[Need, ...]
    assumptions: tuple[str, ...]

    def pct(self, metric: str) -> float:
        """Return the percentage that ncu would show, NaN for a metric that the source lacks."""
        return next((need.pct for need in self.needs if need.metric == metric), math.nan)


@dataclass(frozen=True, slots=True)
class Copies:
    """What a device copy reached on source and target, bytes/s; NaN where none was timed."""

    source: float = math.nan
    target: float = math.nan


def project(figures: Mapping[str, float], source: GpuSpec, target: GpuSpec, copies: Copies) -> Estimate:
    """Return the estimate of one version; `figures` are the registry's metrics by short name, and time_us.

    Raises:
        RunFault: metrics that an estimate needs are missing; they are named.
    """
    missing = [name for name in NEEDED if math.isnan(figures.get(name, math.nan))]
    if missing:
        remedy = "Profile with --metrics standard, on any GPU that has a spec."
        raise RunFault(f"no estimate without {', '.join(missing)}, which were not collected", remedy)
    share = {name: figures.get(name, math.nan) / 100 for name in (*RESOURCES, "sm_pct")}
    share = {name: value for name, value in share.items() if not math.isnan(value)}
    kernel_us = figures["ncu_time_ns"] / 1e3
    active = figures["inst_executed"] / (SCHEDULERS_PER_SM * source.sm_count * share["issue_active_pct"])
    clock_hz = figures.get("sm_clock_hz", math.nan)
    elapsed = active if math.isnan(clock_hz) else max(active, clock_hz * kernel_us / 1e6)
    share |= {name: share[name] * active / elapsed for name in (*PIPES, "issue_active_pct") if name in share}
    here = {name: value * kernel_us for name, value in share.items()}
    slower = elapsed * source.sm_count / (target.sm_count * target.sm_clock_hz / 1e6) / kernel_us
    there = {name: us * slower for name, us in here.items()}
    if "fma_pct" in there:
        there["fma_pct"] *= source.fp32_lanes_per_sm / target.fp32_lanes_per_sm
    same_die = source.compute_capability == target.compute_capability
    if "l2_pct" in there and same_die and source.l2_bytes and target.l2_bytes:  # its slices are as many as its bytes
        there["l2_pct"] *= source.l2_bytes * target.sm_count / (target.l2_bytes * source.sm_count)
    if "tensor_pct" in there and source.fp16_flops_per_s and target.fp16_flops_per_s:
        there["tensor_pct"] = here["tensor_pct"] * source.fp16_flops_per_s / target.fp16_flops_per_s
    units = [there[name] for name in (*PIPES, "issue_active_pct") if name in there]
    there["sm_pct"] = max(*units, there.get("sm_pct", 0.0))
    dram_bytes = figures["dram_read_bytes"] + figures["dram_write_bytes"]
    here["dram_pct"] = dram_bytes / source.dram_bytes_per_s * 1e6
    there["dram_pct"] = dram_bytes / target.dram_bytes_per_s * 1e6
    sustained = {
        name: 1.0 if name in CACHES else max(SUSTAINED, here.get(name, 0.0) / kernel_us) for name in (*there, "sm_pct")
    }
    copy_here = _ratio(copies.source, source.dram_bytes_per_s, DRAM_SUSTAINED)
    copy_there = _ratio(copies.target, target.dram_bytes_per_s, copy_here)
    beaten = max(1.0, here["dram_pct"] / kernel_us / copy_here)  # where the version is faster than the copy
    sustained["dram_pct"] = copy_here * beaten
    times = [us / sustained[name] for name, us in here.items() if name in RESOURCES]
    p = overlap(times, kernel_us)
    explained_us = norm(times, p)
    sustained["dram_pct"] = min(1.0, copy_there * beaten)
    resident = _resident_warps(figures, source) / _resident_warps(figures, target)
    unexplained_us = max(kernel_us - explained_us, 0.0) * resident
    times = [us / sustained[name] for name, us in there.items() if name in RESOURCES]
    kernel_there_us = norm(times, p) + unexplained_us
    pct = {name: 100 * us / kernel_there_us for name, us in there.items()}
    return Estimate(
        time_us=figures.get("time_us", math.nan) * kernel_there_us / kernel_us,
        source_time_us=figures.get("time_us", math.nan),
        resource=find_bottleneck(pct).resource,
        unexplained_us=unexplained_us,
        needs=tuple(
            Need(RESOURCES.get(name, "busiest SM unit"), name, us, sustained[name], pct[name])
            for name, us in there.items()
        ),
        assumptions=_assumptions(source, target, copies, copy_there, elapsed / kernel_us, told=elapsed > active),
    )


def overlap(times: Sequence[float], whole: float) -> float:
    """Return the p for which the p-norm of `times` is `whole`: 1 where their sum is less, infinity at the largest."""
    if whole >= sum(times):
        return 1.0
    low, high = 1.0, MOST_OVERLAP
    if norm(times, high) >= whole:
        return math.inf
    for _ in range(60):  # the norm falls as p rises
        middle = (low + high) / 2
        low, high = (middle, high) if norm(times, middle) > whole else (low, middle)
    return low


def norm(times: Sequence[float], p: float) -> float:
    """Return the p-norm of times that are not negative: their sum for 1, the largest for infinity."""
    largest = max(times)
    return largest if math.isinf(p) or not largest else largest * sum((t / largest) ** p for t in times) ** (1 / p)


def _ratio(reached: float, published: float, otherwise: float) -> float:
    return otherwise if math.isnan(reached) else reached / published


def _resident_warps(figures: Mapping[str, float], spec: GpuSpec) -> float:
    """Return the warps that a GPU holds at once, by NVIDIA's occupancy rules; the most where the launch is unknown."""
    launch = [figures.get(name, math.nan) for name in ("block_size", "registers", "shared_bytes")]
    if any(map(math.isnan, launch)):
        return spec.max_warps_per_sm * spec.sm_count
    threads, registers, shared = (round(value) for value in launch)
    found = theoretical_occupancy(
        spec, threads_per_block=threads, registers_per_thread=registers, shared_bytes_per_block=max(shared - 1024, 0)
    )
    return max(found.warps_per_sm, 1) * spec.sm_count


def _assumptions(
    source: GpuSpec, target: GpuSpec, copies: Copies, copy_share: float, clock_mhz: float, *, told: bool
) -> tuple[str, ...]:
    dram = "as a copy on the source does" if math.isnan(copies.target) else "as a copy measured there does"
    if math.isnan(copies.target) and math.isnan(copies.source):
        dram = "as a copy on an H100 does"
    smaller = source.l2_bytes is not None and target.l2_bytes is not None and target.l2_bytes < source.l2_bytes
    l2 = "; its L2 is smaller, so they may be more" if smaller else ""
    likely = told or clock_mhz > LIKELY_CLOCK * source.sm_clock_hz / 1e6
    no_idle = "" if likely else ", if none of them was idle"
    spec_mhz = target.sm_clock_hz / 1e6
    return (
        f"The compiler makes the same instructions for {target.name} as it made for {source.name}.",
        f"SMs run at {spec_mhz:.0f} MHz, their spec's; on the source they ran at {clock_mhz:.0f} MHz{no_idle}.",
        "The pipes of an SM are as wide, but for FP32 (64 or 128 lanes) and the tensor cores (by their FP16 rates).",
        f"As many bytes go through DRAM, L2 and L1{l2}.",
        "L1 serves as many bytes an SM and clock; L2, too, or as many by its size where the architecture is the same.",
        f"DRAM sustains {copy_share:.0%} of its {target.dram_bytes_per_s / 1e9:.0f} GB/s, {dram}.",
        f"A pipe, or the issue slots, sustain {SUSTAINED:.0%} of their peak, or more if they did so on the source.",
        "L1 and L2 sustain their peak.",
        "Resources overlap as well as they did on the source.",
        "What their sum does not explain of the time takes as long, by the warps that the GPUs hold at once.",
        "Nothing is said of power limits, of what else runs on the GPU, or of launch overhead.",
    )


@dataclass(frozen=True, slots=True)
class Held:
    """A estimate held against a measurement on its target; NaN and "" stand for what was not measured."""

    version: str
    case: str
    dtype: str
    source_time_us: float
    estimated_time_us: float
    measured_time_us: float
    error_pct: float  # of the time: estimated over measured, less 1
    estimated_sm_pct: float
    measured_sm_pct: float
    estimated_dram_pct: float
    measured_dram_pct: float
    estimated_bottleneck: str
    measured_bottleneck: str


def hold(estimate: Estimate, key: tuple[str, str, str], measured: Mapping[str, float]) -> Held:
    """Return a estimate of (version, case, dtype) beside the figures that were measured on its target."""
    time_us = measured.get("time_us", math.nan)
    return Held(
        *key,
        source_time_us=estimate.source_time_us,
        estimated_time_us=estimate.time_us,
        measured_time_us=time_us,
        error_pct=100 * (estimate.time_us / time_us - 1),
        estimated_sm_pct=estimate.pct("sm_pct"),
        measured_sm_pct=measured.get("sm_pct", math.nan),
        estimated_dram_pct=estimate.pct("dram_pct"),
        measured_dram_pct=measured.get("dram_pct", math.nan),
        estimated_bottleneck=estimate.resource,
        measured_bottleneck=find_bottleneck(measured).resource,
    )
