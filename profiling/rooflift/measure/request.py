"""What a user asks for: versions, cases, dtypes, metrics; from names, and as a command line. Shapes only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rooflift.dtypes import DTYPES
from rooflift.errors import CatalogError, did_you_mean
from rooflift.ncu.metrics import METRIC_SETS
from rooflift.project.cases import Case
from rooflift.project.operator import Operator, Version, candidate_version, load_operator
from rooflift.schema import MeasureOptions

if TYPE_CHECKING:
    from rooflift.sandbox.sandbox import Sandbox


def in_dtypes(cases: Sequence[Case], dtypes: Sequence[str]) -> list[Case]:
    """Return the cases as work to do: each in each of its dtypes, or each of `dtypes` when some are given."""
    return [case.with_dtype(dtype) for case in cases for dtype in (dtypes or case.dtypes)]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure."""

    root: Path
    operator: Operator
    versions: Sequence[Version]
    cases: Sequence[Case]
    dtypes: Sequence[str]  # none: those of the cases
    metric_set: str  # a metric set of the registry, or none
    timeout_s: float
    command: list[str]  # as it is published
    named: bool = False  # the user named the cases
    suite: bool = False  # every case is timed in all its dtypes
    leave_out: bool = False  # versions that are wrong or do not run are left out, and the others measured
    options: MeasureOptions = field(default_factory=MeasureOptions)
    commit: str | None = None  # the kernels are those of this commit; None: those of the working tree
    about: str = ""  # a note for the reader of the run
    sandbox: Sandbox | None = None  # None: somebody vouches for the versions
    trusted: Sequence[str] = ()  # versions that somebody vouches for in any case; where there is one, no sandbox

    @property
    def baselines(self) -> Path | None:
        """The operator's own baselines, which are timed with torch's slow ones; None for none."""
        return self.operator.baselines if self.options.slow_baselines else None

    @property
    def dispatch(self) -> Path | None:
        """The operator's dispatch, which a suite checks and times beside the versions; None for none."""
        return self.operator.dispatch if self.suite else None

    @property
    def profiled(self) -> list[Case]:
        """What ncu profiles: the named cases, else those with metrics; everyday work takes their first dtype."""
        if self.named:
            return in_dtypes(self.cases, self.dtypes)
        return [
            in_one
            for case in self.cases
            if case.metrics
            for in_one in in_dtypes([case], self.dtypes or (case.metrics if self.suite else case.metrics[:1]))
        ]

    @property
    def timed(self) -> list[Case]:
        """What is checked and timed: all that ncu profiles, and in a suite every case in all its dtypes."""
        return in_dtypes(self.cases, self.dtypes) if self.suite else self.profiled


def request_for(
    root: Path,
    operator: str,
    *,
    versions: Collection[str] | None = (),
    cases: Collection[str] | None = (),
    dtypes: Collection[str] | None = (),
    use: str,
    timeout_s: float,
    metric_set: str = "none",
    candidate: Path | None = None,
) -> Request:
    """Return a request for names: of all versions and of the cases that serve `use`, where none is named.

    A `candidate`, a file that is no version of the operator, stands alone or beside the versions that are named.

    Raises:
        CatalogError: a name is unknown; near names are suggested. The candidate cannot be read.
    """
    found = load_operator(root, operator)
    chosen = [] if candidate and not versions else found.select_versions(list(versions or ()))
    return Request(
        root=root,
        operator=found,
        versions=[*chosen, candidate_version(found, candidate)] if candidate else chosen,
        cases=found.select_cases(list(cases or ()), use),
        dtypes=[known_dtype(dtype) for dtype in dtypes or ()],
        metric_set=known_metric_set(metric_set),
        timeout_s=timeout_s,
        command=[],
        named=bool(cases),
    )


def profile_request(
    root: Path,
    operator: str,
    *,
    versions: Collection[str] | None = (),
    cases: Collection[str] | None = (),
    dtypes: Collection[str] | None = (),
    metric_set: str,
    suite: bool,
    baselines: bool | None,
    options: MeasureOptions,
    timeout_s: float,
    candidate: Path | None = None,
) -> Request:
    """Return the request of `rooflift profile` with the command that is recorded; `baselines` None: with a suite."""
    request = request_for(
        root,
        operator,
        versions=versions,
        cases=cases,
        dtypes=dtypes,
        use="bench",
        timeout_s=timeout_s,
        metric_set=metric_set,
        candidate=candidate,
    )
    command = command_line(
        "profile",
        operator,
        version=versions,
        candidate=candidate.name if candidate else None,
        case=cases,
        dtype=dtypes,
        suite=suite,
        baselines=baselines,
        no_baselines=baselines is False,
        metrics=metric_set,
        sanitize=options.sanitize,
        precision=share_text(options.precision),
        budget=options.budget_s,
        noise=options.noise,
    )
    slow = suite if baselines is None else baselines
    options = msgspec.structs.replace(options, slow_baselines=slow)
    return replace(request, command=command, suite=suite, options=options, leave_out=True)


def tune_request(
    root: Path,
    operator: str,
    version: str,
    *,
    cases: Collection[str],
    dtypes: Collection[str],
    metric_set: str,
    timeout_s: float,
    said: Mapping[str, Any],
) -> Request:
    """Return the request of `rooflift tune` with the command that is recorded; without cases, of the ladder's own.

    `said` are its other options.
    """
    request = request_for(
        root,
        operator,
        versions=[version],
        cases=cases,
        dtypes=dtypes,
        use="bench",
        timeout_s=timeout_s,
        metric_set=metric_set,
    )
    if not cases:
        main = [case for case in request.cases if case.name == request.operator.main] or list(request.cases)[:1]
        request = replace(request, cases=main)
    options = {"case": cases, "dtype": dtypes, "metrics": metric_set, **said}
    command = command_line("tune", operator, version, **options)
    return replace(request, command=command, options=MeasureOptions(seeds=1))


def known_metric_set(name: str) -> str:
    """Return the name of a metric set.

    Raises:
        CatalogError: there is no such set; near names are suggested.
    """
    if name not in METRIC_SETS:
        raise CatalogError(f"no metric set {name!r}", did_you_mean(name, METRIC_SETS))
    return name


def known_dtype(name: str) -> str:
    """Return the name of a dtype.

    Raises:
        CatalogError: there is no such dtype; near names are suggested.
    """
    if name not in DTYPES:
        raise CatalogError(f"no dtype {name!r}", did_you_mean(name, DTYPES))
    return name


def share_text(share: float | None) -> str | None:
    """Return "0.5%" for 0.005, as a command line has it."""
    return None if share is None else f"{100 * share:g}%"


def command_line(command: str, *words: str, **options: object) -> list[str]:
    """Return a command as a shell takes it, for the record: options by their names, without what was not given.

    None, False and an empty sequence are not given; True is a flag; a sequence is an option several times.

    >>> command_line("profile", "rms_norm", version=["v0", "v1"], suite=True, case=None, max_spills=0)
    ['rooflift', 'profile', 'rms_norm', '--version', 'v0', '--version', 'v1', '--suite', '--max-spills', '0']
    """
    line = ["rooflift", command, *words]
    for name, given in options.items():
        option = f"--{name.replace('_', '-')}"
        if given is True:
            line.append(option)
        elif given is not None and given is not False:
            values = given if isinstance(given, Collection) and not isinstance(given, str) else [given]
            for value in values:
                line += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return line
