"""Questions to a run that its frames alone do not answer: its reports are opened. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rooflift.analysis.estimate import Copies, Estimate, project
from rooflift.analysis.selection import Selection, copy_rate, figures, of, roof_rate
from rooflift.errors import RunFault
from rooflift.ncu.report import RuleResult, read_rules, report_device
from rooflift.project.gpus import GpuSpec, overruled, spec_for_name, specs
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import Run
from rooflift.schema import Roofs


def rule_results(run: Run, about: Selection) -> list[RuleResult]:
    """Return what ncu's rules say of a version; a foreign report names none, and all of its results are returned."""
    found = read_rules(run.reports)
    named = [rule for rule in found if rule.version]
    return [r for r in named if (r.version, r.case, r.dtype) == (about.version, about.case, about.dtype)] or [
        rule for rule in found if not named
    ]


def spec_of(run: Run) -> tuple[GpuSpec, list[str]]:
    """Return the spec of a run's GPU, what its report says in its place, and each contradiction between the two.

    Raises:
        RunFault: no spec stands for the GPU.
    """
    gpu = run.manifest.machine.gpu
    spec = spec_for_name(gpu)
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
