"""What a child process is told to do, and what it says back. Shapes only: no torch, no files."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from rooflift.project.cases import Case
from rooflift.project.space import Value
from rooflift.region import SEPARATOR
from rooflift.schema import (
    CheckRecord,
    CompiledKernel,
    GpuState,
    MachineCode,
    MeasureOptions,
    ResolvedCase,
    RoofRow,
    Sampling,
)

LAUNCH_PLANS = "launch_plans"  # the folder with those of versions that are replayed
GPU_LOCK = "gpu.lock"  # the two children of one run take turns on the GPU
FAR = 1e300  # stands for an infinite error, which JSON cannot hold
FEWEST_SAMPLES = 25
BUDGET_S = 3.0  # GPU time of all the providers of a case
PRECISE_BUDGET_S = 10.0  # where a precision is asked for


class Mismatch(msgspec.Struct, frozen=True):
    """The worst element of a wrong result."""

    version: str
    case: str
    dtype: str
    seed: int
    index: list[int]  # [] when the shape or the dtype already differs
    expected: str
    got: str
    error_over_tolerance: float
    wrong_elements: int
    elements: int
    place: str = ""  # which of several results: "[1]", "input 0 afterwards"
    missing: tuple[str, ...] = ()  # parameters of the reference that the version has no place for


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """plan.json: files are relative to the staging folder, which is also the working directory."""

    reference: str = "reference.py"
    versions: dict[str, str] = {}  # name -> file
    dispatch: str = ""  # the file of the operator's dispatch, checked and timed like a version; "" for none
    baselines: str = ""  # the file of the operator's own baselines; "" for none
    work: list[Case]  # checked, timed, compiled or sanitized
    profiled: list[Case] = []  # some of the work, or all of it
    options: MeasureOptions = MeasureOptions()
    sampling: Sampling | None = None  # None where nothing is timed
    checked: bool = False  # by processes before: the one that times need not check again
    replayed: bool = False  # versions are launch plans below launch_plans/, and their files are not loaded
    trusted: list[str] = []  # versions that are loaded even so
    targets: list[int] = []  # compiled for, 90 for sm_90
    listed: bool = False  # what is compiled is listed by instruction
    configurations: dict[str, dict[str, Value]] = {}  # by the name of a version: what its parameters are set to
    leave_out: bool = False  # a version that is wrong or does not run is left out, and the others go on
    known: list[ResolvedCase] = []  # of runs of the same reference, whose FLOP need not be counted again


Task = Literal[
    "check",
    "record",
    "time",
    "profile",
    "compile",
    "sanitize",
    "roofs",
    "candidate",
    "replay",
    "recompile",
    "judge",
    "small",
    "kernelbench",
    "configurations",
    "fit",
    "tune",
]
UnfitStage = Literal["compile", "launch", "run", "result"]
WHOLE = "0/1"  # the shard that is all of the work


def shard(work: Sequence[Case], part: str) -> list[Case]:
    """Return the part "2/8" of the work, the third of eight: the cases are dealt out in turn, the largest first."""
    index, count = map(int, part.split("/"))
    largest_first = sorted(work, key=lambda case: sum(map(math.prod, case.shapes)), reverse=True)
    return largest_first[index::count] if count > 1 else list(work)


class Doing(msgspec.Struct, frozen=True, tag=True):
    """A line of progress."""

    text: str


class Checked(msgspec.Struct, frozen=True, tag=True):
    """A version agreed with the reference."""

    record: CheckRecord


class Wrong(msgspec.Struct, frozen=True, tag=True):
    """A version did not agree; the child goes on without it, or stops."""

    mismatch: Mismatch


class Broken(msgspec.Struct, frozen=True, tag=True):
    """A version did not compile or run; the child goes on without it, or stops."""

    version: str
    case: str
    dtype: str
    compiling: bool
    message: str


class Gap(msgspec.Struct, frozen=True, tag=True):
    """A version needs what Triton's interpreter lacks: the child goes on without this comparison."""

    version: str
    case: str
    dtype: str
    lacks: str


class Resolved(msgspec.Struct, frozen=True, tag=True):
    """What the reference's tensors say of a case that was timed."""

    case: ResolvedCase


class Samples(msgspec.Struct, frozen=True, tag=True):
    """All times of one provider, in microseconds, one a round."""

    provider: str
    repeat: int  # 1: the same provider timed a second time, for the noise; else 0
    case: str
    dtype: str
    times_us: list[float]
    positions: list[int]  # the place that the provider had in each round, from 0


class Code(msgspec.Struct, frozen=True, tag=True):
    """The machine code of a version on a case."""

    record: MachineCode


class State(msgspec.Struct, frozen=True, tag=True):
    """The GPU's clocks, temperature, power and throttle reasons at one moment."""

    record: GpuState


class LeftOut(msgspec.Struct, frozen=True, tag=True):
    """A baseline that could not be timed."""

    provider: str
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
    card: str = ""


class Compiled(msgspec.Struct, frozen=True, tag=True):
    """One kernel of a version, compiled for one target, and its instructions where the plan asks for them."""

    kernel: CompiledKernel
    instructions: list[tuple[str, int, int, str]] = []  # file, line, offset, SASS


