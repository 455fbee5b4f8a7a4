"""What a child process is told to do, and what it says back. Shapes only: no torch, no files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from rooflift.collect.correctness import Mismatch
from rooflift.collect.operators import CasePlan
from rooflift.records import CheckRecord, GpuState, Sampling

RANGE = "rooflift"  # the NVTX range that ncu is told to profile
SEPARATOR = "|"
AGAIN = " again"  # behind the name of a version that is timed a second time; no version's name holds a space
GPU_LOCK = "gpu.lock"  # the two children of one run take turns on the GPU


class Plan(msgspec.Struct, frozen=True):
    """plan.json: files are relative to the staging folder, which is also the working directory."""

    reference: str
    versions: dict[str, str]  # name -> file
    work: list[CasePlan]  # checked and timed
    seeds: list[int]
    sampling: Sampling
    counted: list[CasePlan] = []  # profiled: some of the work, or all of it
    checked: bool = False  # by processes before: timing and profiling need not check again
    slow_peers: bool = False
    noise: bool = False  # the last version is timed under two names
    count_flop: bool = False  # torch's counter takes seconds to import; a run of the same reference may have asked it


Task = Literal["profile", "time", "check"]
WHOLE = "0/1"  # the shard that is all of the work


def shard(work: Sequence[CasePlan], part: str) -> list[CasePlan]:
    """Return the part "2/8" of the work, the third of eight: the cases are dealt out in turn, the largest first."""
    index, count = map(int, part.split("/"))
    largest_first = sorted(work, key=lambda case: sum(map(math.prod, case.inputs or [])), reverse=True)
    return largest_first[index::count] if count > 1 else list(work)


class Doing(msgspec.Struct, frozen=True, tag=True):
    """A line of progress."""

    text: str


class Checked(msgspec.Struct, frozen=True, tag=True):
    """A version agreed with the reference."""

    record: CheckRecord


class Wrong(msgspec.Struct, frozen=True, tag=True):
    """A version did not agree; the child stops after it."""

    mismatch: Mismatch


class Broken(msgspec.Struct, frozen=True, tag=True):
    """A version did not compile or run; the child stops after it."""

    version: str
    case: str
    dtype: str
    compiling: bool
    message: str


class CaseSeen(msgspec.Struct, frozen=True, tag=True):
    """Arguments and traffic of a case as the reference's tensors have them."""

    plan: CasePlan
    shapes: list[list[int]]
    compulsory_bytes: int


class Counted(msgspec.Struct, frozen=True, tag=True):
    """FLOP of a case by torch's counter, None where it knows no formula."""

    case: str
    dtype: str
    flop: int | None


class Samples(msgspec.Struct, frozen=True, tag=True):
    """All times of one subject, in microseconds, one a round."""

    subject: str
    case: str
    dtype: str
    times_us: list[float]
    positions: list[int]  # the place that the subject had in each round, from 0


class State(msgspec.Struct, frozen=True, tag=True):
    """The GPU's clocks, temperature, power and throttle reasons at one moment."""

    record: GpuState


class LeftOut(msgspec.Struct, frozen=True, tag=True):
    """A peer that could not be timed."""

    subject: str
    case: str
    dtype: str
    error: str  # the exception's type: what it says may name places of the machine


class Device(msgspec.Struct, frozen=True, tag=True):
    """The GPU and the software as the child sees them."""

    gpu: str
    compute_capability: str
    sm_count: int
    l2_bytes: int
    memory_bytes: int
    cuda: str
    torch: str
    triton: str
    python: str


Event = Doing | Checked | Wrong | Broken | CaseSeen | Counted | Samples | State | LeftOut | Device


def range_name(version: str, plan: CasePlan) -> str:
    """Return the name of the inner NVTX range, which carries what was measured into the report."""
    return SEPARATOR.join((version, plan.case, plan.dtype))
