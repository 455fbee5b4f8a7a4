"""`rooflift lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import note, print_json
from rooflift.cli.options import AsJson, OfOperator, Root, SomeStage
from rooflift.escape import printable


def lint(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A candidate: a kernel file, or Markdown with one fenced block.")
    ],
    operator: OfOperator,
    stage: SomeStage = None,
    base: Annotated[Path | None, typer.Option(help="The version that the candidate starts from.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check a candidate without running it.

    Its form, its launches and whether it computes what it must in kernels of its own; with --stage, the rules of that
    stage as well. Exit codes: 0 accepted, 1 rejected.
    """
    from dataclasses import asdict

    from rooflift.api.work import lint

    judged = lint(file, operator, stage=stage, base=base, root=root)
    if as_json:
        found = [asdict(finding) for finding in judged.findings]
        print_json({"file": str(file), "accepted": judged.accepted, "findings": found, "unchecked": judged.unchecked})
    else:
        for finding in judged.findings:
            found_at = f"{file}:{finding.line}:{finding.column}: {finding.rule}"
            typer.echo(printable(f"{found_at}: {finding.what}\n  {finding.remedy}"))
        verdict = "accepted" if judged.accepted else f"rejected, findings: {len(judged.findings)}"
        typer.echo(f"{file}: {verdict}")
        for gap in judged.unchecked:
            note(gap)
    if not judged.accepted:
        raise typer.Exit(1)
