"""The prompt: what a writer of kernels needs for the next version, as data. Runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from rooflift import queries
from rooflift.analysis import selection
from rooflift.analysis.hotspots import behind
from rooflift.analysis.predictions import judge
from rooflift.analysis.selection import Selection
from rooflift.analysis.summary import KEY
from rooflift.errors import RunFault
from rooflift.lint.rules import rules
from rooflift.ncu.metrics import BY_NAME
from rooflift.ncu.report import report_device
from rooflift.optimize.classes import class_of, classes
from rooflift.optimize.journal import FIRST
from rooflift.optimize.spec import Figure, sheet_figures
from rooflift.optimize.worth import algorithm_text
from rooflift.optimize.written import markdown
from rooflift.project.cases import Case
from rooflift.project.gpus import GpuSpec, overruled, spec_for_name
from rooflift.project.operator import Operator, Version
from rooflift.project.stages import Wanted, stage, stages
from rooflift.report.advice import Advice, advice_text, ncu_rules
from rooflift.report.first_look import NOTHING, first_advice, work_text
from rooflift.report.hotspots import sentences
from rooflift.runs.find import ladder_label
from rooflift.runs.run import Run
from rooflift.runs.verify import sha256
from rooflift.schema import CompiledKernel, Roofs


class Metric(msgspec.Struct, frozen=True):
    """A metric that the stage looks at: what was measured, what is wanted, and whether it is."""

    name: str
    ncu_name: str
    value: float | str  # the reason where there is no value
    want: str
    verdict: str
    why: str


class Iteration(msgspec.Struct, frozen=True):
    """A version of the run: what it changed, what it gave, and how its predictions came out."""

    version: str
    stage: str
    title: str
    change: str
    time: str
    speedup: str
    sol: str
    bottleneck: str
    predictions: list[str]


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is told; each field is shown."""

    operator: str
    version: str
    stage: str
    gpu: str
    spec: list[Figure]
    contradictions: list[str]
    stage_title: str
    focus: str
    operator_class: str
    class_focus: str
    algorithm: list[str]  # what speaks for another one, in the stage about it; else empty
    stage_metrics: list[Metric]
    stage_rules: list[str]
    safety: list[str]
    autotune: list[str]
    reference: str
    code: str
    measured_on: str
    case: str
    metrics: dict[str, dict[str, float]]  # kernel -> ncu name -> value
    missing: dict[str, str]  # ncu name -> why it has no value
    diagnosis: Advice
    hot_lines: list[str]  # where the time goes, hottest first; empty without samples of instructions
    estimated: list[str]
    tried: list[Iteration]
    output_rules: list[str]

    def __str__(self) -> str:
        return markdown(self)

    def _repr_markdown_(self) -> str:
        return markdown(self)


def prompt(
    operator: Operator,
    version: Version,
    stage_name: str,
    target: GpuSpec,
    run: Run,
    about: Selection,
    there: Roofs | None = None,
) -> Prompt:
    """Return the prompt for the step after `version`; `there` are the measured roofs of the target.

    Raises:
        CatalogError: there is no such stage.
    """
    now = stage(stage_name)
    row = selection.of(selection.figures(run), about)
    is_target = spec_for_name(run.manifest.machine.gpu) is target
    contradictions: list[str] = []
    if is_target and run.reports:
        target, contradictions = overruled(target, report_device(run.reports[0]).figures, run.reports[0].name)
    kernels, missing = _metrics(run, about)
    return Prompt(
        operator=operator.name,
        version=version.name,
        stage=stage_name,
        gpu=target.name,
        spec=sheet_figures(target),
        contradictions=contradictions,
        stage_title=now.title,
        focus=now.focus,
        **_class(operator),
        algorithm=algorithm_text(run, about) if stage_name == FIRST else [],
        stage_metrics=stage_metrics(stage_name, row, selection.missing(run, about), _metrics_of_class(operator)),
        stage_rules=[rule.text for rule in now.rules],
        safety=list(now.safety),
        autotune=list(now.autotune),
        reference=operator.reference.read_text(encoding="utf-8").rstrip(),
        code=version.path.read_text(encoding="utf-8").rstrip(),
        measured_on=_measured_on(run, version, is_target),
        case=_case(run, about),
        metrics=kernels,
        missing=missing,
        diagnosis=advice_text(selection.advise(run, about), ncu_rules(queries.rule_results(run, about), run)),
        hot_lines=_hot_lines(run, about),
        estimated=[] if is_target else _projected(run, about, target, there),
        tried=_tried(run, about),
        output_rules=output_rules(stage_name),
    )


