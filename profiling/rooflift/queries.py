"""Questions to a run that its frames alone do not answer: its reports are opened. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooflift.analysis.estimate import Copies, Estimate, project
from rooflift.analysis.hotspots import lines_by_version, with_functions
from rooflift.analysis.launches import MEASURED, launches
from rooflift.analysis.selection import Selection, copy_rate, figures, of, roof_rate
from rooflift.analysis.symptoms import Symptom, find_symptoms
from rooflift.errors import RunFault
from rooflift.ncu.instructions import read_source
from rooflift.ncu.report import RuleResult, read_rules, report_device
from rooflift.ncu.stored import source_texts, stored_instructions
from rooflift.project.gpus import GpuSpec, overruled, spec_for_name, spec_of_report, specs
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import Run
from rooflift.schema import Roofs

if TYPE_CHECKING:
    import pandas as pd


def rule_results(run: Run, about: Selection, found: Sequence[RuleResult] | None = None) -> list[RuleResult]:
    """Return what ncu's rules say of a version; of a report that names none, each rule once for each of its kernels.

    `found` are the rules of the run's reports, where they have been read.
    """
    found = read_rules(run.reports) if found is None else found
    named = [rule for rule in found if rule.version]
    if named:
        return [r for r in named if (r.version, r.case, r.dtype) == (about.version, about.case, about.dtype)]
    kernels = set(run.metrics.loc[run.metrics["version"] == about.version, "kernel"])
    own = [rule for rule in found if rule.kernel in kernels and rule.message.strip()]
    once: dict[tuple[str, str, str], RuleResult] = {}
    for rule in own:
        once.setdefault(
            (rule.kernel, rule.rule, rule.title), rule
        )  # of an error the words, not the traceback behind them
    return list(once.values())


def instructions(run: Run) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return source.parquet, or what the reports hold, columns as `rooflift.ncu.instructions`; and the source files.

    Raises:
        RunFault: source.parquet cannot be read.
        ReportFault: the run has no samples of instructions, with how to get them.
    """
    frame, texts = stored_instructions(run), source_texts(run)
    if frame is not None:
        return frame, texts
    frame, embedded = read_source(run.reports)
    return with_functions(_under_versions(run, frame), embedded | texts), embedded | texts


def _under_versions(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the instructions of a report that names no version under those that its kernels became in the import."""
    if run.manifest.origin is None or not run.manifest.origin.repeats:
        return frame
    named = launches(run.metrics).sort_values("ncu_time_ns").drop_duplicates("kernel", keep="last").set_index("kernel")
    own = frame[frame["kernel"].isin(named.index)]
    names = {field: own["kernel"].astype(object).map(named[field]).astype("category") for field in MEASURED}
    return own.assign(**names)


def symptoms(run: Run, about: Selection) -> list[Symptom]:
    """Return the symptoms of a version; none of a run that keeps no instructions of it."""
    frame = stored_instructions(run)
    if frame is None:
        return []
    rows = frame[(frame["version"] == about.version) & (frame["case"] == about.case) & (frame["dtype"] == about.dtype)]
    return find_symptoms(rows, of(figures(run), about)) if len(rows) else []


def hot_lines(run: Run, about: Selection) -> pd.DataFrame | None:
    """Return the source lines of a version, hottest first; None where the run keeps no instructions of it."""
    frame = stored_instructions(run)
    if frame is None:
        return None
    return lines_by_version(frame, source_texts(run), about.case, about.dtype).get(about.version)


def spec_of(run: Run) -> tuple[GpuSpec, list[str]]:
    """Return the spec of a run's GPU, what its report says in its place, and each contradiction between the two.

    Raises:
        RunFault: no spec stands for the GPU.
    """
    gpu = run.manifest.machine.gpu
    spec = spec_for_name(gpu)
    if spec is None and run.reports:
        spec = spec_of_report(gpu, report_device(run.reports[0]).figures)
    if spec is None:
        known = ", ".join(found.name for found in specs().values())
        raise RunFault(f"{run.folder}: no spec stands for the GPU {gpu!r}", f"gpus.toml has {known}.")
    if not run.reports:
        return spec, []
    return overruled(spec, report_device(run.reports[0]).figures, run.reports[0].name)


def estimate(run: Run, about: Selection, target: GpuSpec, there: Roofs | None = None) -> Estimate:
    """Return what a version would need on another GPU; `there` are the measured roofs of it.

    Raises:
        RunFault: no spec stands for the run's GPU, or metrics that an estimate needs are missing.
    """
    return estimates(run, [about], target, there)[0][1]


def estimates(
    run: Run, chosen: Sequence[Selection], target: GpuSpec, there: Roofs | None = None
) -> list[tuple[Selection, Estimate]]:
    """Return several versions of a run, each with its `estimate`.

    Raises:
        RunFault: as `estimate`.
    """
    frame, spec, here = figures(run), spec_of(run)[0], roofs_of(run)
    rows = [(about, of(frame, about)) for about in chosen]
    return [(about, project(row, spec, target, Copies(copy_rate(row, here), roof_rate(there)))) for about, row in rows]
