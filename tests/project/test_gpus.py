"""The GPU specs: figures that hold together, names that identify one card, targets that find their limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rooflift.errors import CatalogError
from rooflift.project.gpus import LIMITS, GpuSpec, overruled, spec_for_key, spec_for_name, spec_for_target, specs

# The GPU spec that the stage prompts of the original RTX 4090 work carry, in base units.
SEED_RTX4090 = {
    "architecture": "Ada Lovelace",
    "compute_capability": "8.9",
    "sm_count": 128,
    "dram_bytes_per_s": 1008e9,
    "tf32_flops_per_s": 82.6e12,
    "bf16_flops_per_s": 165.2e12,
    "fp16_flops_per_s": 165.2e12,
    "max_registers_per_thread": 255,
    "max_threads_per_block": 1024,
    "max_threads_per_sm": 1536,
    "warp_size": 32,
    "max_warps_per_sm": 48,
    "shared_bytes_per_sm": 100 * 1024,
    "max_shared_bytes_per_block": 99 * 1024,
    "l2_bytes": 72 * 2**20,
}

# device__attribute_* of an ncu report from an NVIDIA H100 80GB HBM3, driver 580.
DRIVER_H100 = {
    "sm_count": 132,
    "registers_per_sm": 65536,
    "max_registers_per_thread": 255,
    "max_threads_per_block": 1024,
    "max_threads_per_sm": 2048,
    "max_warps_per_sm": 64,
    "max_blocks_per_sm": 32,
    "warp_size": 32,
    "shared_bytes_per_sm": 233472,
    "max_shared_bytes_per_block": 232448,
    "l2_bytes": 52428800,
    "boost_clock_hz": 1980000e3,
}

EVERY_SHEET = pytest.mark.parametrize("key", list(specs()))


@pytest.mark.parametrize(("key", "figures"), [("rtx4090", SEED_RTX4090), ("h100_sxm", DRIVER_H100)])
def test_sheet_agrees_with_an_independent_record_of_the_card(key: str, figures: dict[str, object]) -> None:
    assert {field: getattr(specs()[key], field) for field in figures} == figures


def test_h100_bandwidth_is_its_memory_clock_times_its_bus() -> None:
    # 2619 MHz, two transfers a clock, 5120 bits: the same report's memory_clock_rate and global_memory_bus_width
    assert specs()["h100_sxm"].dram_bytes_per_s == pytest.approx(2619e6 * 2 * 5120 / 8, rel=1e-3)


@pytest.mark.parametrize("key", [key for key, spec in specs().items() if spec.boost_clock_hz])
def test_fp32_rate_is_two_flop_a_lane_and_clock(key: str) -> None:
    spec = specs()[key]
    assert spec.boost_clock_hz is not None
    lanes_per_sm = 64 if spec.target == 80 else 128
    assert spec.fp32_flops_per_s == pytest.approx(2 * lanes_per_sm * spec.sm_count * spec.boost_clock_hz, rel=0.01)


@EVERY_SHEET
def test_half_precision_tensor_rates_are_twice_tf32_as_they_are_when_all_are_dense(key: str) -> None:
    spec = specs()[key]
    assert spec.tf32_flops_per_s is not None
    assert spec.fp16_flops_per_s == pytest.approx(2 * spec.tf32_flops_per_s, rel=0.02)  # the L40S datasheet rounds
    assert spec.bf16_flops_per_s == spec.fp16_flops_per_s


@EVERY_SHEET
def test_limits_of_an_sm_hold_together(key: str) -> None:
    spec = specs()[key]
    assert spec.max_threads_per_sm == spec.max_warps_per_sm * spec.warp_size
    assert spec.shared_bytes_per_sm - spec.max_shared_bytes_per_block == 1024  # the driver's share of a block
    assert spec.source.startswith("NVIDIA")


@pytest.mark.parametrize(
    ("driver_name", "key"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA H100 80GB HBM3", "h100_sxm"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm_80gb"),
        ("A100-SXM4-80GB", "a100_sxm_80gb"),  # drivers before 470 leave the vendor out
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 3090", "rtx3090"),
        ("NVIDIA B200", "b200"),
    ],
)
def test_driver_name_finds_its_card(driver_name: str, key: str) -> None:
    assert spec_for_name(driver_name) is specs()[key]


@pytest.mark.parametrize(
    "driver_name",
    [
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA H100 NVL",
        "NVIDIA H200 NVL",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA L40",
        "Tesla T4",
        "",
    ],
)
def test_card_with_other_figures_finds_no_spec(driver_name: str) -> None:
    assert spec_for_name(driver_name) is None


@pytest.mark.parametrize(
    ("sm", "key"), [(80, "a100_sxm_80gb"), (86, "rtx3090"), (89, "rtx4090"), (90, "h100_sxm"), (100, "b200")]
)
def test_compile_target_finds_the_card_that_stands_for_it(sm: int, key: str) -> None:
    assert spec_for_target(sm) is specs()[key]


def test_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(CatalogError, match=r"sm_70.*\n.*sm_80, sm_86, sm_89, sm_90, sm_100"):
        spec_for_target(70)


@pytest.mark.parametrize(("key", "name"), [("h100", "h100_sxm"), ("h100_pcie", "h100_pcie"), ("rtx4090", "rtx4090")])
def test_key_finds_its_sheet_and_a_short_key_the_first_of_its_kind(key: str, name: str) -> None:
    assert spec_for_key(key) is specs()[name]


@pytest.mark.parametrize("key", ["rtx409", "", "h"])
def test_unknown_key_is_refused(key: str) -> None:
    with pytest.raises(CatalogError, match="no GPU spec"):
        spec_for_key(key)


@EVERY_SHEET
def test_every_figure_has_a_source(key: str) -> None:
    spec = specs()[key]
    assert set(spec.sources) | LIMITS <= set(GpuSpec.__struct_fields__)
    assert all(spec.source_of(field) for field in GpuSpec.__struct_fields__)
    assert "Programming Guide" in spec.source_of("registers_per_sm")


@EVERY_SHEET
def test_clock_follows_from_the_fp32_rate_where_none_is_published(key: str) -> None:
    spec = specs()[key]
    rate = 2 * spec.fp32_lanes_per_sm * spec.sm_count * spec.sm_clock_hz
    assert rate == pytest.approx(spec.fp32_flops_per_s, rel=0.01)


def test_what_a_report_says_overrules_the_sheet_and_a_contradiction_is_told() -> None:
    spec = specs()["h200"]
    found, told = overruled(spec, {"sm_count": 120, "boost_clock_hz": 1980e6, "l2_bytes": spec.l2_bytes or 0}, "a.rep")
    assert (found.sm_count, found.boost_clock_hz, found.l2_bytes) == (120, 1980e6, spec.l2_bytes)
    assert told == [f"sm_count is 120 in a.rep and 132 in the spec of {spec.name}"]  # a clock was not published
    assert "a.rep" in found.source_of("sm_count")
    assert found.source_of("l2_bytes") == spec.source_of("l2_bytes")


def test_a_rounded_bandwidth_is_no_contradiction() -> None:
    found, told = overruled(specs()["h100_sxm"], {"dram_bytes_per_s": 3352.32e9}, "a.rep")
    assert (found, told) == (specs()["h100_sxm"], [])


def test_reading_the_sheets_imports_nothing_heavy() -> None:
    asks = "import sys, rooflift.project.gpus as g; g.specs(); print({'torch', 'triton', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
