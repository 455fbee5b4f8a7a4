"""`rooflift gate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli.console import console, print_json
from rooflift.cli.options import AsJson, Root, share_of
from rooflift.cli.resolve import find_run, find_side, find_version, project_root, split

if TYPE_CHECKING:
    from rooflift.analysis.gate import Finding


def gate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN[:VERSION]", help="The run to judge: RUN or RUN:VERSION. Default: its last version."
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="RUN or RUN:VERSION for --max-slowdown. Default: the version before it.")
    ] = None,
    max_slowdown: Annotated[
        str | None, typer.Option(help="The most that the time may grow against the base, such as 2%.")
    ] = None,
    min_sol: Annotated[str | None, typer.Option(help="The least SOL %, such as 85%.")] = None,
    max_registers: Annotated[int | None, typer.Option(help="The most registers a thread.", min=1)] = None,
    max_spills: Annotated[int | None, typer.Option(help="The most local loads and stores in a kernel.", min=0)] = None,
    case: Annotated[list[str] | None, typer.Option("--case", "-c", help="Judge the times of these alone.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Check a version against thresholds, for CI.

    They are options, or stand in the table tool.rooflift.gate of pyproject.toml; an option goes first.

    Exit codes: 0 every rule passed, 1 a rule is broken, 2 none is given, or one could not be judged.
    """
    import msgspec

    from rooflift import pipeline
    from rooflift.analysis.compare import compare as judge
    from rooflift.analysis.compare import side
    from rooflift.analysis.gate import exit_code, judge_gate
    from rooflift.analysis.selection import figures
    from rooflift.analysis.thresholds import read_rules

    top = project_root(root)
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
    findings = judge_gate(rules, version, figures(run), compiled, comparison)
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

    from rooflift.report import columns
    from rooflift.report.terminal import terminal

    frame = pd.DataFrame([_as_dict(finding) for finding in findings])
    console().print(terminal(columns.table("gate", frame), f"Gate: {name}"))
    counts = frame["status"].value_counts()
    told = ", ".join(f"{counts[word]} {word}" for word in ("passed", "broken", "not judged") if word in counts)
    verdict = ("passes the gate", "fails the gate", "cannot be judged, which is no pass")[code]
    console().print(f"{name} {verdict}: {told}.", markup=False)
