"""The commands that judge: compare and gate, and what they share with report. `cli` takes them up."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli.console import console, note, print_json, progress_shown, shown
from rooflift.errors import CatalogError, RunFault, did_you_mean
from rooflift.escape import emphasised, escaped

if TYPE_CHECKING:
    from rooflift.analysis.compare import Comparison, Rule, Side
    from rooflift.analysis.gate import Finding
    from rooflift.measure.request import Request
    from rooflift.runs.run import Run

NOTHING_COMPARABLE = 1
Root = Annotated[Path | None, typer.Option(help="The project's folder. Default: the nearest one with kernels/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Precision = Annotated[
    str | None,
    typer.Option(help="Add rounds until every median's interval is this narrow: half its width, such as 0.5%."),
]
Budget = Annotated[
    float | None, typer.Option(help="Seconds of GPU time a case and dtype. Default: 3, with --precision 10.", min=0.1)
]


def share_of(text: str | None) -> float | None:
    """Return 0.005 for "0.5%", None for None."""
    from rooflift.analysis.thresholds import parse_share

    return None if text is None else parse_share(text)


def precision_words(precision: str | None, budget: float | None, *, noise: bool) -> list[str]:
    """Return the options as a command line has them."""
    words = ["--precision", precision] if precision else []
    return words + (["--budget", f"{budget:g}"] if budget else []) + ["--noise"] * noise


def find_version(run: Run, wanted: str) -> str:
    """Return the version of a run by its name, v1 or 1; the last one for "".

    Raises:
        RunFault: the run does not have it; near names are suggested.
    """
    names = [version.version for version in run.manifest.versions]
    if not wanted:
        return names[-1]
    for name in names:
        if wanted in (name, name.split("_")[0], name.split("_")[0].removeprefix("v")):
            return name
    raise RunFault(f"{run.folder}: it has no version {wanted!r}", did_you_mean(wanted, names))


def find_run(root: Path | None, what: str, suite: bool = False) -> Run:
    """Return a run by its folder, wherever that lies, by its name, or an operator's newest."""
    from rooflift.project.operator import find_root
    from rooflift.runs.find import resolve_run

    is_folder = (Path(what) / "run.json").exists()
    reports = Path() if is_folder else find_root((root or Path.cwd()).resolve()) / "reports"
    return resolve_run(reports, what, suite)


def find_side(root: Path | None, what: str) -> Side:
    """Return the version that RUN or RUN:VERSION names, of a run without one the last."""
    from rooflift.analysis.compare import side

    place, version = split(what)
    run = find_run(root, place)
    return side(run, find_version(run, version))


def split(what: str) -> tuple[str, str]:
    """Return run and version of "RUN:VERSION", the version "" for a run alone; a path may hold colons."""
    place, colon, version = what.rpartition(":")
    return (place, version) if colon and not Path(what).exists() else (what, "")


def _sides(root: Path | None, base: str, head: str, versions: list[str]) -> list[tuple[Side, Side]]:
    """Return what "RUN[:VERSION]" twice, or "RUN:VERSION" and ":VERSION", ask for: a pair, or one a named version."""
    from rooflift.analysis.compare import side

    places = [split(base), split(head)]
    runs = [find_run(root, places[0][0])]
    same = places[1][0] == "" or places[1][0] == places[0][0]
    runs.append(runs[0] if same else find_run(root, places[1][0]))
    if versions and (places[0][1] or places[1][1]):
        raise CatalogError("--version, and a version behind a colon", "Name the versions in one of the two ways.")
    wanted = [(version, version) for version in versions] or [(places[0][1], places[1][1])]
    found = [
        (side(runs[0], find_version(runs[0], one)), side(runs[1], find_version(runs[1], other)))
        for one, other in wanted
    ]
    for one, other in found:
        if one.manifest is other.manifest and one.version == other.version:
            raise CatalogError(f"{one.name} on both sides", "Name two versions: `rooflift compare RUN:v1 :v2`.")
    return found


