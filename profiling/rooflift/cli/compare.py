"""`rooflift compare`: of recorded runs, or of git revisions, which are measured or compiled here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rooflift.cli.comparison import print_comparisons, print_compiled
from rooflift.cli.console import console, note, progress_shown, shown
from rooflift.cli.options import (
    DEFAULT_TARGETS,
    AsJson,
    Budget,
    Cases,
    Dtypes,
    Metrics,
    Precision,
    Root,
    Targets,
    Timeout,
    share_of,
)
from rooflift.cli.resolve import find_sides, project_root
from rooflift.errors import CatalogError

if TYPE_CHECKING:
    from rooflift.analysis.compare import Comparison, Rule
    from rooflift.measure.request import Request


def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="RUN, RUN:VERSION, or revisions: BASE..HEAD, BASE.. (working tree).")
    ],
    head: Annotated[
        str,
        typer.Argument(metavar="HEAD", help="RUN, RUN:VERSION, :VERSION of the same run; of revisions the operator."),
    ],
    version: Annotated[
        list[str] | None,
        typer.Option(
            "--version",
            "-v",
            metavar="VERSION",
            help="The same version on both sides; of runs several. Default: the last.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Show ratios, without a verdict, of what differs.")] = False,
    min_effect: Annotated[str, typer.Option(help="The minimum effect: a smaller change is noise.")] = "1%",
    alpha: Annotated[float, typer.Option(help="Chance of one false verdict among all.", min=1e-9, max=0.5)] = 0.01,
    case: Cases = None,
    dtype: Dtypes = None,
    suite: Annotated[bool, typer.Option("--suite", help="Time every bench case and dtype.")] = False,
    metrics: Metrics = "standard",
    precision: Precision = "0.5%",
    budget: Budget = None,
    compile_only: Annotated[
        bool, typer.Option("--compile-only", help="Only what the compiler makes of the revisions; needs no GPU.")
    ] = False,
    target: Targets = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="With --compile-only: print Markdown.")] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder to make.")] = None,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compare two versions: of runs, or of git revisions.

    Two runs, two versions of one run, or an operator at two git revisions, which are measured here in one go; the
    options from --case on are for revisions alone. Every case and dtype is faster, slower, within noise, or not
    comparable. Exit codes: 0 compared, 1 no case is comparable, 2 the work could not be done.
    """
    from rooflift.analysis.compare import Rule
    from rooflift.analysis.compare import compare as judge

    rule = Rule(alpha, share_of(min_effect) or 0.0)
    if ".." not in base or Path(base).exists():
        sides = find_sides(root, base, head, version or [])
        print_comparisons([judge(*pair, rule, force=force) for pair in sides], as_json)
        return
    if len(version or []) > 1:
        raise CatalogError("several versions of two revisions", "Name one with --version.")
    from rooflift.measure import environment
    from rooflift.measure.request import Request, command_line
    from rooflift.project.git import pair, parse_range
    from rooflift.schema import MeasureOptions

    top = project_root(root)
    if not compile_only:
        environment.driver()  # the first thing that can be missing
    with pair(top, parse_range(base), head, version[0] if version else None) as both:
        request = Request(
            root=top,
            operator=both.operator,
            versions=both.operator.versions,
            cases=both.operator.select_cases(case or [], "bench"),
            dtypes=dtype or [],
            metric_set="none" if compile_only else metrics,
            timeout_s=timeout,
            command=command_line(
                "compare",
                base,
                head,
                version=version,
                case=case,
                dtype=dtype,
                suite=suite,
                metrics=metrics,
                precision=precision,
                budget=budget,
            ),
            named=bool(case),
            suite=suite,
            options=MeasureOptions(precision=share_of(precision), budget_s=budget, noise=True),
            commit=both.commit,
            about=both.about,
        )
        if compile_only:
            print_compiled(request, target or list(DEFAULT_TARGETS), as_json=as_json, markdown=markdown)
        else:
            print_comparisons([_measured(request, out, rule, as_json)], as_json)


def _measured(request: Request, out: Path | None, rule: Rule, as_json: bool) -> Comparison:
    """Measure both revisions in one run and compare them."""
    from rooflift import pipeline
    from rooflift.analysis.compare import compare as judge
    from rooflift.analysis.compare import side
    from rooflift.runs.run import read_run

    folder = out or request.root / "build" / "compare" / request.operator.label
    with progress_shown() as progress:
        told = pipeline.profile(request, folder, progress, numbered=out is None)
    run = read_run(told.folder)
    if told.resumed:
        note(told.resumed)
    if not as_json:
        console().print(request.about, markup=False)
    note(f"Wrote {shown(told.folder)}")
    return judge(side(run, "v0_base"), side(run, "v1_head"), rule)
