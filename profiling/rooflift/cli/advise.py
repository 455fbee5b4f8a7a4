"""`rooflift advise`."""

from __future__ import annotations

from typing import Annotated

import typer

from rooflift.cli.console import console, print_json, shown
from rooflift.cli.options import AsJson, Case, Dtype, Root, RunName
from rooflift.cli.resolve import find_run


def advise(
    what: RunName,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="v1_grid, v1 or 1. Default: the run's last.")
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Show SOL, bottleneck and the stage worth trying next.

    Or that no stage is worth trying: the version is at its speed of light.
    """
    from dataclasses import asdict

    from rooflift.analysis.selection import advise, select
    from rooflift.queries import rule_results
    from rooflift.report.advice import advice_text, ncu_rules

    run = find_run(root, what)
    about = select(run, version, case, dtype)
    found = advise(run, about)
    rules = rule_results(run, about)
    if as_json:
        said = {
            "ncu_rules": [asdict(rule) for rule in rules],
            "ncu_rules_missing": "" if rules else ncu_rules([], run)[0],
        }
        print_json(
            {"run": shown(run.folder), "gpu": run.manifest.machine.gpu, **asdict(about), **asdict(found), **said}
        )
        return
    words = advice_text(found, ncu_rules(rules, run))
    console().print(f"{run.manifest.operator} {about}, on {run.manifest.machine.gpu}", markup=False)
    lines = {
        "Distance": words.distance,
        "Excess traffic": words.excess_traffic,
        "Bottleneck": f"{words.bottleneck}: {words.evidence}",
        "Verdict": words.verdict,
        "How": words.how,
        "Gain": words.gain,
        "Next bottleneck": words.next_bottleneck,
        **{f"Stage {name}": why for name, why in words.stages.items()},
    }
    for name, text in lines.items():
        console().print(f"  {name + ':':<16}{text}", markup=False)
    for share in found.shares:
        value = f"{share.pct:5.1f} %" if share.pct is not None else f"missing: {share.missing}"
        console().print(f"    {share.resource:<18}{value}  {share.ncu_name}", markup=False)
    for text in words.warnings:
        console().print(f"  Warning: {text}", markup=False)
    console().print("  ncu's own rules:")
    for text in words.ncu_rules:
        console().print(f"    {text}", markup=False)
