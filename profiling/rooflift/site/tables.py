"""The tables of a site: rows of a project under columns, with links. Renders nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from rooflift.project.gpus import GpuSpec
from rooflift.report import columns
from rooflift.report.cells import MISSING, Cell, Column, Table, duration, figure, number, table_of, time, words
from rooflift.schema import Roofs
from rooflift.site.facts import Facts
from rooflift.site.gather import Ladder, Project, Series, place

PUBLISHED = {  # of a GPU spec
    "dram_bytes_per_s": ("DRAM", " TB/s"),
    "fp32_flops_per_s": ("FP32", " TFLOP/s"),
    "tf32_flops_per_s": ("TF32 tensor", " TFLOP/s"),
    "fp16_flops_per_s": ("FP16 tensor", " TFLOP/s"),
    "bf16_flops_per_s": ("BF16 tensor", " TFLOP/s"),
    "fp8_flops_per_s": ("FP8 tensor", " TFLOP/s"),
    "fp64_flops_per_s": ("FP64", " TFLOP/s"),
}


def href(*parts: str) -> str:
    """Return the address of a page below the site's folder."""
    return "/".join(quote(part) for part in parts)


def run_href(of: str) -> str:
    """Return the page of a run, OPERATOR/RUN."""
    return href("runs", *of.split("/"), "index.html")


def operator_href(label: str) -> str:
    """Return the page of an operator, at one of its ladders."""
    operator, _, ladder = label.partition("/")
    return href("operators", f"{operator}.html") + (f"#{quote(ladder)}" if ladder else "")


def source_href(label: str, version: str) -> str:
    """Return the page of a version's file."""
    return href("sources", *label.split("/"), f"{version}.py.html")


def _linked(name: str, heading: str, link: str) -> Column:
    return Column(heading, lambda row: Cell(str(row[name]) or MISSING, math.nan, row.get(link, "")), right=False)


def _share(name: str, heading: str) -> Column:
    return figure(name, heading, 1)


def runs_table(runs: Iterable[Facts], up: str, *, with_operator: bool = True) -> Table:
    """Return runs, newest first, each with its fastest version on the main case."""
    shown = [_linked("run", "run", "link"), words("ladder", "operator"), words("gpu", "GPU"), words("date")]
    shown += [words("version", "fastest"), time("time_us", "time"), _share("sol_pct", "SOL %"), words("holds")]
    if not with_operator:
        shown = [column for column in shown if column.heading != "operator"]
    return table_of((_run_row(run, up) for run in runs), shown)


def _run_row(run: Facts, up: str) -> dict[str, Any]:
    best = run.best
    metrics = {"none": "no metrics", "imported": ""}.get(run.metrics, f"{run.metrics} metrics")
    origin = f"imported from {run.origin}" if run.origin else "measured"
    holds = [origin, metrics, "suite" * run.suite, "tree changed" * run.dirty]
    return {
        "run": run.run,
        "link": up + run_href(run.place),
        "ladder": run.ladder,
        "gpu": run.gpu,
        "date": run.created[:10],
        "version": best.version if best else "",
        "time_us": best.time_us if best else math.nan,
        "sol_pct": math.nan if best is None or best.sol_pct is None else best.sol_pct,
        "holds": (run.error and f"cannot be read: {run.error}") or ", ".join(filter(None, holds)),
    }


def versions_of_run(run: Facts, known: set[str], up: str) -> Table:
    """Return a run's versions on its main case; those whose file is in the project lead to it."""
    rows, before = [], math.nan
    for one in run.versions:
        time_us = math.nan if one.time_us is None else one.time_us
        link = up + source_href(run.ladder, one.version) if f"{run.ladder}/{one.version}" in known else ""
        share = math.nan if one.sol_pct is None else one.sol_pct
        rows.append(
            {
                "version": one.version,
                "link": link,
                "title": one.title,
                "time_us": time_us,
                "time_x": time_us / before,
                "sol_pct": share,
                "sol_binds": one.sol_binds,
            }
        )
        before = time_us
    shown = [
        _linked("version", "version", "link"),
        time("time_us", "time"),
        figure("time_x", "over the one before", 3, "x"),
    ]
    shown += [_share("sol_pct", "SOL %"), words("sol_binds", "SOL term"), words("title", "what it changes")]
    return table_of(rows, shown)


