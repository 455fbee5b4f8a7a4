"""The speed of light: the term that takes longest, at measured rates, with its source in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from rooflift.analysis.selection import advise, figures, of, select
from rooflift.analysis.sol import MEMORY, MEMORY_BINDS_BELOW, SpeedOfLight, Term, rate_text, speed_of_light, suspicion
from rooflift.analysis.suite import suite
from rooflift.analysis.summary import summarize
from rooflift.project.gpus import specs
from rooflift.runs.run import read_run
from rooflift.schema import Manifest, ResolvedCase, Roofs

TimingsOf = Callable[[Mapping[tuple[str, str, str], float]], pd.DataFrame]
RoofsOf = Callable[..., Roofs]


def case(dtype: str = "float32", flop: int | None = None, nbytes: int = 2_950_000_000) -> ResolvedCase:
    return ResolvedCase("main", dtype, {}, [[250]], nbytes, flop, "")


@pytest.fixture
def timed(timings_of: TimingsOf) -> Callable[..., pd.DataFrame]:
    """Return a function: the times of a case by provider, in float32 or another dtype."""
    return lambda dtype="float32", **times: timings_of({(name, "main", dtype): us for name, us in times.items()})


def test_memory_term_is_the_faster_of_stream_and_copy(timed: Callable[..., pd.DataFrame]) -> None:
    faster = speed_of_light(case(), timed(v0_a=2.0, copy=11.0, stream=10.0))
    slower = speed_of_light(case(), timed(v0_a=2.0, copy=10.0, stream=11.0))
    assert [(sol.time_us, sol.memory.by) for sol in (faster, slower)] == [(10.0, "stream"), (10.0, "copy")]
    assert "mix of reads and writes" in faster.source
    assert "device copy" in slower.source


def test_run_from_before_stream_was_timed_has_its_copy(timed: Callable[..., pd.DataFrame]) -> None:
    sol = speed_of_light(case(), timed(copy=10.0))
    assert (sol.time_us, sol.binds, sol.pct(12.5)) == (10.0, MEMORY, 80.0)
    assert sol.achieved_per_s(1000.0) == pytest.approx(2.95e12)


def test_times_of_another_case_or_dtype_are_no_memory_term(timed: Callable[..., pd.DataFrame]) -> None:
    sol = speed_of_light(case(), timed("float16", copy=10.0, stream=9.0))
    assert math.isnan(sol.time_us)
    assert (sol.binds, math.isnan(sol.pct(5.0)), math.isnan(sol.achieved_per_s(5.0))) == ("", True, True)


def test_without_a_copy_in_the_run_the_measured_roof_stands_in(
    timed: Callable[..., pd.DataFrame], h100_roofs: RoofsOf
) -> None:
    sol = speed_of_light(case(), timed(v0_a=2.0), h100_roofs())
    assert sol.time_us == pytest.approx(1000)
    assert sol.source.startswith("DRAM copy, measured 2026-11-22")


@pytest.mark.parametrize(
    ("dtype", "unit", "rate"),
    [("float32", "FP32", 61e12), ("float16", "FP16 tensor", None), ("bfloat16", "BF16 tensor", None)],
)
def test_products_are_at_the_rate_of_the_unit_that_may_multiply_the_dtype(
    timed: Callable[..., pd.DataFrame], h100_roofs: RoofsOf, dtype: str, unit: str, rate: float | None
) -> None:
    measured = h100_roofs()
    per_s = {row.name: row.per_s for row in measured.rows}[unit]
    assert rate in (None, per_s)
    flop = int(per_s * 50e-6)
    sol = speed_of_light(case(dtype, flop), timed(dtype, copy=10.0), measured)
    assert (sol.time_us, sol.binds) == (pytest.approx(50), unit)
    assert f"at the {unit} rate, measured 2026-11-22" in sol.source
    assert sol.achieved_per_s(100.0) == pytest.approx(flop / 100e-6)
    assert speed_of_light(case(dtype, flop), timed(dtype, copy=51.0), measured).binds == MEMORY


def test_a_compute_term_that_is_absent_says_why(timed: Callable[..., pd.DataFrame], h100_roofs: RoofsOf) -> None:
    times = timed(copy=10.0)
    assert "no compute term: FLOP by no count alone" in speed_of_light(case(), times, h100_roofs()).source
    uncounted = ResolvedCase("main", "float32", {}, [], 1, None, "ncu's counters (torch's took longer than 20 s)")
    assert "torch's took longer than 20 s" in speed_of_light(uncounted, times, h100_roofs()).source


def test_each_unit_that_a_case_states_is_a_term_of_its_own(
    timed: Callable[..., pd.DataFrame], h100_roofs: RoofsOf
) -> None:
    """Causal attention: half of the products, and exponentials that no tensor core computes."""
    rates = {row.name: row.per_s for row in h100_roofs().rows}
    units = {"BF16 tensor": int(rates["BF16 tensor"] * 40e-6), "special functions": int(16 * 132 * 1.98e9 * 60e-6)}
    stated = ResolvedCase("main", "bfloat16", {}, [], 1000, units["BF16 tensor"], "", flop_by_unit=units)
    sol = speed_of_light(stated, timed("bfloat16", copy=10.0), h100_roofs())
    assert {name: term.time_us for name, term in sol.compute.items()} == pytest.approx(
        {"BF16 tensor": 40, "special functions": 60}
    )
    assert sol.binds == "special functions"
    assert "datasheet" in sol.source  # h100_roofs has no such row; the guide says 16 of an SM and clock
    assert rate_text(sol.achieved_per_s(120.0), sol.binds) == "2.09 Top/s"


def test_tf32_is_the_unit_of_float32_only_where_the_case_allows_it(
    timed: Callable[..., pd.DataFrame], h100_roofs: RoofsOf
) -> None:
    allowed = ResolvedCase("main", "float32", {}, [], 1000, 10**12, "", allow_tf32=True)
    assert speed_of_light(allowed, timed(copy=1.0), h100_roofs()).binds == "TF32 tensor"
    assert speed_of_light(case(flop=10**12), timed(copy=1.0), h100_roofs()).binds == "FP32"


def test_a_rate_that_nobody_measured_is_the_datasheets(timed: Callable[..., pd.DataFrame]) -> None:
    """A bound that is too low, and no memory term that hides the products: a matmul stood at 22 % by that alone."""
    sol = speed_of_light(case("bfloat16", 2 * 4096**3), timed("bfloat16", copy=38.0), gpu="NVIDIA H100 80GB HBM3")
    assert (sol.binds, sol.time_us) == ("BF16 tensor", pytest.approx(2 * 4096**3 / 989.4e12 * 1e6))
    assert "of the datasheet, as it was not measured on this GPU" in sol.source


def test_where_no_rate_is_known_a_case_of_many_flop_has_no_percentage(timed: Callable[..., pd.DataFrame]) -> None:
    times = timed("bfloat16", copy=38.0)
    many = speed_of_light(case("bfloat16", 2 * 4096**3, nbytes=100_663_296), times, gpu="NVIDIA Unheard")
    assert (many.binds, math.isnan(many.pct(180.0)), many.memory.time_us) == ("", True, 38.0)
    assert many.source.startswith("no term of BF16 tensor")
    assert "`rooflift roofs`" in many.source
    few = speed_of_light(case("bfloat16", 10**9), times, gpu="NVIDIA Unheard")  # a third of a FLOP a byte
    assert (few.binds, few.time_us) == (MEMORY, 38.0)
    assert "no term of BF16 tensor" in few.source


def test_memory_binds_on_every_gpu_spec_where_it_is_taken_to() -> None:
    assert all(spec.fp32_flops_per_s / spec.dram_bytes_per_s > MEMORY_BINDS_BELOW for spec in specs().values())


def test_a_term_cannot_be_altered() -> None:
    with pytest.raises(AttributeError):
        SpeedOfLight(Term(1.0, 1.0, "")).memory = Term(2.0, 2.0, "")  # type: ignore[misc]


def test_only_what_is_above_100_percent_is_suspect() -> None:
    assert (suspicion(100.0), suspicion(math.nan)) == ("", "")
    assert "100.3 % of SOL" in suspicion(100.3)
    assert rate_text(math.nan, MEMORY) == rate_text(1.0, "") == ""


def test_table_suite_and_advice_agree_on_a_compute_bound_case(
    manifest_of: Callable[..., Manifest], timings_of: TimingsOf, h100_roofs: RoofsOf
) -> None:
    """A large matrix product in 16 bits, as a matmul on the H100: the copy alone would call it 22 %."""
    rate = {row.name: row.per_s for row in h100_roofs().rows}["BF16 tensor"]
    manifest = manifest_of({"v0_a": []}, [("main", "bfloat16", int(rate * 160e-6))])
    key = ("main", "bfloat16")
    times = timings_of({("v0_a", *key): 200.0, ("torch_eager", *key): 180.0, ("copy", *key): 44.0})
    (row,) = summarize(manifest, pd.DataFrame(columns=["version"]), times, h100_roofs()).to_dict("records")
    (beside,) = suite(manifest, times, h100_roofs()).to_dict("records")
    assert row["sol_pct"] == pytest.approx(80)
    assert (row["sol_binds"], row["memory_us"], row["memory_by"]) == ("BF16 tensor", 44.0, "copy")
    assert [beside["sol_pct"], beside["baseline_pct"]] == pytest.approx([80, 100 * 160 / 180])


def test_table_and_advice_agree_where_they_once_did_not(checkout: Path) -> None:
    """In 16 bits a large filter computes long enough for the FP32 pipe to bind, were it the unit for its products."""
    run = read_run(checkout / "reports" / "depthwise_conv2d" / "2026-11-22-h200-b33bb9d")
    about = select(run, "v20", "k7_56", "float16")
    found, row = advise(run, about), of(figures(run), about)
    assert (found.sol_pct, found.sol_binds) == (row["sol_pct"], row["sol_binds"])
    assert (row["sol_pct"], row["sol_binds"]) == (pytest.approx(77.0, abs=0.1), MEMORY)