class NoKernel(msgspec.Struct, frozen=True, tag=True):
    """A version launches no Triton kernel on a case: there is nothing to compile."""

    version: str
    case: str
    dtype: str


class Autotuned(msgspec.Struct, frozen=True, tag=True):
    """An autotuned kernel that a version launches on a case, with the configurations that it chooses from."""

    case: str
    dtype: str
    kernel: str
    configurations: list[dict[str, Value]]


class Trying(msgspec.Struct, frozen=True, tag=True):
    """The child begins with a version or a configuration, or with none of them ("").

    It is the one that ends the child if that ends early.
    """

    version: str


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """A configuration that does not compile, fit on an SM or run, or gives a wrong result; the child goes on."""

    version: str
    case: str
    dtype: str
    stage: UnfitStage
    reason: str


class Executed(msgspec.Struct, frozen=True, tag=True):
    """What KernelBench's evaluation would say of a version: its fields are those of a KernelExecResult."""

    version: str
    case: str
    dtype: str
    compiled: bool
    correctness: bool
    metadata: dict[str, Any]
    runtime: float = -1.0  # mean, in milliseconds; -1: not timed
    runtime_stats: dict[str, Any] = {}
    ref_runtime: float = -1.0
    ref_runtime_stats: dict[str, Any] = {}


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The child cannot do its work, or not that of a version. `error` is the name of a class of `errors`."""

    error: str
    message: str
    remedy: str
    version: str = ""  # "": nothing goes on
    case: str = ""
    dtype: str = ""


class Ran(msgspec.Struct, frozen=True, tag=True):
    """A version came through a case."""

    case: str
    dtype: str


class Measured(msgspec.Struct, frozen=True, tag=True):
    """One roof."""

    row: RoofRow


def range_name(version: str, case: Case) -> str:
    """Return the name of the inner NVTX range, which carries what was measured into the report."""
    return SEPARATOR.join((version, case.name, case.dtype))


Criterion = Literal["plan", "runs", "compiles", "correctness", "inputs_changed", "second_call", "limits", "interpreter"]
LOG = "output.log"


class Trial(msgspec.Struct, frozen=True):
    """One case, dtype and seed."""

    case: Case
    seed: int  # of the parameters that the candidate's constructor draws
    generated: bool = False  # a shape that nobody promised the reference takes: where it refuses, nothing is judged
    secret: int = 0  # the seed of the inputs and of the reference's parameters: the judge's alone
    called: bool = True  # False: too large to be interpreted; a plan is made, and its kernels compiled


class Trials(msgspec.Struct, frozen=True):
    """trial.json: files are relative to the working directory."""

    reference: str
    candidate: str
    trials: list[Trial]
    target: int = 90  # compiled for, where there is no GPU
    wait_s: float = 300  # that the judge waits for the results of the calls
    called: bool = True  # False: plans are made and their kernels compiled, and no call is carried out


class Fault(msgspec.Struct, frozen=True):
    """A gate that a candidate did not pass: `mismatch` where a result is wrong, else `what`."""

    criterion: Criterion
    what: str
    mismatch: Mismatch | None = None


class Prepared(msgspec.Struct, frozen=True, tag=True):
    """The judge has written the calls of so many trials, and waits for their results."""

    calls: int


class Judgement(msgspec.Struct, frozen=True, tag=True):
    """What the judge prints: the first fault of each gate, the trials compared, and generated shapes left out."""

    faults: list[Fault]
    compared: int
    refused: int


class Problems(msgspec.Struct, frozen=True):
    """problems.json: references for each of which a small case is looked for."""

    references: list[str]  # absolute paths
    time_s: float  # the most that one of them may take


class Small(msgspec.Struct, frozen=True, tag=True):
    """Values of module constants with which a reference is small, or why there are none."""

    reference: str
    constants: dict[str, Any]  # {}: it is small as it stands
    fault: str = ""


Event = (
    Doing
    | Checked
    | Wrong
    | Broken
    | Gap
    | Resolved
    | Samples
    | Code
    | State
    | LeftOut
    | Device
    | Ran
    | Measured
    | Compiled
    | NoKernel
    | Autotuned
    | Trying
    | Unfit
    | Executed
    | Refused
    | Prepared
    | Judgement
    | Small
)
_EVENTS = msgspec.json.Decoder(Event)
EVENT_PREFIX = '{"type":'  # of a line that holds an event; every other line is what a library or a kernel file printed


def read_event(line: str) -> Event | None:
    """Return the event that a line of the child holds, None for a line that holds none."""
    if not line.startswith(EVENT_PREFIX):
        return None
    try:
        event: Event = _EVENTS.decode(line)
    except msgspec.DecodeError:  # a kernel file printed something like an event
        return None
    return event


def worker_command(task: Task, *words: str) -> list[str]:
    """Return the command of the child for one task."""
    return [sys.executable, "-m", "rooflift.worker", task, *words]


def say(event: msgspec.Struct) -> None:
    """Print one event as a line."""
    # a line of its own, also when a kernel file has printed without an end of line
    sys.stdout.write(f"\n{msgspec.json.encode(event).decode()}\n")
    sys.stdout.flush()
