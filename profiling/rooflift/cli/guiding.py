"""The commands that guide: import, advise, prompt, project. `cli` takes them up."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import console, note, print_json, records_of, shown
from rooflift.cli.judging import AsJson, Root, find_run
from rooflift.errors import CatalogError, did_you_mean
from rooflift.runs import atomic
from rooflift.runs.find import newest_on

if TYPE_CHECKING:
    from rooflift.schema import Roofs

RunName = Annotated[
    str, typer.Argument(help="A run folder or its name, or an operator.", autocompletion=completion.runs)
]
OperatorName = Annotated[str, typer.Argument(help="A folder below kernels/.", autocompletion=completion.operators)]
Case = Annotated[str | None, typer.Option("--case", "-c", help="A case of the run. Default: main.")]
Dtype = Annotated[str | None, typer.Option("--dtype", "-d", help="A dtype of that case. Default: its first.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("import")(import_)
    app.command()(advise)
    app.command()(prompt)
    app.command()(estimate)


def import_(
    file: Annotated[Path, typer.Argument(help="A .ncu-rep, or JSON: kernel -> ncu metric name -> value.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    operator: Annotated[
        str | None,
        typer.Option("--operator", "-f", help="The operator that was profiled.", autocompletion=completion.operators),
    ] = None,
    version: Annotated[str | None, typer.Option("--version", "-v", help="Its version: v1_grid, v1 or 1.")] = None,
    gpu: Annotated[
        str | None, typer.Option(help="The GPU, by its spec: rtx4090, h100, ...", autocompletion=completion.gpus)
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Make a run folder of a report or metrics from elsewhere; what nobody says stays unknown, and says so."""
    import msgspec

    from rooflift.importer import Label, import_file
    from rooflift.project.cases import DTYPES
    from rooflift.project.gpus import spec_for_key
    from rooflift.project.operator import load_operator

    if dtype is not None and dtype not in DTYPES:
        raise CatalogError(f"no dtype {dtype!r}", did_you_mean(dtype, DTYPES))
    top = _root(root) if operator else (root or Path.cwd())
    of_operator = load_operator(top, operator) if operator else None
    if of_operator and case:
        of_operator.select_cases([case], "bench")
    of_version = of_operator.select_versions([version])[0] if of_operator and version else version or ""
    label = Label(of_operator, of_version, spec_for_key(gpu) if gpu else None, case or "", dtype or "")
    run = import_file(file, label, top, out)
    if as_json:
        print_json({"run": shown(run.folder), **msgspec.to_builtins(run.manifest)})
        return
    manifest = run.manifest
    console().print(f"Wrote {shown(run.folder)}: {manifest.operator}, on {manifest.machine.gpu}", markup=False)
    for text in manifest.notes:
        note(text)


