"""`rooflift lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rooflift.cli.console import note, print_json
from rooflift.cli.options import AsJson, OfOperator, Root, SomeStage
from rooflift.cli.resolve import project_root
from rooflift.escape import printable


def lint(
    file: Annotated[Path, typer.Argument(help="A candidate: a kernel file, or Markdown with one fenced block.")],
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

    from rooflift.lint.lint import lint_file, unchecked
    from rooflift.project.operator import load_operator

    findings = lint_file(file, load_operator(project_root(root), operator).reference, stage, base)
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