def compare(
    base: Annotated[str, typer.Argument(help="RUN, RUN:VERSION, or revisions: BASE..HEAD, BASE.. (working tree).")],
    head: Annotated[str, typer.Argument(help="RUN, RUN:VERSION, :VERSION of the same run; of revisions the operator.")],
    version: Annotated[
        list[str] | None,
        typer.Option("--version", "-v", help="The same version on both sides; of runs several. Default: the last."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Show ratios, without a verdict, of what differs.")] = False,
    min_effect: Annotated[str, typer.Option(help="A smaller change is none.")] = "1%",
    alpha: Annotated[float, typer.Option(help="Chance of one false verdict among all.", min=1e-9, max=0.5)] = 0.01,
    case: Annotated[list[str] | None, typer.Option("--case", "-c", help="Of revisions: the cases to time.")] = None,
    dtype: Annotated[list[str] | None, typer.Option("--dtype", "-d", help="Of revisions: the dtypes.")] = None,
    suite: Annotated[bool, typer.Option("--suite", help="Of revisions: every bench case and dtype.")] = False,
    metrics: Annotated[str, typer.Option(help="Of revisions: none, basic, standard or full.")] = "standard",
    precision: Precision = "0.5%",
    budget: Budget = None,
    compile_only: Annotated[
        bool, typer.Option("--compile-only", help="Of revisions: only what the compiler makes of them; needs no GPU.")
    ] = False,
    target: Annotated[list[int] | None, typer.Option("--target", "-t", help="With --compile-only: 89, 90.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --compile-only: print Markdown.")] = False,
    out: Annotated[Path | None, typer.Option(help="Of revisions: the run folder to make.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which the work is stopped.", min=1)] = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compare two versions: of runs, of one run, or of git revisions, which are measured here in one go.

    Every case and dtype is faster, slower, within noise, or not comparable. Exit codes: 0 compared, 1 no case is
    comparable, 2 the work could not be done.
    """
    from rooflift.analysis.compare import Rule
    from rooflift.analysis.compare import compare as judge
    from rooflift.ncu.metrics import METRIC_SETS

    if metrics not in METRIC_SETS:
        raise CatalogError(f"--metrics {metrics}: no such set", did_you_mean(metrics, METRIC_SETS))
    rule = Rule(alpha, share_of(min_effect) or 0.0)
    if ".." not in base or Path(base).exists():
        found = [judge(*sides, rule, force=force) for sides in _sides(root, base, head, version or [])]
        _print_comparisons(found, as_json)
        return
    if len(version or []) > 1:
        raise CatalogError("several versions of two revisions", "Name one with --version.")
    with ExitStack() as stack:
        from rooflift.measure import environment
        from rooflift.measure.request import Request
        from rooflift.project.git import pair, parse_range
        from rooflift.project.operator import find_root

        top = find_root((root or Path.cwd()).resolve())
        if not compile_only:
            environment.driver()  # the first thing that can be missing
        both = stack.enter_context(pair(top, parse_range(base), head, version[0] if version else None))
        words = [word for name in version or () for word in ("--version", name)]
        words += [word for name in case or () for word in ("--case", name)]
        words += [word for name in dtype or () for word in ("--dtype", name)]
        words += ["--suite"] * suite + ["--metrics", metrics] + precision_words(precision, budget, noise=False)
        request = Request(
            root=top,
            operator=both.operator,
            versions=both.operator.versions,
            cases=both.operator.select_cases(case or [], "bench"),
            dtypes=dtype or [],
            metric_set="none" if compile_only else metrics,
            timeout_s=timeout,
            command=["rooflift", "compare", base, head, *words],
            named=bool(case),
            suite=suite,
            precision=share_of(precision),
            budget_s=budget,
            noise=True,
            commit=both.commit,
            about=both.about,
        )
        if compile_only:
            _print_compiled(request, target or [89, 90], as_json=as_json, markdown=markdown)
        else:
            _measure(request, out, rule, as_json)


def _measure(request: Request, out: Path | None, rule: Rule, as_json: bool) -> None:
    from rooflift import pipeline
    from rooflift.analysis.compare import compare as judge
    from rooflift.analysis.compare import side
    from rooflift.runs.run import read_run

    folder = out or request.root / "build" / "compare" / request.operator.name
    with progress_shown() as progress:
        told = pipeline.profile(request, folder, progress, numbered=out is None)
    run = read_run(told.folder)
    if told.taken_up:
        note(told.taken_up)
    if not as_json:
        console().print(request.about, markup=False)
    note(f"Wrote {shown(told.folder)}")
    _print_comparisons([judge(side(run, "v0_base"), side(run, "v1_head"), rule)], as_json)


def _print_comparisons(found: list[Comparison], as_json: bool) -> None:
    """Print comparisons and leave with 1 when none of them has a verdict."""
    from rooflift.analysis.compare import as_json as in_json
    from rooflift.report import tables
    from rooflift.report import verdicts as say

    code = 0 if any(c.count("not comparable") < len(c.cases) for c in found) else NOTHING_COMPARABLE
    if as_json:
        print_json([in_json(comparison) for comparison in found])
        raise typer.Exit(code)
    for comparison in found:
        first = comparison.head.manifest.cases[0]
        if "main" in set(comparison.cases["case"]):
            first = next((c for c in comparison.head.manifest.cases if c.case == "main"), first)
        title = f"{comparison.head.name} against {comparison.base.name}"
        console().print(tables.terminal(comparison.cases, say.COMPARISON_COLUMNS, title))
        counters = say.main_metrics(comparison, first.case, first.dtype)
        moved = counters[counters["moved"].astype(bool)]
        if not moved.empty:
            console().print(
                tables.terminal(moved, say.METRIC_CHANGE_COLUMNS, f"Counters that moved, {first.case} {first.dtype}")
            )
        for line in say.comparison_warnings(comparison):
            note(f"Warning: {line}")
        console().print(say.verdict_line(comparison, first.case, first.dtype).replace("**", ""), markup=False)
        console().print(say.method_text(comparison), markup=False)
    raise typer.Exit(code)


def _print_compiled(request: Request, targets: list[int], *, as_json: bool, markdown: bool) -> None:
    """Compile base and head and print their registers, spills, shared memory, occupancy and instruction mix."""
    import msgspec

    from rooflift.measure.compiled import compile_kernels
    from rooflift.report import tables
    from rooflift.report.compiled import compiled_lines, compiled_table

    with progress_shown() as progress:
        progress("compiling")
        kernels = compile_kernels(request, targets, progress)
    if as_json:
        print_json({"about": request.about, "kernels": [msgspec.structs.asdict(kernel) for kernel in kernels]})
        return
    frame, columns = compiled_table(kernels)
    first = compiled_lines(kernels)
    if markdown:
        about = [f"# {escaped(request.operator.name)}, compiled", emphasised(first), escaped(request.about)]
        typer.echo("\n\n".join([*about, tables.markdown(frame, columns)]))
        return
    console().print(request.about, markup=False)
    console().print(tables.terminal(frame, columns, "Compiled here, not run: base → head"))
    console().print(first.replace("**", ""), markup=False)


def gate(
    what: Annotated[str, typer.Argument(help="The run to judge: RUN or RUN:VERSION. Default: its last version.")],
    base: Annotated[
        str | None, typer.Option(help="RUN or RUN:VERSION for --max-slowdown. Default: the version before it.")
    ] = None,
    max_slowdown: Annotated[str | None, typer.Option(help="Of the time relative to base, such as 2%.")] = None,
    min_sol: Annotated[str | None, typer.Option(help="Of the copy floor, such as 85%.")] = None,
    max_registers: Annotated[int | None, typer.Option(help="A thread.", min=1)] = None,
    max_spills: Annotated[int | None, typer.Option(help="Local loads and stores in a kernel.", min=0)] = None,
    case: Annotated[list[str] | None, typer.Option("--case", "-c", help="Judge the times of these alone.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Hold a version against rules: flags, and the table tool.rooflift.gate of pyproject.toml where there is no flag.

    Exit codes: 0 every rule passed, 1 a rule is broken, 2 none is given, or one could not be judged.
    """
    import msgspec

    from rooflift import pipeline
    from rooflift.analysis.compare import compare as judge
    from rooflift.analysis.compare import side
    from rooflift.analysis.gate import exit_code, judge_gate
    from rooflift.analysis.summary import summarize
    from rooflift.analysis.thresholds import read_rules
    from rooflift.project.operator import find_root

    top = find_root((root or Path.cwd()).resolve())
    place, wanted = split(what)
    run = find_run(root, place)
    version = find_version(run, wanted)
    flags: dict[str, Any] = {"max_slowdown": share_of(max_slowdown), "min_sol": share_of(min_sol)}
    flags |= {"max_registers": max_registers, "max_spills": max_spills, "cases": tuple(case or ()) or None}
    rules = msgspec.structs.replace(
        read_rules(top / "pyproject.toml"), **{name: value for name, value in flags.items() if value is not None}
    )
    head = side(run, version)
    comparison = None
    if rules.max_slowdown is not None:
        names = [record.version for record in run.manifest.versions]
        if base is not None:
            comparison = judge(find_side(root, base), head)
        elif names.index(version):
            comparison = judge(side(run, names[names.index(version) - 1]), head)
    compiled = pipeline.compiled_kernels(run, top) if rules.max_spills is not None else run.compiled
    findings = judge_gate(rules, version, summarize(run.manifest, run.metrics, run.timings), compiled, comparison)
    code = exit_code(findings)
    if as_json:
        print_json({"version": head.name, "exit_code": code, "findings": [_as_dict(finding) for finding in findings]})
    else:
        _print_gate(findings, head.name, code)
    raise typer.Exit(code)


def _as_dict(finding: Finding) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(finding)


def _print_gate(findings: list[Finding], name: str, code: int) -> None:
    import pandas as pd

    from rooflift.report import tables
    from rooflift.report.verdicts import GATE_COLUMNS

    frame = pd.DataFrame([_as_dict(finding) for finding in findings])
    console().print(tables.terminal(frame, GATE_COLUMNS, f"Criterion: {name}"))
    counts = frame["status"].value_counts()
    told = ", ".join(f"{counts[word]} {word}" for word in ("passed", "broken", "not judged") if word in counts)
    verdict = ("passes the gate", "fails the gate", "cannot be judged, which is no pass")[code]
    console().print(f"{name} {verdict}: {told}.", markup=False)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(compare)
    app.command()(gate)