def advise(
    what: RunName,
    version: Annotated[str | None, typer.Argument(help="v1_grid, v1 or 1. Default: the run's last.")] = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Say how far a version is from the roof, what bounds it, which stage addresses that, and when to stop."""
    from dataclasses import asdict

    from rooflift.analysis.selection import advise, rule_results, select
    from rooflift.optimize.prompt import advice_text, ncu_rules

    run = find_run(root, what)
    about = select(run, version, case, dtype)
    found = advise(run, about, roofs_of(root, run.manifest.machine.gpu))
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
        "Limit": f"{words.limit}: {words.evidence}",
        "Verdict": words.verdict,
        "How": words.how,
        "Gain": words.gain,
        "Next limit": words.next_limit,
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


def prompt(
    operator: OperatorName,
    version: Annotated[str, typer.Argument(help="The version to start from: v1_grid, v1 or 1.")],
    stage: Annotated[str, typer.Option(help="grid, tiling, memory or tuning.", autocompletion=completion.stages)],
    gpu: Annotated[
        str, typer.Option(help="The target, by its spec: rtx4090, h100, ...", autocompletion=completion.gpus)
    ],
    run: Annotated[
        str | None,
        typer.Option(
            help="The run to tell. Default: the newest on that GPU, else the newest.", autocompletion=completion.runs
        ),
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    form: Annotated[str, typer.Option("--format", help="md or json.")] = "md",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Tell a writer of kernels all that the next version needs: target, stage, code, metrics, diagnosis, rules."""
    import msgspec

    from rooflift.analysis.selection import select
    from rooflift.optimize.prompt import markdown, prompt
    from rooflift.project.gpus import spec_for_key
    from rooflift.project.operator import load_operator

    if form not in ("md", "json"):
        raise CatalogError(f"--format {form}: no such form", did_you_mean(form, ("md", "json")))
    top = _root(root)
    of_operator = load_operator(top, operator)
    of_version = of_operator.select_versions([version])[0]
    spec = spec_for_key(gpu)
    of_run = find_run(root, run) if run else newest_on(top, operator, spec.matches)
    about = select(of_run, of_version.name, case, dtype)
    here, there = (roofs_of(root, name) for name in (of_run.manifest.machine.gpu, spec.matches[0]))
    told = prompt(of_operator, of_version, stage, spec, of_run, about, here, there)
    if as_json or form == "json":
        print_json(msgspec.to_builtins(told))
    else:
        typer.echo(markdown(told), nl=False)


def estimate(
    what: RunName,
    to: Annotated[
        str | None, typer.Option(help="The target, by its spec: rtx4090, h200, ...", autocompletion=completion.gpus)
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A run on the target: the estimates are held against it.", autocompletion=completion.runs),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --against: write the error table here, as Markdown.")] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", "-v", help="v1_grid, v1 or 1; several times. Default: all.")
    ] = None,
    case: Case = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Say what a run's versions would need on another GPU: time, limit, percentages; or how wrong that would be."""
    from dataclasses import asdict

    import pandas as pd

    from rooflift.analysis import selection
    from rooflift.project.gpus import spec_for_key
    from rooflift.report import estimate as forecast
    from rooflift.report import tables

    run = find_run(root, what)
    truth = find_run(root, against) if against else None
    if truth is None and to is None:
        raise CatalogError("no target GPU", "Name one with --to, or a run on it with --against.")
    if out is not None and truth is None:
        raise CatalogError("--out without --against: there is nothing to hold against", "Name a run with --against.")
    named = spec_for_key(to) if to else None
    target = selection.spec_of(truth)[0] if truth else named
    assert target is not None  # one of the two was given
    if named is not None and named.name != target.name:
        raise CatalogError(f"--to {to} is {named.name}, {against} was measured on {target.name}", "Leave out --to.")
    here, there = (roofs_of(root, name) for name in (run.manifest.machine.gpu, target.matches[0]))
    chosen = selection.select_all(run, version, case, dtype)
    found = [(about, selection.estimate(run, about, target, here, there)) for about in chosen]
    held = selection.held(found, truth) if truth else []
    assumptions = found[0][1].assumptions
    rows = pd.DataFrame([asdict(row) for row in held]) if truth else forecast.estimate_rows(found)
    for text in selection.spec_of(run)[1]:
        note(f"{text}: the report is believed.")
    if out is not None and truth is not None:
        table = forecast.error_table(held, run.manifest, truth.manifest, assumptions)
        atomic.write_file(out, table)
    if as_json:
        print_json({"run": shown(run.folder), "target": target.name, "rows": records_of(rows), "assumed": assumptions})
        return
    title = f"{run.manifest.operator}, measured on {run.manifest.machine.gpu}, estimated to {target.name}"
    columns = forecast.HELD_COLUMNS if truth else forecast.ESTIMATE_COLUMNS
    console().print(tables.terminal(rows, columns, title))
    for text in assumptions:
        console().print(f"  {text}", markup=False)
    if out is not None:
        console().print(f"Wrote {shown(out)}", markup=False)


def roofs_of(root: Path | None, gpu: str) -> Roofs | None:
    """Return the newest measured roofs of a GPU, None where there are none or no project is here."""
    from rooflift.runs.roofs import newest_roofs

    with suppress(CatalogError):
        return newest_roofs(_root(root) / "reports", gpu)
    return None


def _root(root: Path | None) -> Path:
    from rooflift.project.operator import find_root

    return find_root((root or Path.cwd()).resolve())
