"""The records of a run: the manifest in run.json and the rows of its tables. Shapes only, no files.

What is decoded is checked by type and range, as it may come from anybody; what rooflift makes itself is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec

SCHEMA_VERSION = 2

_MOST = 2**53  # whole numbers up to here are floats without loss
SHORTEST_US, LONGEST_US = 1e-6, 1e12  # a picosecond, and eleven days
LARGEST, _LEAST = 1e30, 1e-9  # a float between them and its inverse can be multiplied, divided and drawn
_SIGNS = r"/\\\x00-\x1f\x7f-\x9f"  # of no name of a file
_PART = rf"(?!\.{{1,2}}(?:/|\Z))[^{_SIGNS}]{{1,200}}"

_NAME = rf"^{_PART}\Z"
_RUN_FILE = rf"^(?:kernels/\.\./)?{_PART}(?:/{_PART})*\Z"
_LADDER = rf"^(?:{_PART})?\Z"
_SHA256 = r"^[0-9a-f]{64}\Z"
_CREATED = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)\Z"
_CAPABILITY = r"^(?:\d{1,2}\.\d|unknown)\Z"

FileName = Annotated[str, msgspec.Meta(pattern=_NAME)]  # one name: no way into another folder
RunFile = Annotated[str, msgspec.Meta(pattern=_RUN_FILE, max_length=1000)]
Ladder = Annotated[str, msgspec.Meta(pattern=_LADDER)]  # "" is the general one
Sha256 = Annotated[str, msgspec.Meta(pattern=_SHA256)]
Created = Annotated[str, msgspec.Meta(pattern=_CREATED)]
Capability = Annotated[str, msgspec.Meta(pattern=_CAPABILITY)]
Count = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
Several = Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
Measured = Annotated[float, msgspec.Meta(ge=-LARGEST, le=LARGEST)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=LARGEST)]
Positive = Annotated[float, msgspec.Meta(ge=_LEAST, le=LARGEST)]
Microseconds = Annotated[float, msgspec.Meta(ge=SHORTEST_US, le=LONGEST_US)]
Rate = Annotated[float, msgspec.Meta(ge=1.0, le=1e24)]  # bytes or operations a second
_IN_WORDS = {
    _NAME: "a name of a file, without / and ..",
    _RUN_FILE: "a path below the run folder or kernels/, without ..",
    _LADDER: 'a name of a folder, without / and .., or ""',
    _SHA256: "64 hexadecimal digits",
    _CREATED: "a time such as 2026-11-22T08:40:49Z",
    _CAPABILITY: "a compute capability such as 9.0, or unknown",
}
MOST_NESTED = 20  # tables in each other among a model's arguments


class MetricRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of metrics.csv: one metric of one kernel launch of one version, case and dtype."""

    version: str  # "" in a report that rooflift did not make
    case: str
    dtype: str
    kernel: str
    launch: Count  # order of the launch inside the version's range, from 0
    metric: str  # short name of the registry; in an import also an ncu name that the registry lacks
    value: Measured | None
    unit: str
    ncu_name: str  # the ncu metric that supplied the value, or would have
    source: str  # the report, relative to the run folder
    missing: str  # why there is no value; "" when there is one

    def __post_init__(self) -> None:
        if (self.value is None) == (self.missing == ""):
            raise ValueError(f"{self.metric}: a row has either a value or the reason why it is missing")


class TimingRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of timings.csv: CUDA-event times of one provider, outside ncu, L2 flushed before each sample."""

    provider: str  # a version, a baseline such as torch_eager, or what moves the case's bytes: stream, copy
    case: str
    dtype: str
    n: Several
    median_us: Microseconds
    q20_us: Microseconds
    q80_us: Microseconds
    min_us: Microseconds


class CompiledRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of compiled.csv: what the compiler made of one kernel of a version for one target."""

    version: str
    case: str
    dtype: str
    target: str
    kernel: str
    registers: Count
    stack_bytes: Count
    spill_instructions: Count
    shared_bytes: Count
    occupancy_pct: Amount
    occupancy_limit: str


class CompiledKernel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kernel launch of a version's forward, compiled for one target.

    `launch` counts from 0 in the forward; `config` is empty, or says which of an autotuned kernel's configurations this
    is. `registers` and `stack_bytes` are per thread, `shared_bytes` per block without the driver's 1 KiB. `opcodes`
    counts the binary's instructions by opcode with modifiers (`LDG.E.128`), `sass` by group (SASS_GROUPS and "other"),
    both without NOP; `spill_instructions` are the local loads and stores. `occupancy_pct` is theoretical_occupancy's.
    """

    version: str
    case: str
    dtype: str
    target: str
    kernel: str
    launch: int
    config: str
    grid: tuple[int, ...]
    num_warps: int
    registers: int
    stack_bytes: int
    spill_instructions: int
    shared_bytes: int
    code_sha256: str  # the same machine code has the same, wherever its source lines are
    sass: dict[str, int]
    opcodes: dict[str, int]
    occupancy_pct: float
    occupancy_limit: str  # what bounds the occupancy: registers, shared memory, warps, blocks


UNKNOWN = "unknown"
DISPATCH = "dispatch"  # the provider that is an operator's dispatch.py: no version, and no baseline


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GPU and software of a run, and nothing else of the machine.

    Only of an imported run may a field be UNKNOWN, or None where it is a number.
    """

    gpu: str
    compute_capability: Capability
    sm_count: Several | None
    l2_bytes: Several | None
    memory_bytes: Several | None
    driver: str
    cuda: str
    torch: str
    triton: str
    python: str
    ncu: str | None  # None when no metrics were collected
    card: str = ""  # a hash of the GPU's UUID: the same card has the same; "" in runs from before it was recorded


class VersionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version as it was when it was measured."""

    version: str
    title: str
    stage: str
    change: str
    why: str
    expect: list[str]
    trusted: bool = False  # it ran by its Python in a loop that replays launch plans


STATED, TENSORS = "stated in cases.toml", "the tensors"  # where the bytes and FLOP of a case come from


class ResolvedCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A case in one dtype as the reference's tensors have it: arguments, input shapes, compulsory traffic and FLOP.

    The child reports it and run.json records it. The traffic is the bytes of inputs, parameters,
    buffers and outputs, each once, or what the case states.
    """

    case: str
    dtype: str
    init: dict[str, Any] | list[Any]
    inputs: list[list[Count]]
    compulsory_bytes: Several | None  # None in an import, where nobody says them
    flop: Count | None  # None when neither cases.toml states them nor torch's FLOP counter knows the operator
    flop_source: str
    read_bytes: Count | None = None  # of the compulsory bytes: inputs, parameters, buffers; None before it was recorded
    written_bytes: Count | None = None  # outputs
    bytes_source: str = ""  # STATED or TENSORS; "" before it was recorded
    flop_by_unit: dict[str, Count] = {}  # where the case states them; else `flop` are products of its dtype
    allow_tf32: bool = False  # float32 products may be rounded to TF32

    def __post_init__(self) -> None:
        if _nested(self.init) > MOST_NESTED:
            raise ValueError(f"{self.case}: init has more than {MOST_NESTED} tables in each other")

    @property
    def bytes_known(self) -> float:
        """The compulsory bytes, NaN where nobody says them."""
        return math.nan if self.compulsory_bytes is None else float(self.compulsory_bytes)


class CheckRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version compared with the reference in float64: the largest error in units of the tolerance."""

    version: str
    case: str
    dtype: str
    seed: int
    max_abs_error: Amount
    error_over_tolerance: Amount  # at most 1 passes
    tolerance: Amount | None = (
        None  # allowed error relative to an element's terms; None in runs from before it was recorded
    )
    deterministic: bool | None = None  # a second call on the same inputs gave the same bits
    note: str = ""  # what weakens the comparison, such as a reference whose result is constant


class LeftOutVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version, or the dispatch, that a run was to measure and did not: it is wrong or does not run."""

    version: str
    case: str  # where it was seen; "" when the file cannot even be loaded
    dtype: str
    error: str  # the class of `errors` that says so: KernelFault, WrongResult
    message: str
    remedy: str


class SanitizerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one tool of compute-sanitizer found in the kernels of one version."""

    tool: str  # memcheck, racecheck or initcheck
    version: str
    cases: list[str]
    dtypes: list[str]
    kernels: list[str]  # the version's own kernel functions
    errors: Count  # findings in them, and those without a kernel
    elsewhere: Count  # findings in kernels of libraries, which do not count
    first: str  # the first finding in the tool's words, "" when there is none


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an imported run comes from."""

    file: str  # its name, without the folder
    kind: Literal["ncu-rep", "json", "csv"]
    sha256: Sha256  # of the file as it was given
    files: dict[str, Sha256] = {}  # the others, of which later versions are, with their sha256
    unnamed: bool = False  # the versions are kernels of a report that nobody asked to take apart
    repeats: bool = False  # launches of one kernel with the same grid are repeats, as nothing says what is one call


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the samples of a run were taken: rounds of every provider once, in an order drawn anew for each round."""

    seed: int  # of the orders
    samples: Several  # rounds a case and dtype, fewer of a slow case
    precision: (
        Positive | None
    )  # rounds go on until the interval of every median is this narrow (half its width / median)
    budget_s: Amount  # but not for longer than this a case and dtype


class MeasureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How versions are measured. One struct that travels whole: command line, request, plan.json, checkpoint, run.json.

    A new option is one field here, its use, and its flag.
    """

    seeds: Count = 2  # of the comparisons with the reference: fresh inputs and parameters for each
    samples: Several = 50  # rounds a case and dtype
    precision: Positive | None = None  # half the width of each median's interval / median; None: `samples` rounds
    budget_s: Amount | None = None  # the most GPU time of a case and dtype; None: 3 s, with a precision 10 s
    slow_baselines: bool = False  # torch_channels_last, torch_compile and the operator's own are timed, too
    noise: bool = False  # the last version is timed twice
    sanitize: bool = False  # the versions run under compute-sanitizer, too, on the test cases


class NoiseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version timed under two names: what the measurement itself makes of no change."""

    version: str
    case: str
    dtype: str
    time_x: Positive  # the time under the second name relative to the first
    low: Positive
    high: Positive


class MachineCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a version launches on a case, as one hash: kernels in order, with grid, warps and shared memory."""

    version: str
    case: str
    dtype: str
    sha256: Sha256


class GpuState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What NVML says of the GPU around the timing of a case and dtype; nothing of it is set."""

    case: str
    dtype: str
    at: Literal["before", "during", "after"]
    sm_mhz: Count | None  # None: NVML does not tell, as of a MIG slice
    memory_mhz: Count | None
    temperature_c: int | None
    power_w: Amount | None
    throttle: list[str]  # why the clocks are lower than they could be; [] when nothing holds them back


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """run.json."""

    schema: int = SCHEMA_VERSION
    operator: FileName
    ladder: Ladder = ""  # the folder of its versions below the operator's; "" is the general ladder
    main: str = "main"  # the case that the ladder is about
    name: FileName
    created: Created  # UTC, ISO 8601
    machine: Machine
    clock_control: str
    metric_set: str  # basic, standard, full, none, or imported
    command: list[str]
    ncu_command: list[str]
    commit: str | None
    dirty: bool
    versions: list[VersionRecord]  # [] only in an import of which nobody says them, as with the cases
    cases: list[ResolvedCase]
    checks: list[CheckRecord]
    suite: bool = False  # every bench case was timed
    notes: list[str]  # warnings a reader needs, such as metrics that were refused
    sha256: dict[RunFile, Sha256]  # kernel files by "kernels/...", the files of the run folder by their name
    left_out: list[LeftOutVersion] = []  # what was asked for, and is wrong or does not run
    sanitizer: list[SanitizerRecord] = []  # empty when compute-sanitizer was not asked
    options: MeasureOptions | None = None  # None in runs from before they were recorded
    sampling: Sampling | None = None  # None in runs from before it was recorded: rounds in a fixed order
    noise: list[NoiseRecord] = []  # empty when no version was timed under two names
    gpu_states: list[GpuState] = []
    machine_code: list[MachineCode] = []  # empty in runs from before it was recorded
    origin: Origin | None = None  # None: rooflift measured it
    gpu_figures: dict[str, float | str] = {}  # of an import: what its report says of the GPU, fields of a GPU spec
    sha256_self: str | None = None  # of run.json with "" in this place; None in runs from before it was recorded

    def __post_init__(self) -> None:
        for what, found in (("versions", self.versions), ("cases", self.cases)):
            if not found and self.origin is None:
                raise ValueError(f"{what}: there is none")
        _refuse_twice("versions", (version.version for version in self.versions))
        _refuse_twice("cases", (f"{case.case} {case.dtype}" for case in self.cases))


class TuneManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """tune.json: what was tried, where and how; tune.csv beside it says what came of it."""

    schema: int = SCHEMA_VERSION
    operator: FileName
    ladder: Ladder = ""
    version: str
    created: Created  # UTC, ISO 8601
    machine: Machine
    command: list[str]
    commit: str | None
    dirty: bool
    parameters: dict[str, list[bool | int | float | str]]  # the values of each
    sizes: dict[str, Count]  # how many configurations there are, by "case/dtype"
    method: str  # all, tpe or random
    evaluations: Count
    sampling: Sampling
    metric_set: str
    ncu_command: list[str] = []
    notes: list[str] = []
    sha256: dict[RunFile, Sha256]  # kernel files by "kernels/..."


class RoofRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One measured roof: the best configuration of a kernel that does nothing else."""

    name: str
    kind: Literal["bandwidth", "compute"]
    per_s: Rate  # as the unit says; of the median time
    q20_per_s: Rate  # a fifth of the samples was slower
    q80_per_s: Rate  # a fifth was faster
    unit: Literal["byte/s", "FLOP/s", "op/s"]  # op/s: integers, special functions
    method: str
    configuration: str
    work: Several  # bytes or operations of one sample, as the method counts them
    clocks_before_mhz: list[Count]  # SM and memory by NVML, warm, in front of the samples; [] when it tells none
    clocks_after_mhz: list[Count]  # and right behind the last one
    times_us: list[Microseconds]  # CUDA events


class Roofs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The measured roofs of one GPU."""

    schema: int = SCHEMA_VERSION
    created: Created  # UTC, ISO 8601
    machine: Machine
    commit: str | None
    dirty: bool
    rows: list[RoofRow]


def reason(error: Exception) -> str:
    """Return what is wrong with a decoded record, in words where a pattern speaks."""
    text = str(error)
    for pattern, words in _IN_WORDS.items():
        text = text.replace(f"`str` matching regex {pattern!r}", words)
    return text


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    """Raise ValueError where a name stands twice."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ValueError(f"{what}: {name} stands twice")
        seen.add(name)


def _nested(value: object) -> int:
    """Return how many tables and lists stand in each other."""
    depth, layer = 0, [value]
    while layer:
        inner = [
            list(one.values()) if isinstance(one, Mapping) else one for one in layer if isinstance(one, list | Mapping)
        ]
        depth, layer = depth + bool(inner), [value for one in inner for value in one]
    return depth
