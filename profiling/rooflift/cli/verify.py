"""`rooflift verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli.console import console, print_json, progress_shown
from rooflift.cli.options import AsJson, Cases, Dtypes, OperatorName, Root, Sanitize, Timeout, Versions
from rooflift.cli.resolve import project_root
from rooflift.errors import CatalogError, KernelFault, NoGpu, WrongResult


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
    """Compare versions with the reference in float64.

    On the test cases, on the GPU or in Triton's interpreter. Exit codes: 0 all agree, 1 one does not.
    """
    import msgspec

    from rooflift.measure import environment, sanitizer, session
    from rooflift.measure.request import request_for

    request = request_for(
        project_root(root), operator, versions=version, cases=case, dtypes=dtype, use="test", timeout_s=timeout
    )
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
            checks = session.verify(request, request.cases, interpret, progress)
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
        from rooflift.report.text import sanitizer_text

        console().print(sanitizer_text(findings), markup=False)
    raise typer.Exit(code)
