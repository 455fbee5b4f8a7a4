"""`rooflift compare`: of recorded runs, or of git revisions, which are measured or compiled here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli.console import note, print_json, print_parts, print_view, progress_shown
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
)
from rooflift.cli.resolve import split
from rooflift.errors import CatalogError

if TYPE_CHECKING:
    from rooflift.api.comparison import Comparison
    from rooflift.api.kernels import KernelComparison
    from rooflift.api.project import Say

NOTHING_COMPARABLE = 1


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
    kernel: Annotated[
        bool,
        typer.Option(
            "--kernel",
            help="Of runs with samples: down to lines and SASS, on one case; with --compile-only of versions.",
        ),
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="With --compile-only or --kernel: print Markdown.")
    ] = False,
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
    of_runs = ".." not in base or Path(base).exists()
    if kernel:
        if not of_runs:
            raise CatalogError("--kernel of git revisions", "Name two runs; of revisions --compile-only has the mixes.")
        wanted = (case[0] if case else None, dtype[0] if dtype else None)
        if compile_only:
            with progress_shown() as progress:
                inside = _compiled(base, head, *wanted, (target or [90])[0], progress, root)
        else:
            inside = _kernels(base, head, *wanted, root)
        typer.echo(inside.markdown) if markdown and not as_json else print_view(inside, as_json)
        return
    if of_runs and compile_only:
        remedy = "Two versions of an operator: rooflift compare OPERATOR:v1 :v2 --kernel --compile-only."
        raise CatalogError("--compile-only of two runs", remedy)
    if of_runs:
        _print(_of_runs(base, head, version or [], root, alpha=alpha, min_effect=min_effect, force=force), as_json)
        return
    if len(version or []) > 1:
        raise CatalogError("several versions of two revisions", "Name one with --version.")
    from rooflift.api.operators import operator

    one = operator(head, root=root)
    of_version, cases, dtypes = version[0] if version else None, case or (), dtype or ()
    with progress_shown() as progress:
        if compile_only:
            pair = one.compare_compiled(
                base,
                version=of_version,
                cases=cases,
                dtypes=dtypes,
                targets=target or DEFAULT_TARGETS,
                timeout_s=timeout,
                say=progress,
            )
        else:
            found = one.compare(
                base,
                version=of_version,
                cases=cases,
                dtypes=dtypes,
                suite=suite,
                metrics=metrics,
                precision=precision,
                budget_s=budget,
                alpha=alpha,
                min_effect=min_effect,
                out=out,
                timeout_s=timeout,
                say=progress,
            )
    if not compile_only:
        _print([found], as_json)
    elif markdown and not as_json:
        typer.echo(pair.markdown)
    else:
        print_view(pair, as_json)


def _of_runs(
    base: str,
    head: str,
    versions: list[str],
    root: Path | None,
    **rule: Any,
) -> list[Comparison]:
    """Return what "RUN[:VERSION]" twice, or "RUN:VERSION" and ":VERSION", name: one pair, or one a named version."""
    (place, one), (other_place, other) = split(base), split(head)
    if versions and (one or other):
        raise CatalogError("--version, and a version behind a colon", "Name the versions in one of the two ways.")
    from rooflift.api import find

    run = find.open(place, root=root)
    second = run if other_place in ("", place) else find.open(other_place, root=root)
    if not versions:
        return [run.compare(one, other, other=second, **rule)]
    return [run.compare(version, version, other=second, **rule) for version in versions]


def _kernels(base: str, head: str, case: str | None, dtype: str | None, root: Path | None) -> KernelComparison:
    from rooflift.api import find
    from rooflift.api.kernels import compare_kernels

    (place, one), (other_place, other) = split(base), split(head)
    run = find.open(place, root=root)
    second = run if other_place in ("", place) else find.open(other_place, root=root)
    return compare_kernels(run, one, second, other, case, dtype)


def _compiled(
    base: str, head: str, case: str | None, dtype: str | None, target: int, say: Say, root: Path | None
) -> KernelComparison:
    from rooflift.api.kernels import compare_compiled
    from rooflift.api.operators import operator

    (name, one), (other_name, other) = split(base), split(head)
    if not one or not other or other_name not in ("", name):
        remedy = "rooflift compare OPERATOR:v1 :v2 --kernel --compile-only"
        raise CatalogError("--compile-only takes two versions of one operator", remedy)
    return compare_compiled(operator(name, root=root), one, other, case, dtype, target, say)


def _print(found: list[Comparison], as_json: bool) -> None:
    """Print comparisons, and leave with 1 when none of them has a verdict."""
    if as_json:
        print_json([comparison.record() for comparison in found])
    for comparison in found:
        if not as_json:
            print_parts(comparison.parts())
        for line in comparison.notes:
            note(line)
    raise typer.Exit(0 if any(comparison.comparable for comparison in found) else NOTHING_COMPARABLE)