def _class(operator: Operator) -> dict[str, Any]:
    name = class_of(operator.reference)
    return {"operator_class": name, "class_focus": classes()[name].focus}


def _metrics_of_class(operator: Operator) -> Sequence[Wanted]:
    return classes()[class_of(operator.reference)].metrics


def first_prompt(
    operator: Operator,
    version: Version | None,
    stage_name: str,
    target: GpuSpec,
    case: Case,
    kernels: Sequence[CompiledKernel] = (),
) -> Prompt:
    """Return the prompt of a version that was never measured: with what the compiler made of it, and no percentage.

    Without a `version` the reference is all there is, and the prompt asks for the first one.

    Raises:
        CatalogError: there is no such stage.
    """
    now = stage(stage_name)
    unknown = {wanted.name: NOTHING for wanted in (*now.metrics, *_metrics_of_class(operator))}
    return Prompt(
        operator=operator.name,
        version=version.name if version else "",
        stage=stage_name,
        gpu=target.name,
        spec=sheet_figures(target),
        contradictions=[],
        stage_title=now.title,
        focus=now.focus,
        **_class(operator),
        algorithm=[f"{NOTHING[0].upper()}{NOTHING[1:]}. {work_text(case, target)}."] if stage_name == FIRST else [],
        stage_metrics=stage_metrics(stage_name, {}, unknown, _metrics_of_class(operator)),
        stage_rules=[rule.text for rule in now.rules],
        safety=list(now.safety),
        autotune=list(now.autotune),
        reference=operator.reference.read_text(encoding="utf-8").rstrip(),
        code=version.path.read_text(encoding="utf-8").rstrip() if version else "",
        measured_on=f"no GPU: {NOTHING}",
        case=work_text(case, target),
        metrics={},
        missing={"every metric": NOTHING},
        diagnosis=first_advice(kernels, case, target, operator.label),
        hot_lines=[],
        estimated=[],
        tried=[],
        output_rules=output_rules(stage_name),
    )


def _hot_lines(run: Run, about: Selection) -> list[str]:
    found = queries.hot_lines(run, about)
    return [] if found is None else [behind(found), *map(str, queries.symptoms(run, about)), *sentences(found)]


def output_rules(stage_name: str) -> list[str]:
    """Return what `rooflift lint` will ask of the candidate: its general rules, and those of the stage."""
    others = {rule for found in stages().values() for rule in found.lint_rules} - {*stage(stage_name).lint_rules}
    return [f"{text} ({name})" for name, text in rules().items() if name not in others]


def stage_metrics(
    stage_name: str, row: dict[str, Any], missing: dict[str, str], of_class: Sequence[Wanted] = ()
) -> list[Metric]:
    """Return the metrics of a stage, and those of a class in its terms; one without a value says why."""
    found = []
    listed = {wanted.name: wanted for wanted in stage(stage_name).metrics}
    listed |= {wanted.name: wanted for wanted in of_class if wanted.want or wanted.name not in listed}
    for wanted in listed.values():
        value, threshold = float(row.get(wanted.name, math.nan)), wanted.threshold
        if math.isnan(value):
            shown: float | str = f"missing: {missing.get(wanted.name, 'not collected for this case')}"
            verdict = "not judged" if threshold else "no threshold"
        else:
            shown = value
            verdict = ("met" if threshold.holds(value) else "not met") if threshold else "no threshold"
        ncu_name = BY_NAME[wanted.name].ncu[0]
        found.append(Metric(wanted.name, ncu_name, shown, wanted.want or "any value", verdict, wanted.why))
    return found


