"""The commands. Exit codes: 0 fine, 1 a check failed, 2 the work could not be done."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core

from rooflift import __version__
from rooflift.cli import climbing, guiding, keeping
from rooflift.cli.completion import operators as _operators
from rooflift.cli.completion import runs as _runs
from rooflift.cli.console import (
    console,
    lower_first,
    note,
    print_json,
    print_run,
    progress_shown,
    records_of,
    run_as_json,
    shown,
)
from rooflift.cli.judging import Budget, Precision, find_run, find_side, precision_words, register, share_of
from rooflift.errors import CatalogError, KernelFault, NoGpu, RoofliftError, RunFault, WrongResult, did_you_mean
from rooflift.escape import printable

if TYPE_CHECKING:
    from rooflift.measure.request import Request
    from rooflift.project.operator import Operator
    from rooflift.runs.run import Run


class Commands(typer.core.TyperGroup):
    """The commands, with a word of our own for Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("rooflift: stopped; nothing was written")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="rooflift",
    cls=Commands,
    help="Profile versioned Triton kernels with Nsight Compute and place every version under the measured roof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 `verify`, `verify-run`, `check` or `gate` found a fault or `compare` nothing "
    "comparable, 2 the work could not be done, 130 stopped by Ctrl-C.",
)


OperatorName = Annotated[str, typer.Argument(help="A folder below kernels/.", autocompletion=_operators)]
Versions = Annotated[
    list[str] | None, typer.Option("--version", "-v", help="v1_grid, v1 or 1; several times. Default: all.")
]
Cases = Annotated[list[str] | None, typer.Option("--case", "-c", help="A case of cases.toml; several times.")]
Dtypes = Annotated[list[str] | None, typer.Option("--dtype", "-d", help="float32, float16 or bfloat16; several times.")]
Timeout = Annotated[float, typer.Option(help="Seconds after which the work is stopped.", min=1)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Sanitize = Annotated[
    bool, typer.Option("--sanitize", help="Run memcheck, racecheck and initcheck of compute-sanitizer as well.")
]
Suite = Annotated[bool, typer.Option("--suite", help="Of an operator: the newest run that timed its suite.")]
Root = Annotated[Path | None, typer.Option(help="The project's folder. Default: the nearest one with kernels/.")]


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        typer.echo(f"rooflift {__version__}")
        raise typer.Exit


@app.command()
def doctor(as_json: AsJson = False, root: Root = None) -> None:
    """Say what this machine can do: GPU, driver, ncu, counters, packages, disk; each problem with its remedy."""
    import msgspec

    from rooflift.measure.doctor import examine

    findings = examine(root or Path.cwd())
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        from rich.markup import escape

        signs = {"ok": "[green]ok[/]", "problem": "[red]problem[/]", "note": "[yellow]note[/]"}
        for finding in findings:
            console().print(f"{signs[finding.status]:<18} [bold]{finding.name}[/]: {escape(finding.detail)}")
            if finding.remedy:
                console().print(f"        {escape(finding.remedy)}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(2)


@app.command("list")
def list_(
    operator: Annotated[str | None, typer.Argument(help="This operator alone.", autocompletion=_operators)] = None,
    runs: Annotated[bool, typer.Option("--runs", help="A table of the recorded runs.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """List operators, their versions and cases, and the runs."""
    from rooflift.project.operator import load_operator, operator_names
    from rooflift.runs.find import find_runs

    top = _root(root)
    if runs:
        keeping.print_runs(top, operator, as_json=as_json)
        return
    found: list[dict[str, Any]] = []
    for name in [operator] if operator else operator_names(top):
        of_operator = load_operator(top, name)
        found.append(
            {
                "operator": name,
                "versions": [
                    {"version": v.name, "stage": v.header.stage, "title": v.header.title} for v in of_operator.versions
                ],
                "cases": {case.name: sorted(case.use) for case in of_operator.cases.values()},
                "runs": [path.name for path in find_runs(top / "reports", name)],
            }
        )
    if as_json:
        print_json(found)
        return
    from rich.markup import escape

    for entry in found:
        console().print(f"[bold]{escape(entry['operator'])}[/]")
        for version in entry["versions"]:
            console().print(f"  {version['version']:<24} {escape(version['stage']):<10} {escape(version['title'])}")
        console().print(f"  cases: {', '.join(entry['cases'])}", markup=False)
        console().print(f"  runs:  {', '.join(entry['runs']) or 'none'}", markup=False)


@app.command()
def profile(
    operator: OperatorName,
    version: Versions = None,
    case: Cases = None,
    dtype: Dtypes = None,
    metrics: Annotated[
        str,
        typer.Option(help="none, basic: five metrics, standard: the registry and ncu's sections, full: ncu's own set."),
    ] = "standard",
    suite: Annotated[bool, typer.Option("--suite", help="Time every bench case in all its dtypes.")] = False,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Time torch_channels_last and torch_compile as well, which take seconds. Default: with --suite.",
        ),
    ] = None,
    sanitize: Sanitize = False,
    precision: Precision = None,
    budget: Budget = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Time the last version under two names: what no change looks like.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder to make. Default: below reports/.")] = None,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check, profile and time versions on the GPU and leave a run folder; without a GPU, tell the newest run again."""
    from rooflift import pipeline
    from rooflift.ncu.metrics import METRIC_SETS

    if metrics not in METRIC_SETS:
        raise CatalogError(f"--metrics {metrics}: no such set", did_you_mean(metrics, METRIC_SETS))
    request = _request(
        root, operator, version, case, dtype, metrics, timeout, use="bench", suite=suite, baselines=baselines
    )
    request.command.extend(["--sanitize"] * sanitize + precision_words(precision, budget, noise=noise))
    request = replace(request, precision=share_of(precision), budget_s=budget, noise=noise)
    try:
        with progress_shown() as progress:
            told = pipeline.profile(request, out, progress, sanitize)
        if told.taken_up:
            note(told.taken_up)
    except NoGpu as absent:
        _without_gpu(request, out, absent, as_json)
        return
    if as_json:
        print_json(run_as_json(told))
        return
    print_run(told)
    console().print(f"Wrote {shown(told.folder)} ({len(told.written)} files)")


def _without_gpu(request: Request, out: Path | None, absent: NoGpu, as_json: bool) -> None:
    """Do what needs no GPU: tell the newest run again, check in the interpreter, compile."""
    from rooflift import pipeline
    from rooflift.measure.compiled import compile_tables
    from rooflift.measure.environment import package_version
    from rooflift.measure.session import verify as verify_versions
    from rooflift.report import tables
    from rooflift.runs.find import find_runs, newest_run

    if out is not None and out.exists():
        raise RunFault(f"{out} exists", "Name a folder that does not; a run is never overwritten.")
    reports = request.root / "reports"
    run = newest_run(reports, request.operator.name) if find_runs(reports, request.operator.name) else None
    if run is not None and request.suite:
        with suppress(RunFault):  # without a suite the newest run is all there is
            run = newest_run(reports, request.operator.name, suite=True)
    told = None
    note(absent.message[0].upper() + absent.message[1:] + ".")
    if run is not None:
        folder = out or request.root / "build" / request.operator.name / run.folder.name
        note(f"Working from the newest run, {shown(run.folder)}, measured on {run.manifest.machine.gpu}.")
        told = pipeline.rerender(run, folder)
        if not as_json:
            print_run(told)
            console().print(f"Every figure above, and in these files, was {lower_first(told.story.provenance)}")
            for path in told.written:
                console().print(f"  {shown(path)}: measured on {run.manifest.machine.gpu}")
    with progress_shown() as progress:
        compiled = compile_tables(request, [89, 90], progress)
        if not as_json:
            title = (
                f"Compiled here for sm_89 (RTX 4090) and sm_90 (H100) by triton {package_version('triton')}, not run"
            )
            console().print(tables.terminal(compiled, tables.COMPILED_COLUMNS, title))
        checks = verify_versions(request, request.operator.select_cases([], "test"), True, 1, progress)
    if as_json:
        if told is not None:
            here = {"gpu_here": None, "compiled": records_of(compiled), "interpreter_checks": len(checks)}
            print_json(run_as_json(told) | here)
    else:
        worst = max((check.error_over_tolerance for check in checks), default=0)
        console().print(
            f"Checked here in Triton's interpreter: {len(checks)} comparisons with the reference in float64 agree, "
            f"the largest error is {worst:.2f} of the tolerance."
            if checks
            else "Not checked here: the operator has no small case (use = ['test'] in cases.toml)."
        )
    if told is None:
        raise NoGpu(f"{request.operator.name} has no run yet, and {absent.message}", absent.remedy)


@app.command()
def verify(
    operator: OperatorName,
    version: Versions = None,
    case: Cases = None,
    dtype: Dtypes = None,
    interpret: Annotated[
        bool, typer.Option("--interpret", help="Use Triton's interpreter on the CPU, also where there is a GPU.")
    ] = False,
    sanitize: Sanitize = False,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compare versions with the reference in float64 on the test cases, on the GPU or in Triton's interpreter."""
    import msgspec

    from rooflift.measure import environment, sanitizer, session

    request = _request(root, operator, version, case, dtype, "none", timeout, use="test")
    if not request.cases:
        raise CatalogError(f"{operator}: no case to check", "Give a small case use = ['test'] in cases.toml.")
    where = "Triton's interpreter"
    if sanitize:  # in the interpreter there is nothing for it to see
        environment.driver()
        sanitizer.find_sanitizer()
    if not interpret:
        try:
            where = environment.driver().gpus[0]
        except NoGpu:
            interpret = True
    try:
        with progress_shown() as progress:
            checks = session.verify(request, request.cases, interpret, session.SEEDS, progress)
            findings = sanitizer.sanitize(request, request.cases, progress) if sanitize else []
    except (WrongResult, KernelFault) as fault:
        fault.exit_code = 1  # a check failed: that is an answer of this command
        raise
    code = 1 if any(record.errors for record in findings) else 0
    if as_json:
        print_json({"where": where, "checks": msgspec.to_builtins(checks), "sanitizer": msgspec.to_builtins(findings)})
        raise typer.Exit(code)
    for name in dict.fromkeys(check.version for check in checks):
        own = [check for check in checks if check.version == name]
        worst = max(own, key=lambda check: check.error_over_tolerance)
        console().print(
            f"{name}: {len(own)} comparisons agree, the largest error is {worst.error_over_tolerance:.2f} of the "
            f"tolerance ({worst.case} {worst.dtype})"
        )
    console().print(f"Checked in {where}." if interpret else f"Checked on {where}.")
    if sanitize:
        from rooflift.report.text import in_words

        console().print(in_words(findings), markup=False)
    raise typer.Exit(code)


@app.command()
def roofs(
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: below reports/roofs/.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    timeout: Timeout = 300,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Measure what this GPU can do: DRAM and L2 bandwidth, FP32 and tensor rates. Rooflines draw the newest file."""
    import msgspec

    from rooflift.analysis.roofline import with_datasheet
    from rooflift.measure.roofs import measure
    from rooflift.report import tables
    from rooflift.runs.roofs import roofs_path, write_roofs

    top = _root(root)
    if out is not None and out.exists() and not force:
        raise RunFault(f"{out} exists", "Name another file, or replace it with --force.")
    with progress_shown() as progress:
        found = measure(top, timeout, progress)
    path = out or roofs_path(top / "reports", found)
    write_roofs(path, found, force=force)
    if as_json:
        print_json({"written": shown(path), **msgspec.to_builtins(found)})
        return
    import pandas as pd

    frame = pd.DataFrame(with_datasheet(found))
    console().print(tables.terminal(frame, tables.ROOF_COLUMNS, f"Roofs of {found.machine.gpu} ({found.created[:10]})"))
    console().print(f"Wrote {shown(path)}", markup=False)


@app.command("compile")
def compile_(
    operator: OperatorName,
    version: Versions = None,
    case: Cases = None,
    dtype: Dtypes = None,
    target: Annotated[list[int] | None, typer.Option("--target", "-t", help="89, 90, ...; several times.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compile versions without a GPU: registers, spills, shared memory, instruction mix, theoretical occupancy."""
    import msgspec

    from rooflift.measure.compiled import compile_kernels
    from rooflift.measure.environment import package_version
    from rooflift.report import tables

    request = _request(root, operator, version, case, dtype, "none", 600, use="bench")
    with progress_shown() as progress:
        progress("compiling")
        kernels = compile_kernels(request, target or [89, 90], progress)
    if as_json:
        print_json([msgspec.structs.asdict(kernel) for kernel in kernels])
        return
    import pandas as pd

    frame = pd.DataFrame([msgspec.structs.asdict(kernel) for kernel in kernels])
    console().print(
        tables.terminal(frame, tables.COMPILED_COLUMNS, f"Compiled by triton {package_version('triton')}, not run")
    )
    mix = pd.DataFrame([{"version": k.version, "dtype": k.dtype, "target": k.target} | k.sass for k in kernels])
    console().print(tables.terminal(mix.fillna(0), tables.mix_columns(mix), "Instructions in the binary"))


@app.command()
def show(
    what: Annotated[
        str, typer.Argument(help="A run folder or its name, an operator, or a .ncu-rep file.", autocompletion=_runs)
    ],
    suite: Suite = False,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Print a run's table, or the metrics of any .ncu-rep file."""
    if what.endswith(".ncu-rep"):
        _show_report(Path(what), as_json)
        return
    from rooflift.pipeline import Told
    from rooflift.report.report import tell

    run = find_run(root, what, suite)
    if run.manifest.origin is not None:
        _show_import(run, as_json)
        return
    told = Told(run.folder, tell(run.manifest, run.metrics, run.timings, run.compiled), [])
    if as_json:
        print_json(run_as_json(told))
        return
    print_run(told)
    console().print(told.story.provenance)


@app.command()
def report(
    what: Annotated[str, typer.Argument(help="A run folder or its name, or an operator.", autocompletion=_runs)],
    suite: Suite = False,
    base: Annotated[
        str | None, typer.Option(help="RUN or RUN:VERSION to compare with. Default: the version before the last.")
    ] = None,
    zipped: Annotated[
        bool, typer.Option("--bundle", help="Also one zip of report, figures, data and .ncu-rep files.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write. Default: below build/.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Write a run's report.md, report.html and pictures, from its reports and tables; the run stays as it is."""
    from rooflift import pipeline
    from rooflift.report.report import first_lines

    run = find_run(root, what, suite)
    if run.manifest.origin is not None:
        raise RunFault(f"{run.folder} was imported: it has no times to report", "`rooflift advise` and `show` read it.")
    folder = out or (root or Path.cwd()) / "build" / run.manifest.operator / run.folder.name
    if (folder / "run.json").exists():
        raise RunFault(f"{folder} is a run", "Name another folder; what was measured is never overwritten.")
    with progress_shown() as progress:
        progress("reading the reports and drawing")
        told = pipeline.rerender(run, folder, find_side(root, base) if base else None, page=True)
        if zipped:
            told.written.append(pipeline.bundle(run, folder, told.written))
    if as_json:
        print_json(run_as_json(told))
        return
    for line in first_lines(told.story):
        console().print(line.replace("**", ""), markup=False)
    console().print(told.story.provenance)
    for path in told.written:
        console().print(f"  {shown(path)}", markup=False)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(help="A candidate: a kernel file, or Markdown with one fenced block.")],
    operator: Annotated[
        str, typer.Option("--operator", "-f", help="The operator it is for.", autocompletion=_operators)
    ],
    stage: Annotated[str | None, typer.Option(help="grid, tiling, memory or tuning: its rules hold as well.")] = None,
    base: Annotated[Path | None, typer.Option(help="The version that the candidate starts from.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Judge a candidate without running it: its form, its launches, its honesty; 0 accepted, 1 rejected."""
    from dataclasses import asdict

    from rooflift.lint.lint import lint_file, unchecked
    from rooflift.project.operator import load_operator

    findings = lint_file(file, load_operator(_root(root), operator).reference, stage, base)
    gaps = unchecked(stage, base)
    if as_json:
        found = [asdict(finding) for finding in findings]
        print_json({"file": str(file), "accepted": not found, "findings": found, "unchecked": gaps})
    else:
        for finding in findings:
            found_at = f"{file}:{finding.line}:{finding.column}: {finding.rule}"
            typer.echo(printable(f"{found_at}: {finding.what}\n  {finding.remedy}"))
        typer.echo(f"{file}: {f'rejected, findings: {len(findings)}' if findings else 'accepted'}")
        for gap in gaps:
            note(gap)
    if findings:
        raise typer.Exit(1)


def _show_report(path: Path, as_json: bool) -> None:
    from rooflift.ncu.report import read_reports, report_gpu
    from rooflift.report import tables

    frame = read_reports([path], path.parent)
    if as_json:
        print_json(records_of(frame))
        return
    for (version, case, dtype, kernel, launch), rows in frame.groupby(
        ["version", "case", "dtype", "kernel", "launch"], sort=False
    ):
        about = " ".join(filter(None, (version, case, dtype))) or "not made by rooflift"
        title = f"{kernel}, launch {launch} ({about}), on {report_gpu(path) or 'an unnamed GPU'}"
        console().print(tables.terminal(rows, tables.METRIC_COLUMNS, title))


def _show_import(run: Run, as_json: bool) -> None:
    from rooflift.report import tables

    if as_json:
        print_json(records_of(run.metrics))
        return
    for kernel, rows in run.metrics.groupby("kernel", sort=False):
        title = f"{run.manifest.operator}, {kernel}, on {run.manifest.machine.gpu}"
        console().print(tables.terminal(rows, tables.METRIC_COLUMNS, title))
    for text in run.manifest.notes:
        console().print(text, markup=False)


def _request(
    root: Path | None,
    operator: str,
    versions: list[str] | None,
    cases: list[str] | None,
    dtypes: list[str] | None,
    metric_set: str,
    timeout: float,
    use: str,
    suite: bool = False,
    baselines: bool | None = None,
) -> Request:
    from rooflift.measure.request import Request
    from rooflift.project.cases import DTYPES
    from rooflift.project.operator import load_operator

    top = _root(root)
    for dtype in dtypes or ():
        if dtype not in DTYPES:
            raise CatalogError(f"no dtype {dtype!r}", did_you_mean(dtype, DTYPES))
    found: Operator = load_operator(top, operator)
    options = [("--version", versions), ("--case", cases), ("--dtype", dtypes)]
    command = [
        "rooflift",
        "profile",
        operator,
        *(word for option, values in options for v in values or () for word in (option, v)),
        *(
            option
            for option, given in (
                ("--suite", suite),
                ("--baselines", baselines),
                ("--no-baselines", baselines is False),
            )
            if given
        ),
    ]
    return Request(
        root=top,
        operator=found,
        versions=found.select_versions(versions or []),
        cases=found.select_cases(cases or [], use),
        dtypes=dtypes or [],
        metric_set=metric_set,
        timeout_s=timeout,
        command=[*command, "--metrics", metric_set],
        named=bool(cases),
        suite=suite,
        slow_baselines=suite if baselines is None else baselines,
    )


def _root(root: Path | None) -> Path:
    from rooflift.project.operator import find_root

    return find_root((root or Path.cwd()).resolve())


register(app)
guiding.register(app)
climbing.register(app)
keeping.register(app)


def main() -> NoReturn:
    """Run the command line; an expected failure prints its message and remedy."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children end with this process
    try:
        app(standalone_mode=True)
    except RoofliftError as error:
        if "--json" in sys.argv:
            print_json({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
        note(f"rooflift: {error.message}\n  {error.remedy}")
        sys.exit(error.exit_code)
    except OSError as error:
        note(f"rooflift: {error}\n  Name a place that can be written.")
        sys.exit(2)
    sys.exit(0)
