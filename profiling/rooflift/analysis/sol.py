"""The speed of light (SOL) of a case: the least time that its bytes and its FLOP allow on the run's GPU. No files.

SOL time = max(memory term, compute term of each unit); SOL % = SOL time / time. Nothing else in rooflift says how fast
a case can be.

*Memory term*: the compulsory bytes, moved by the fastest kernel that does nothing else, timed in the rounds of the run:
"stream" reads and writes them in the case's own proportion, "copy" is a device copy of half and half. Runs from before
"stream" was timed have the copy alone. Where a run timed neither, the measured roof "DRAM copy" of the GPU stands in.

*Compute term*: FLOP over the measured rate of the unit that the operator may use for its dtype. torch's counter counts
products alone (mm, convolution, attention), which the tensor cores multiply in 16 bits; float32 has the FP32 pipe,
since TF32 does not pass the check of the result. This also holds for a depthwise convolution. No kernel here computes
one on the tensor cores, and as the product with a banded matrix it would do more FLOP there than torch counts. But a
bound may be too low and never too high: 16-bit products also go two at a time through the FP32 pipe (HFMA2), so a
version could stay below FLOP / FP32 rate, and 100 % would mean nothing. The FLOP are those of the direct algorithm;
one that needs fewer (Winograd, FFT) can be above 100 % of a compute term.

A version above 100 % is suspect: its result may be wrong, or its time. The model is the roofline's (Williams, Waterman
and Patterson, CACM 52(4), 2009), with measured rates in place of the datasheet's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rooflift.dtypes import product_unit
from rooflift.schema import ResolvedCase, Roofs

if TYPE_CHECKING:
    import pandas as pd

MEMORY = "memory"
PROVIDERS = {  # of timings.csv, that move the case's bytes and are no baselines
    "stream": "the compulsory bytes streamed in the case's mix of reads and writes, in this run",
    "copy": "a device copy of the compulsory bytes, in this run",
}
STAND_IN = "DRAM copy"  # the measured roof for a run that timed none of them
SUSPECT_PCT = 100.0  # above it a result is suspect


@dataclass(frozen=True, slots=True)
class Term:
    """What takes `time_us` at least: `work` in bytes or FLOP, and where the rate comes from."""

    time_us: float
    work: float
    source: str
    by: str = ""  # of the memory term: the provider or the roof


@dataclass(frozen=True, slots=True)
class SpeedOfLight:
    """The terms of one case and dtype on one GPU; NaN times where no memory term is known.

    >>> sol = SpeedOfLight(Term(100.0, 3e8, "a copy"), {"FP32": Term(40.0, 2.4e9, "the FP32 rate")})
    >>> sol.time_us, sol.binds, sol.pct(125.0)
    (100.0, 'memory', 80.0)
    """

    memory: Term
    compute: Mapping[str, Term] = field(default_factory=dict)  # by unit
    absent: str = ""  # why there is no compute term

    @property
    def binds(self) -> str:
        """The term that takes longest: "memory" or a unit; "" when the memory term is not known."""
        if math.isnan(self.memory.time_us):
            return ""
        terms = {MEMORY: self.memory, **self.compute}
        return max(terms, key=lambda name: terms[name].time_us)

    @property
    def binding(self) -> Term:
        """The term that binds."""
        return self.compute.get(self.binds, self.memory)

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


def speed_of_light(case: ResolvedCase, timings: pd.DataFrame, measured: Roofs | None = None) -> SpeedOfLight:
    """Return the terms of a case by the run's timings and the measured roofs of its GPU, None without them."""
    rates = {row.name: row.per_s for row in measured.rows} if measured else {}
    date = f"measured {measured.created[:10]}" if measured else ""
    memory = _memory(case, timings, rates, date)
    unit = product_unit(case.dtype)
    if case.flop is None:
        return SpeedOfLight(memory, absent="no compute term: torch's FLOP counter does not know the operator")
    if measured is None:
        return SpeedOfLight(memory, absent="no compute term: the roofs of this GPU were not measured")
    if unit not in rates:
        return SpeedOfLight(memory, absent=f"no compute term: the {unit} rate of this GPU was not measured")
    source = f"{case.flop / 1e9:.4g} GFLOP at the {unit} rate, {date}"
    return SpeedOfLight(memory, {unit: Term(case.flop / rates[unit] * 1e6, case.flop, source)})


def _memory(case: ResolvedCase, timings: pd.DataFrame, rates: Mapping[str, float], date: str) -> Term:
    nbytes = float(case.compulsory_bytes)
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
    return f"{per_s / 1e9:.0f} GB/s" if binds == MEMORY else f"{per_s / 1e12:.1f} TFLOP/s"


def suspicion(pct: float) -> str:
    """Return what to say of a SOL % above 100, "" of any other."""
    return f"Suspect: {pct:.1f} % of SOL; check the result and the timing." if pct > SUSPECT_PCT else ""