def versions_of_ladder(ladder: Ladder, series: Sequence[Series], up: str) -> Table:
    """Return a ladder's versions with their newest times on its main case, a column a GPU."""
    assert ladder.found is not None
    rows = []
    for version in ladder.found.versions:
        times = {f"time {place}": one.versions.get(version.name, math.nan) for place, one in enumerate(series)}
        about = {"version": version.name, "link": up + source_href(ladder.label, version.name)}
        rows.append(about | times | {"stage": version.header.stage, "title": version.header.title})
    shown = [_linked("version", "version", "link"), words("stage")]
    shown += [time(f"time {place}", f"{one.gpu}, {one.case} {one.dtype}") for place, one in enumerate(series)]
    return table_of(rows, [*shown, words("title", "what it changes")])


def compared_table(series: Iterable[Series], up: str) -> Table:
    """Return the newest run of each case and GPU beside the best before it."""
    rows = [
        {
            "ladder": one.label,
            "link": up + operator_href(one.label),
            "case": f"{one.case} {one.dtype}",
            "gpu": one.gpu,
            "before": f"{one.before['version']} in {place(one.before).partition('/')[2]}",
            "before_link": up + run_href(place(one.before)),
            "before_us": one.before["time_us"],
            "newest": f"{one.newest['version']} in {place(one.newest).partition('/')[2]}",
            "newest_link": up + run_href(place(one.newest)),
            "newest_us": one.newest["time_us"],
            "time_x": one.time_x,
            "verdict": one.verdict,
        }
        for one in series
        if one.before is not None
    ]
    shown = [_linked("ladder", "operator", "link"), words("case"), words("gpu", "GPU")]
    shown += [figure("time_x", "newest / best before", 3, "x"), words("verdict")]
    shown += [time("before_us", "best before"), time("newest_us", "newest")]
    shown += [_linked("before", "best before, where", "before_link"), _linked("newest", "newest, where", "newest_link")]
    return table_of(rows, shown)


def gpus_of_ladders(project: Project, up: str) -> Table:
    """Return the best of each ladder's main case, a column a GPU."""
    gpus = list(dict.fromkeys(one.gpu for one in project.main))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in project.main:
        link = {"ladder": one.label, "link": up + operator_href(one.label), "case": f"{one.case} {one.dtype}"}
        row = rows.setdefault((one.label, link["case"]), link)
        row[one.gpu] = (one.best["time_us"], project.standing(one).sol_pct)
    shown = [_linked("ladder", "operator", "link"), words("case")]
    return table_of(rows.values(), [*shown, *(Column(gpu, _time_and_share(gpu)) for gpu in gpus)])


def _time_and_share(gpu: str) -> Any:
    def cell(row: Mapping[str, Any]) -> Cell:
        if gpu not in row:
            return Cell(MISSING)
        time_us, share = row[gpu]
        return Cell(duration(time_us) + ("" if share is None else f", {number(share, 1)} % of SOL"), time_us)

    return cell


def spec_table(spec: GpuSpec) -> Table:
    """Return the published figures of a GPU."""
    rows = [("compute capability", spec.compute_capability), ("SMs", str(spec.sm_count))]
    for name, (label, unit) in PUBLISHED.items():
        value = getattr(spec, name)
        if value is not None:
            rows.append((label, number(value / 1e12, 2, unit)))
    return Table(("figure", "published"), (False, True), tuple((Cell(name), Cell(value)) for name, value in rows))


def roofs_table(found: Roofs) -> Table:
    """Return the measured roofs of a GPU beside its datasheet."""
    import pandas as pd

    from rooflift.analysis.roofline import with_datasheet

    return columns.table("roofs", pd.DataFrame(with_datasheet(found)))
