"""GPU specs: the published figures of a card, read from gpus.toml; asks no driver and measures nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from rooflift.errors import CatalogError, did_you_mean

LIMITS_SOURCE = "NVIDIA CUDA C++ Programming Guide, Technical Specifications per Compute Capability"
LIMITS = frozenset(
    (
        "registers_per_sm",
        "max_registers_per_thread",
        "max_threads_per_block",
        "max_threads_per_sm",
        "max_warps_per_sm",
        "max_blocks_per_sm",
        "warp_size",
        "shared_bytes_per_sm",
        "max_shared_bytes_per_block",
    )
)
SAME = 0.01  # a spec's figure this near to the driver's is the same figure, rounded


class GpuSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The published figures of one card, dense and in base units; None where its maker publishes no figure.

    `source` names the datasheet or whitepaper; `matches` are the names under which the driver reports the card.
    """

    name: str
    matches: tuple[str, ...]
    architecture: str
    compute_capability: str
    sm_count: int
    dram_bytes_per_s: float
    fp32_flops_per_s: float
    tf32_flops_per_s: float | None = None
    fp16_flops_per_s: float | None = None  # tensor rate, fp32 accumulation
    bf16_flops_per_s: float | None = None  # tensor rate, fp32 accumulation
    fp8_flops_per_s: float | None = None  # tensor rate, fp32 accumulation
    int8_ops_per_s: float | None = None  # tensor rate
    fp64_flops_per_s: float | None = None
    fp64_tensor_flops_per_s: float | None = None
    registers_per_sm: int
    max_registers_per_thread: int
    max_threads_per_block: int
    max_threads_per_sm: int
    max_warps_per_sm: int
    max_blocks_per_sm: int
    warp_size: int
    shared_bytes_per_sm: int
    max_shared_bytes_per_block: int
    l2_bytes: int | None = None
    boost_clock_hz: float | None = None
    source: str
    sources: dict[str, str] = {}  # of the fields that `source` does not speak of

    def source_of(self, field: str) -> str:
        """Return where a figure comes from."""
        return self.sources.get(field) or (LIMITS_SOURCE if field in LIMITS else self.source)

    @property
    def fp32_lanes_per_sm(self) -> int:
        """FP32 multiply-adds of one SM and clock (CUDA C++ Programming Guide, Arithmetic Instructions)."""
        return fp32_lanes(self.compute_capability)

    @property
    def special_ops_per_s(self) -> float:
        """Results of the special functions: 16 of an SM and clock (the same table), for ex2, lg2, rcp, rsqrt, sin."""
        return 16 * self.sm_count * self.sm_clock_hz

    @property
    def sm_clock_hz(self) -> float:
        """The clock at which the FP32 rate is quoted: the boost clock, or what follows from that rate."""
        return self.boost_clock_hz or self.fp32_flops_per_s / (2 * self.fp32_lanes_per_sm * self.sm_count)

    @property
    def target(self) -> int:
        """The compile target of this card as one number: 90 for compute capability 9.0."""
        return int(self.compute_capability.replace(".", ""))


FP64_LANES = {"7.0": 32, "7.5": 2, "8.0": 32, "8.6": 2, "8.9": 2, "9.0": 64}  # of an SM, the same table
ARCHITECTURES = {"7.0": "Volta", "7.2": "Volta", "7.5": "Turing", "8.9": "Ada", "8": "Ampere", "9": "Hopper"}


def fp32_lanes(compute_capability: str) -> int:
    """Return the FP32 multiply-adds of one SM and clock (CUDA C++ Programming Guide, Arithmetic Instructions)."""
    return 64 if compute_capability.startswith(("7.", "8.0")) else 128


