"""The jobs of a batch: what each does, on which kind of worker, and what came of it. Starts nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from rooflift.errors import RoofliftError
from rooflift.project.operator import Operator, load_operator, operator_names
from rooflift.runs.verify import sha256

Task = Literal["verify", "compile", "profile"]
TASKS: tuple[Task, ...] = ("verify", "compile", "profile")
GPU, CPU = "GPU", "CPU"  # resources of workers


class Job(msgspec.Struct, frozen=True):
    """One piece of work: versions of one operator. `key` names it and the content of its files."""

    key: str
    task: Task
    root: str
    operator: str
    versions: tuple[str, ...]
    resource: str  # which kind of worker has it to itself
    options: dict[str, Any] = {}


class Outcome(msgspec.Struct, frozen=True):
    """What came of a job, a line of the journal."""

    key: str
    operator: str
    versions: tuple[str, ...]
    state: Literal["done", "failed", "lost"]  # lost: every worker that had it died
    seconds: float
    worker: str = ""
    gpu: str = ""  # times of unlike GPUs are never compared
    result: str = ""  # in words, the error's message where it failed
    remedy: str = ""
    run: str = ""  # the run folder's name
    notes: tuple[str, ...] = ()  # workers that died or lost their GPU on the way


def jobs_of(root: Path, task: Task, what: Sequence[str], *, on_gpu: bool, **options: Any) -> list[Job]:
    """Return the jobs for operators, OPERATOR or OPERATOR:VERSION, or for all: a version each, or to profile a ladder.

    The versions of a ladder are profiled in one run, since only there they are compared. What runs on no GPU, compiling
    and Triton's interpreter, goes to CPU workers.

    Raises:
        CatalogError: a name is unknown, or an operator that is named cannot be read.
    """
    found = []
    for name in what or operator_names(root):
        label, _, version = name.partition(":")
        operator = load_operator(root, label)
        chosen = [one.name for one in operator.select_versions([version] if version else [])]
        groups = [tuple(chosen)] if task == "profile" else [(one,) for one in chosen]
        resource = GPU if task == "profile" or (task == "verify" and on_gpu) else CPU
        found += [
            Job(_key(task, operator, group, options), task, str(root), operator.label, group, resource, options)
            for group in groups
        ]
    return found


def _key(task: Task, operator: Operator, versions: Sequence[str], options: dict[str, Any]) -> str:
    files = [operator.reference, operator.folder / "cases.toml"]
    files += [one.path for one in operator.versions if one.name in versions]
    content = [sha256(path) for path in files if path.exists()]
    digest = hashlib.sha256(msgspec.json.encode([content, options], order="sorted")).hexdigest()[:16]
    return f"{task} {operator.label} {' '.join(versions)} {digest}"


def do(job: Job) -> Outcome:
    """Do a job in this process, a worker's; an expected failure is an outcome, too."""
    begun = time.monotonic()
    try:
        found = {"state": "done", **_DO[job.task](job)}
    except RoofliftError as error:
        result = f"{type(error).__name__}: {error.message}"
        found = {"state": "failed", "result": result, "remedy": error.remedy, "gpu": _gpu()}
    return Outcome(job.key, job.operator, job.versions, seconds=time.monotonic() - begun, **found)


def _verify(job: Job) -> dict[str, Any]:
    from rooflift.api.checks import verify

    interpret = job.resource == CPU
    found = verify(job.operator, versions=job.versions, interpret=interpret, root=job.root, **job.options)
    worst = max((check.error_over_tolerance for check in found.checks), default=0.0)
    text = f"{len(found.checks)} comparisons agree, the largest error is {worst:.2f} of the tolerance"
    return {"result": text, "gpu": "" if interpret else found.where}


def _compile(job: Job) -> dict[str, Any]:
    from rooflift.api.work import compile as compiled

    found = compiled(job.operator, versions=job.versions, root=job.root, **job.options)
    spills = int(found["spill_instructions"].sum()) if len(found) else 0
    return {"result": f"{len(found)} kernels, at most {found['registers'].max():.0f} registers, {spills} spills"}


def _profile(job: Job) -> dict[str, Any]:
    from rooflift.api.work import profile

    run = profile(job.operator, versions=job.versions, root=job.root, **job.options)
    main = run.summary()
    best = main.loc[main["time_us"].idxmin()]
    return {"result": f"{best['version']} {best['time_us']:.1f} us", "gpu": run.gpu, "run": run.name}


_DO = {"verify": _verify, "compile": _compile, "profile": _profile}


def _gpu() -> str:
    from rooflift.measure import environment

    try:
        return environment.driver().gpus[0]
    except RoofliftError:
        return ""
