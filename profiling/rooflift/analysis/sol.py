"""The speed of light (SOL) of a case: the least time that its bytes and its FLOP allow on the run's GPU. No files.

SOL time = max(memory term, compute term of each unit); SOL % = SOL time / time. Nothing else in rooflift says how fast
a case can be.

*Memory term*: the compulsory bytes, moved by the fastest kernel that does nothing else, timed in the rounds of the run:
"stream" reads and writes them in the case's own proportion, "copy" is a device copy of half and half. Runs from before
"stream" was timed have the copy alone. Where a run timed neither, the measured roof "DRAM copy" of the GPU stands in.

*Compute terms*, one a unit: FLOP over the measured rate of the unit. Where a case states its FLOP by unit, these are
the terms. Else all FLOP are those of torch's counter, which counts products alone (mm, convolution, attention), on the
unit that the operator may use for its dtype: the tensor cores in fp64, fp16, bf16, fp8 and int8; float32 has the FP32
pipe, since TF32 does not pass the check of the result unless the case allows it. This also holds for a depthwise
convolution. No kernel here computes one on the tensor cores, and as the product with a banded matrix it would do more
FLOP there than torch counts. But a bound may be too low and never too high: 16-bit products also go two at a time
through the FP32 pipe (HFMA2), so a version could stay below FLOP / FP32 rate, and 100 % would mean nothing. The FLOP
are those of the direct algorithm; one that needs fewer (Winograd, FFT, exponentials by polynomials) can be above 100 %
of a compute term.

A rate that was not measured on the GPU is its datasheet's: higher than what a kernel reaches, so the bound is lower.
Where neither is known and the FLOP are many, no SOL time is given: the memory term alone would be a false one.

A version above 100 % is suspect: its result may be wrong, or its time. The model is the roofline's (Williams, Waterman
and Patterson, CACM 52(4), 2009), with measured rates in place of the datasheet's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rooflift.dtypes import FP64, SPECIAL, UNITS, product_unit
from rooflift.project.gpus import spec_for_name
from rooflift.schema import ResolvedCase, Roofs

if TYPE_CHECKING:
    import pandas as pd

MEMORY = "memory"
PROVIDERS = {  # of timings.csv, that move the case's bytes and are no baselines
    "stream": "the compulsory bytes streamed in the case's mix of reads and writes, in this run",
    "copy": "a device copy of the compulsory bytes, in this run",
}
STAND_IN = "DRAM copy"  # the measured roof for a run that timed none of them
NO_FLOP = (SPECIAL, "INT8 tensor")  # units whose operations are none of floating-point numbers, or more than one each
SUSPECT_PCT = 100.0  # above it a result is suspect
# FLOP a compulsory byte up to which memory binds on every GPU whose tensor cores or FP32 pipe do the work: the least
# ratio of the FP32 rate to the bandwidth among the GPU specs is 9.4 (B200).
MEMORY_BINDS_BELOW = 5.0


@dataclass(frozen=True, slots=True)
class Term:
    """What takes `time_us` at least: `work` in bytes, FLOP or special functions, and where the rate comes from."""

    time_us: float
    work: float
    source: str
    by: str = ""  # of the memory term: the provider or the roof


@dataclass(frozen=True, slots=True)
class SpeedOfLight:
    """The terms of one case and dtype on one GPU; its time is NaN where a term that may bind is not known.

    >>> sol = SpeedOfLight(Term(100.0, 3e8, "a copy"), {"FP32": Term(40.0, 2.4e9, "the FP32 rate")})
    >>> sol.time_us, sol.binds, sol.pct(125.0)
    (100.0, 'memory', 80.0)
    """

    memory: Term
    compute: Mapping[str, Term] = field(default_factory=dict)  # by unit
    absent: str = ""  # which term there is not, and why
    unknown: bool = False  # what is absent may be the term that binds

    @property
    def binds(self) -> str:
        """The term that takes longest: "memory" or a unit; "" when one that may bind is not known."""
        if self.unknown or math.isnan(self.memory.time_us):
            return ""
        return max(self._terms, key=lambda name: self._terms[name].time_us)

    @property
    def binding(self) -> Term:
        """The term that binds; one of NaN us when it is not known."""
        return self._terms.get(self.binds) or Term(math.nan, math.nan, "" if self.unknown else self.memory.source)

    @property
    def _terms(self) -> dict[str, Term]:
        return {MEMORY: self.memory, **self.compute}

    @property
    def time_us(self) -> float:
        """SOL time: no version can take less."""
        return self.binding.time_us

    @property
    def source(self) -> str:
        """Where the binding term comes from, and why there is no other."""
        return "; ".join(filter(None, (self.binding.source, self.absent)))

    def pct(self, time_us: float) -> float:
        """Return SOL % of a version's time."""
        return 100 * self.time_us / time_us

    def achieved_per_s(self, time_us: float) -> float:
        """Return the bytes/s or FLOP/s of the binding term that a version reaches."""
        return self.binding.work / time_us * 1e6 if self.binds else math.nan


