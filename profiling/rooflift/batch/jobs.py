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

Task = Literal["verify", "compile", "profile", "tune", "optimize"]
TASKS: tuple[Task, ...] = ("verify", "compile", "profile", "tune", "optimize")
MEASURING = ("profile", "tune", "optimize")  # on a GPU where there is one
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

    The versions of a ladder are profiled in one run, since only there they are compared. A loop of `optimize` starts
    from the version that is named, or v0. Without `values` those versions are tuned that have a @triton.autotune.
    OPERATOR:FILE.py is a candidate, to verify or profile. What runs on no GPU, compiling and Triton's interpreter, goes
    to CPU workers.

    Raises:
        CatalogError: a name is unknown, or an operator that is named cannot be read.
    """
    found = []
    for name in what or operator_names(root):
        label, _, version = name.partition(":")
        operator = load_operator(root, label)
        resource = GPU if (on_gpu and task != "compile") or task == "profile" else CPU
        if version.endswith(".py") and task in ("verify", "profile"):
            own = {**options, "candidate": str(Path(version).resolve())}
            found.append(_job(task, root, operator, (Path(version).stem,), resource, own))
            continue
        chosen = operator.select_versions([version] if version else [])
        if task == "tune" and not version and not options.get("values"):
            chosen = [one for one in chosen if "autotune" in one.path.read_text(encoding="utf-8")]
        names = [one.name for one in chosen]
        groups = {"profile": [tuple(names)], "optimize": [tuple(names[:1])]}.get(task, [(one,) for one in names])
        found += [_job(task, root, operator, group, resource, options) for group in groups]
    return found


def _job(
    task: Task, root: Path, operator: Operator, versions: tuple[str, ...], resource: str, options: dict[str, Any]
) -> Job:
    key = _key(task, operator, versions, options)
    return Job(key, task, str(root), operator.label, versions, resource, options)


def _key(task: Task, operator: Operator, versions: Sequence[str], options: dict[str, Any]) -> str:
    files = [operator.reference, operator.folder / "cases.toml"]
    files += [one.path for one in operator.versions if one.name in versions]
    files += [Path(options["candidate"])] if "candidate" in options else []
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
    found = verify(job.operator, versions=_named(job), interpret=interpret, root=job.root, **job.options)
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

    run = profile(job.operator, versions=_named(job), root=job.root, **job.options)
    main = run.summary()
    best = main.loc[main["time_us"].idxmin()]
    left_out = "".join(f"; {one.version} is left out ({one.error})" for one in run.manifest.left_out)
    return {"result": f"{best['version']} {best['time_us']:.1f} us{left_out}", "gpu": run.gpu, "run": run.name}


def _tune(job: Job) -> dict[str, Any]:
    from rooflift.api.tune import tune

    found = tune(job.operator, job.versions[0], root=job.root, **job.options)
    text = f"{len(found.table())} configurations"
    if not found.measured or found.best.empty:
        return {"result": f"{text} compiled, none timed"}
    best = found.best.iloc[0]
    text = f"{text}, the best {best['best_us']:.1f} us: {best['configuration']}"
    return {"result": text, "gpu": _gpu(), "run": found.folder.name if found.folder else ""}


def _optimize(job: Job) -> dict[str, Any]:
    from rooflift.optimize.ask import optimize

    timed = job.resource == GPU
    found = optimize(job.operator, base=job.versions[0], timed=timed, root=job.root, **job.options)
    return {"result": found.text, "gpu": _gpu() if timed else "", "run": found.run.name if found.run else ""}


def _named(job: Job) -> tuple[str, ...]:
    """Return the versions to take from the operator's folder: none beside a candidate."""
    return () if "candidate" in job.options else job.versions


_DO = {"verify": _verify, "compile": _compile, "profile": _profile, "tune": _tune, "optimize": _optimize}


def _gpu() -> str:
    from rooflift.measure import environment

    try:
        return environment.driver().gpus[0]
    except RoofliftError:
        return ""
