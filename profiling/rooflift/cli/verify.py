"""`rooflift verify`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rooflift.cli.console import print_view, progress_shown
from rooflift.cli.options import AsJson, Candidate, Cases, Dtypes, OperatorName, Root, Sanitize, Timeout, Versions
from rooflift.errors import KernelFault, WrongResult


def verify(
    operator: OperatorName,
    version: Versions = None,
    candidate: Candidate = None,
    case: Cases = None,
    dtype: Dtypes = None,
    interpret: Annotated[
        bool, typer.Option("--interpret", help="Use Triton's interpreter on the CPU, also where there is a GPU.")
    ] = False,
    sanitize: Sanitize = False,
    kernelbench: Annotated[
        bool,
        typer.Option(
            "--kernelbench", help="Judge as KernelBench's evaluation does; --json is its form. On a GPU: timed."
        ),
    ] = False,
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compare versions with the reference in float64.

    On the test cases, on the GPU or in Triton's interpreter. Exit codes: 0 all agree, 1 one does not, 2 the
    interpreter cannot run one.
    """
    from rooflift.api import checks
    from rooflift.api.kernelbench import kernelbench as judged

    named: dict[str, Any] = {
        "versions": version or (),
        "candidate": candidate,
        "cases": case or (),
        "dtypes": dtype or (),
    }
    if kernelbench:
        with progress_shown() as progress:
            results = judged(operator, **named, interpret=interpret or None, timeout_s=timeout, say=progress, root=root)
        print_view(results, as_json)
        raise typer.Exit(0 if results.accepted else 1)
    try:
        with progress_shown() as progress:
            found = checks.verify(
                operator,
                **named,
                interpret=interpret or None,
                sanitize=sanitize,
                timeout_s=timeout,
                say=progress,
                root=root,
            )
    except (WrongResult, KernelFault) as fault:
        fault.exit_code = 1  # a check failed: that is an answer of this command
        raise
    print_view(found, as_json)
    if not found.accepted:
        raise typer.Exit(1)