UNKNOWN_CASE = SpeedOfLight(Term(math.nan, math.nan, "the case is not known"))


def speed_of_light(
    case: ResolvedCase, timings: pd.DataFrame, measured: Roofs | None = None, gpu: str = ""
) -> SpeedOfLight:
    """Return the terms of a case by the run's timings, the measured roofs of its GPU, and that GPU's datasheet."""
    rates = {row.name: row.per_s for row in measured.rows} if measured else {}
    date = f"measured {measured.created[:10]}" if measured else ""
    memory = _memory(case, timings, rates, date)
    work = flop_by_unit(case)
    if not work:
        return SpeedOfLight(memory, absent=f"no compute term: FLOP by {case.flop_source or 'no count'} alone")
    published = _published(gpu or (measured.machine.gpu if measured else ""))
    compute: dict[str, Term] = {}
    missing: list[str] = []
    for unit, flop in work.items():
        amount = f"{flop / 1e9:.4g} {'Gop' if unit in NO_FLOP else 'GFLOP'} at the {unit} rate"
        if unit in rates:
            compute[unit] = Term(flop / rates[unit] * 1e6, flop, f"{amount}, {date}")
        elif unit in published:
            source = f"{amount} of the datasheet, as it was not measured on this GPU"
            compute[unit] = Term(flop / published[unit] * 1e6, flop, source)
        else:
            missing.append(unit)
    unknown = [unit for unit in missing if not _memory_binds(unit, work[unit] / case.bytes_known)]
    absent = f"no term of {' and '.join(missing)}: its rate on this GPU is not known; `rooflift roofs` measures it"
    return SpeedOfLight(memory, compute, absent if missing else "", unknown=bool(unknown))


def flop_by_unit(case: ResolvedCase) -> dict[str, int]:
    """Return a case's FLOP by the unit that may do them; {} where they are not known.

    >>> flop_by_unit(ResolvedCase("main", "bfloat16", {}, [], 1, 2 * 4096**3, "torch's FLOP counter"))
    {'BF16 tensor': 137438953472}
    """
    if case.flop_by_unit or case.flop is None:
        return case.flop_by_unit
    return {product_unit(case.dtype, allow_tf32=case.allow_tf32): case.flop}


def _published(gpu: str) -> dict[str, float]:
    spec = spec_for_name(gpu)
    found = {unit: getattr(spec, field) for unit, field in UNITS.items()} if spec else {}
    return {unit: per_s for unit, per_s in found.items() if per_s}


def _memory_binds(unit: str, flop_per_byte: float) -> bool:
    return flop_per_byte < MEMORY_BINDS_BELOW and not unit.startswith(FP64) and unit != SPECIAL


def _memory(case: ResolvedCase, timings: pd.DataFrame, rates: Mapping[str, float], date: str) -> Term:
    nbytes = case.bytes_known
    own = timings[(timings["case"] == case.case) & (timings["dtype"] == case.dtype)]
    own = own[own["provider"].isin(PROVIDERS)].set_index("provider")["median_us"]
    if len(own):
        by = str(own.idxmin())
        return Term(float(own[by]), nbytes, PROVIDERS[by], by)
    if STAND_IN in rates:
        return Term(nbytes / rates[STAND_IN] * 1e6, nbytes, f"{STAND_IN}, {date}", STAND_IN)
    return Term(math.nan, nbytes, "neither the case's bytes nor the roofs of this GPU were timed")


def rate_text(per_s: float, binds: str) -> str:
    """Return a rate of the binding term as people read it, "" when it is not known.

    >>> rate_text(2.95e12, "memory"), rate_text(781e12, "BF16 tensor")
    ('2950 GB/s', '781.0 TFLOP/s')
    """
    if not binds or math.isnan(per_s):
        return ""
    if binds == MEMORY:
        return f"{per_s / 1e9:.0f} GB/s"
    return f"{per_s / 1e12:.{2 if binds == SPECIAL else 1}f} {'Top/s' if binds in NO_FLOP else 'TFLOP/s'}"


def suspicion(pct: float) -> str:
    """Return what to say of a SOL % above 100, "" of any other."""
    return f"Suspect: {pct:.1f} % of SOL; check the result and the timing." if pct > SUSPECT_PCT else ""