def _metrics(run: Run, about: Selection) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Return the metrics by kernel and exact ncu name, and the names without a value, each with its reason."""
    rows = run.metrics[(run.metrics[KEY] == [about.version, about.case, about.dtype]).all(axis=1)]
    found: dict[str, dict[str, float]] = {}
    missing: dict[str, str] = {}
    several = set(rows[["kernel", "launch"]].drop_duplicates()["kernel"].loc[lambda k: k.duplicated()])
    for row in rows.itertuples():
        kernel = f"{row.kernel}, launch {row.launch}" if row.kernel in several else row.kernel
        if row.missing:
            missing[row.ncu_name] = row.missing
        else:
            found.setdefault(kernel, {})[row.ncu_name] = float(row.value)
    if rows.empty:
        missing["every metric"] = f"ncu did not profile {about} in this run"
    return found, missing


def _measured_on(run: Run, version: Version, is_target: bool) -> str:
    manifest = run.manifest
    where = f"{manifest.machine.gpu}, {manifest.created[:10]}, run {manifest.name}"
    origin = f", imported from {manifest.origin.file}" if manifest.origin else ""
    measured = manifest.sha256.get(f"kernels/{ladder_label(manifest)}/{version.path.name}")
    changed = "; the file below has changed since" if measured not in (None, sha256(version.path)) else ""
    return f"{where}{origin}" + ("" if is_target else "; this is not the target GPU") + changed


def _case(run: Run, about: Selection) -> str:
    for case in run.manifest.cases:
        if (case.case, case.dtype) == (about.case, about.dtype):
            if case.compulsory_bytes is None:  # of an import
                break
            init = (
                ", ".join(f"{k}={v}" for k, v in case.init.items()) if isinstance(case.init, dict) else str(case.init)
            )
            return (
                f"{case.case} in {case.dtype}: init ({init}), inputs {', '.join(map(str, case.inputs))}, "
                f"{case.compulsory_bytes:,} compulsory bytes"
            )
    return f"{about.case or 'unknown case'} in {about.dtype or 'an unknown dtype'}; its compulsory bytes are unknown"


def _projected(run: Run, about: Selection, target: GpuSpec, there: Roofs | None) -> list[str]:
    try:
        found = queries.estimate(run, about, target, there)
    except RunFault as fault:
        return [fault.message]
    time = "no time, as none was measured" if math.isnan(found.time_us) else f"{found.time_us:.1f} us"
    shares = ", ".join(f"{need.metric} {need.pct:.0f}" for need in found.needs)
    return [f"{time}, bottleneck {found.resource}: {shares}", *found.assumptions]


def _tried(run: Run, about: Selection) -> list[Iteration]:
    """Return the versions of the run on the subject's case; predictions are judged on their own case."""
    every = selection.figures(run)
    judged = judge(run.manifest, every) if run.manifest.cases else None
    found = []
    for record in run.manifest.versions:
        row = selection.of(every, Selection(record.version, about.case, about.dtype))
        verdicts = judged[judged["version"] == record.version].to_dict("records") if judged is not None else []
        found.append(
            Iteration(
                version=record.version,
                stage=record.stage,
                title=record.title,
                change=record.change,
                time=_known(row.get("time_us"), " us"),
                speedup=_known(row.get("speedup"), "x over the first"),
                sol=_known(row.get("sol_pct"), " % of SOL"),
                bottleneck=str(row.get("bottleneck", "unknown")),
                predictions=[f"{v['prediction']}: {_known(v['value'], '')}, {v['verdict']}" for v in verdicts],
            )
        )
    return found


def _known(value: float | None, unit: str) -> str:
    return "unknown" if value is None or math.isnan(value) else f"{value:.4g}{unit}"
