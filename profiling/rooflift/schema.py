"""The records of a run: the manifest in run.json and the rows of its tables. Shapes only, no files."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

SCHEMA_VERSION = 2


class MetricRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of metrics.csv: one metric of one kernel launch of one version, case and dtype."""

    version: str  # "" in a report that rooflift did not make
    case: str
    dtype: str
    kernel: str
    launch: int  # order of the launch inside the version's range, from 0
    metric: str  # short name of the registry; in an import also an ncu name that the registry lacks
    value: float | None
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
    n: int
    median_us: float
    q20_us: float
    q80_us: float
    min_us: float


class CompiledRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of compiled.csv: what the compiler made of one kernel of a version for one target."""

    version: str
    case: str
    dtype: str
    target: str
    kernel: str
    registers: int
    stack_bytes: int
    spill_instructions: int
    shared_bytes: int
    occupancy_pct: float
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
    compute_capability: str
    sm_count: int | None
    l2_bytes: int | None
    memory_bytes: int | None
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


STATED, TENSORS = "stated in cases.toml", "the tensors"  # where the bytes and FLOP of a case come from


class ResolvedCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A case in one dtype as the reference's tensors have it: arguments, input shapes, compulsory traffic and FLOP.

    The child reports it and run.json records it. The traffic is the bytes of inputs, parameters,
    buffers and outputs, each once, or what the case states.
    """

    case: str
    dtype: str
    init: dict[str, Any] | list[Any]
    inputs: list[list[int]]
    compulsory_bytes: int | None  # None in an import, where nobody says them
    flop: int | None  # None when neither cases.toml states them nor torch's FLOP counter knows the operator
    flop_source: str
    read_bytes: int | None = None  # of the compulsory bytes: inputs, parameters, buffers; None before it was recorded
    written_bytes: int | None = None  # outputs
    bytes_source: str = ""  # STATED or TENSORS; "" before it was recorded
    flop_by_unit: dict[str, int] = {}  # where the case states them; else `flop` are products of its dtype
    allow_tf32: bool = False  # float32 products may be rounded to TF32

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
    max_abs_error: float
    error_over_tolerance: float  # at most 1 passes
    tolerance: float | None = (
        None  # allowed error relative to an element's terms; None in runs from before it was recorded
    )
    deterministic: bool | None = None  # a second call on the same inputs gave the same bits
    note: str = ""  # what weakens the comparison, such as a reference whose result is constant


class SanitizerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one tool of compute-sanitizer found in the kernels of one version."""

    tool: str  # memcheck, racecheck or initcheck
    version: str
    cases: list[str]
    dtypes: list[str]
    kernels: list[str]  # the version's own kernel functions
    errors: int  # findings in them, and those without a kernel
    elsewhere: int  # findings in kernels of libraries, which do not count
    first: str  # the first finding in the tool's words, "" when there is none


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an imported run comes from."""

    file: str  # its name, without the folder
    kind: Literal["ncu-rep", "json", "csv"]
    sha256: str  # of the file as it was given
    files: dict[str, str] = {}  # the others, of which later versions are, with their sha256
    unnamed: bool = False  # the versions are kernels of a report that nobody asked to take apart
    repeats: bool = False  # launches of one kernel with the same grid are repeats, as nothing says what is one call


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the samples of a run were taken: rounds of every provider once, in an order drawn anew for each round."""

    seed: int  # of the orders
    samples: int  # rounds a case and dtype, fewer of a slow case
    precision: float | None  # rounds go on until the interval of every median is this narrow (half its width / median)
    budget_s: float  # but not for longer than this a case and dtype


class MeasureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How versions are measured. One struct that travels whole: command line, request, plan.json, checkpoint, run.json.

    A new option is one field here, its use, and its flag.
    """

    seeds: int = 2  # of the comparisons with the reference: fresh inputs and parameters for each
    samples: int = 50  # rounds a case and dtype
    precision: float | None = None  # half the width of each median's interval / median; None: `samples` rounds
    budget_s: float | None = None  # the most GPU time of a case and dtype; None: 3 s, with a precision 10 s
    slow_baselines: bool = False  # torch_channels_last, torch_compile and the operator's own are timed, too
    noise: bool = False  # the last version is timed twice
    sanitize: bool = False  # the versions run under compute-sanitizer, too, on the test cases


class NoiseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version timed under two names: what the measurement itself makes of no change."""

    version: str
    case: str
    dtype: str
    time_x: float  # the time under the second name relative to the first
    low: float
    high: float


class MachineCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a version launches on a case, as one hash: kernels in order, with grid, warps and shared memory."""

    version: str
    case: str
    dtype: str
    sha256: str


class GpuState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What NVML says of the GPU around the timing of a case and dtype; nothing of it is set."""

    case: str
    dtype: str
    at: Literal["before", "during", "after"]
    sm_mhz: int | None  # None: NVML does not tell, as of a MIG slice
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    throttle: list[str]  # why the clocks are lower than they could be; [] when nothing holds them back


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """run.json."""

    schema: int = SCHEMA_VERSION
    operator: str
    ladder: str = ""  # the folder of its versions below the operator's; "" is the general ladder
    main: str = "main"  # the case that the ladder is about
    name: str
    created: str  # UTC, ISO 8601
    machine: Machine
    clock_control: str
    metric_set: str  # basic, standard, full, none, or imported
    command: list[str]
    ncu_command: list[str]
    commit: str | None
    dirty: bool
    versions: list[VersionRecord]
    cases: list[ResolvedCase]
    checks: list[CheckRecord]
    suite: bool = False  # every bench case was timed
    notes: list[str]  # warnings a reader needs, such as metrics that were refused
    sha256: dict[str, str]  # kernel files by "kernels/...", the files of the run folder by their name
    sanitizer: list[SanitizerRecord] = []  # empty when compute-sanitizer was not asked
    options: MeasureOptions | None = None  # None in runs from before they were recorded
    sampling: Sampling | None = None  # None in runs from before it was recorded: rounds in a fixed order
    noise: list[NoiseRecord] = []  # empty when no version was timed under two names
    gpu_states: list[GpuState] = []
    machine_code: list[MachineCode] = []  # empty in runs from before it was recorded
    origin: Origin | None = None  # None: rooflift measured it
    gpu_figures: dict[str, float | str] = {}  # of an import: what its report says of the GPU, fields of a GPU spec
    sha256_self: str | None = None  # of run.json with "" in this place; None in runs from before it was recorded


class TuneManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """tune.json: what was tried, where and how; tune.csv beside it says what came of it."""

    schema: int = SCHEMA_VERSION
    operator: str
    ladder: str = ""
    version: str
    created: str  # UTC, ISO 8601
    machine: Machine
    command: list[str]
    commit: str | None
    dirty: bool
    parameters: dict[str, list[bool | int | float | str]]  # the values of each
    sizes: dict[str, int]  # how many configurations there are, by "case/dtype"
    method: str  # all, tpe or random
    evaluations: int
    sampling: Sampling
    metric_set: str
    ncu_command: list[str] = []
    notes: list[str] = []
    sha256: dict[str, str]  # kernel files by "kernels/..."


class RoofRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One measured roof: the best configuration of a kernel that does nothing else."""

    name: str
    kind: Literal["bandwidth", "compute"]
    per_s: float  # as the unit says; of the median time
    q20_per_s: float  # a fifth of the samples was slower
    q80_per_s: float  # a fifth was faster
    unit: Literal["byte/s", "FLOP/s", "op/s"]  # op/s: integers, special functions
    method: str
    configuration: str
    work: int  # bytes or operations of one sample, as the method counts them
    clocks_before_mhz: list[int]  # SM and memory by NVML, warm, in front of the samples; [] when it tells none
    clocks_after_mhz: list[int]  # and right behind the last one
    times_us: list[float]  # CUDA events


class Roofs(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The measured roofs of one GPU."""

    schema: int = SCHEMA_VERSION
    created: str  # UTC, ISO 8601
    machine: Machine
    commit: str | None
    dirty: bool
    rows: list[RoofRow]