def spec_of_report(gpu: str, figures: Mapping[str, float | str]) -> GpuSpec | None:
    """Return a spec of a card that has none here, from what a report says of it; None where that is too little.

    Rates are lanes x 2 x SMs x clock, the bandwidth is that of the memory clock and the bus: both are peaks of the
    driver's clocks, not a data sheet's. Nothing of the tensor cores is known.
    """
    capability = str(figures.get("compute_capability", ""))
    sms, clock = figures.get("sm_count"), figures.get("boost_clock_hz")
    needed = [field for field in LIMITS if field not in figures]
    if not gpu or needed or not capability or "dram_bytes_per_s" not in figures:
        return None
    if not isinstance(sms, int | float) or not isinstance(clock, int | float) or not sms or not clock:
        return None
    lanes = FP64_LANES.get(capability)
    fields = GpuSpec.__struct_fields__
    told = {name: int(value) if name in LIMITS else value for name, value in figures.items() if name in fields}
    told |= {"sm_count": int(sms), "compute_capability": capability}
    known = ARCHITECTURES.get(capability) or ARCHITECTURES.get(capability.partition(".")[0], "")
    return GpuSpec(
        name=gpu,
        matches=(gpu,),
        architecture=known or f"compute capability {capability}",
        fp32_flops_per_s=2.0 * fp32_lanes(capability) * sms * clock,
        fp64_flops_per_s=2.0 * lanes * sms * clock if lanes else None,
        source="the attributes in its report, at the driver's clocks",
        **told,  # type: ignore[arg-type]  # each of the type that its field has: the reader takes numbers alone
    )


@cache
def specs() -> dict[str, GpuSpec]:
    """Return every spec by its key (`h100_sxm`), in the order of gpus.toml."""
    text = resources.files("rooflift.project").joinpath("gpus.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, GpuSpec])


def spec_for_name(driver_name: str) -> GpuSpec | None:
    """Return the spec of the card that the driver calls `driver_name`, or None for a card without a spec.

    The whole name must agree, but for case and the vendor: an "RTX 4090 Laptop GPU", an "H100 NVL" or a MIG slice
    ("H100 80GB HBM3 MIG 1g.10gb") has other figures than the card whose name it contains.
    """
    wanted = _bare(driver_name)
    return next((spec for spec in specs().values() if wanted in map(_bare, spec.matches)), None)


def spec_for_key(key: str) -> GpuSpec:
    """Return the spec of a key, or the first whose key begins with it: `h100` -> H100 SXM.

    Raises CatalogError for an unknown key; near ones are suggested.
    """
    for known, spec in specs().items():
        if key and key in (known, known.partition("_")[0]):
            return spec
    raise CatalogError(f"no GPU spec {key!r}", did_you_mean(key, specs()))


def overruled(spec: GpuSpec, seen: Mapping[str, float | str], where: str) -> tuple[GpuSpec, list[str]]:
    """Return the spec with what a report says of the card in its place, and each contradiction in words.

    `seen` are fields of the spec as the driver told them; `where` names the report.
    """
    replaced: dict[str, float | str] = {}
    contradictions: list[str] = []
    for field, told in seen.items():
        said = getattr(spec, field)
        close = isinstance(said, float | int) and not isinstance(told, str) and math.isclose(said, told, rel_tol=SAME)
        if said == told or (close and isinstance(said, float)):
            continue
        replaced[field] = told
        if said is not None:
            contradictions.append(f"{field} is {told} in {where} and {said} in the spec of {spec.name}")
    sources = spec.sources | dict.fromkeys(replaced, f"the driver, as {where} holds it")
    return msgspec.structs.replace(spec, sources=sources, **replaced), contradictions


def spec_for_target(sm: int) -> GpuSpec:
    """Return the spec whose SM limits stand for the compile target `sm`: 89 -> RTX 4090, 90 -> H100 SXM.

    Raises CatalogError for a target without a spec.
    """
    by_target = {spec.target: spec for spec in reversed(specs().values())}  # the first of a target wins
    if sm not in by_target:
        known = ", ".join(f"sm_{target}" for target in sorted(by_target))
        raise CatalogError(f"No GPU spec stands for the compile target sm_{sm}.", f"Known: {known}.")
    return by_target[sm]


def _bare(driver_name: str) -> str:
    return driver_name.casefold().removeprefix("nvidia ").strip()
