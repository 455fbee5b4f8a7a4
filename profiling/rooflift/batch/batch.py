"""A batch: its jobs done on a cluster, its journal, one table of what came of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import msgspec

from rooflift.api.project import Say, project_root, silent
from rooflift.api.shown import Part, Titled, html_table, short, texts
from rooflift.batch.jobs import MEASURING, TASKS, Job, Outcome, Task, do, jobs_of
from rooflift.errors import CatalogError, NoGpu, RunFault, did_you_mean
from rooflift.measure import environment
from rooflift.project.settings import build_folder
from rooflift.report.cells import figure, table_of, words

if TYPE_CHECKING:
    import pandas as pd

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Batch:
    """What came of the jobs of a batch, in their order, and which of them an earlier call had done."""

    folder: Path
    outcomes: Sequence[Outcome]
    resumed: int

    @property
    def whole(self) -> bool:
        """Whether every job was done."""
        return all(one.state == "done" for one in self.outcomes)

    def table(self) -> pd.DataFrame:
        """Return one row a job: operator, versions, state, gpu, seconds, result, run, notes."""
        import pandas as pd

        columns = ["operator", "versions", "state", "gpu", "seconds", "result", "run", "notes"]
        return pd.DataFrame(self._rows, columns=columns)

    @property
    def _rows(self) -> list[dict[str, Any]]:
        rows = [msgspec.to_builtins(one) for one in self.outcomes]
        return [row | {"versions": " ".join(row["versions"]), "notes": "; ".join(row["notes"])} for row in rows]

    def parts(self) -> list[Part]:
        """Return what a terminal shows: a row a job, what failed with its remedy, how many there are."""
        columns = [words("operator"), words("versions"), words("state"), words("gpu", "GPU")]
        columns += [figure("seconds", "s", 1), words("result")]
        rows = [row | {"result": row["result"].splitlines()[0] if row["result"] else ""} for row in self._rows]
        notes = [f"{one.operator}: {note}" for one in self.outcomes for note in one.notes]
        failed = [f"{one.operator} {' '.join(one.versions)}: {one.remedy}" for one in self.outcomes if one.remedy]
        count = sum(one.state == "done" for one in self.outcomes)
        last = f"{count} of {len(self.outcomes)} done, {self.resumed} of them before. Wrote {short(self.folder)}"
        return [Titled("Batch", table_of(rows, columns)), *notes, *failed, last]

    def record(self) -> dict[str, Any]:
        """Return the outcomes for a program."""
        outcomes = [msgspec.to_builtins(one) for one in self.outcomes]
        return {"folder": short(self.folder), "resumed": self.resumed, "whole": self.whole, "outcomes": outcomes}

    def __repr__(self) -> str:
        return f"<Batch: {sum(one.state == 'done' for one in self.outcomes)} of {len(self.outcomes)} done>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def batch(
    task: Task,
    what: Sequence[str] = (),
    *,
    scheduler: str | None = None,
    cpu_workers: int = 1,
    metrics: str = "standard",
    values: Sequence[str] = (),
    agent: str = "",
    stages: Sequence[str] = (),
    iterations: int = 3,
    out: Path | str | None = None,
    say: Say = silent,
    root: Path | str | None = None,
    **options: Any,
) -> Batch:
    """Verify, compile, profile, tune or optimize many operators on every GPU, of this machine or of a scheduler.

    `what` names operators, OPERATOR:VERSION or a candidate as OPERATOR:FILE.py, by default all operators. `metrics` are
    those of what is profiled, `values` those of parameters to tune, such as "num_warps=4,8"; `agent`, `stages` and
    `iterations` are those of each loop of optimize. `scheduler` is the address of a dask scheduler whose
    workers see the project at the same path; by default a cluster of this machine is started, with a worker a GPU and
    `cpu_workers` for what needs none. `out` is by default build/batch/<task>: what its journal has done with the same
    files is not done again. `options` go to the function of the task, such as `rl.profile`.

    >>> from rooflift.batch.batch import batch
    >>> batch("verify", ["rms_norm", "softmax"], cpu_workers=2).whole  # doctest: +SKIP
    True

    Raises:
        CatalogError: a name is unknown, or optimize has no agent.
        NoGpu: a profile is asked for, and this machine has no GPU.
        EnvironmentFault: no scheduler answers, or a package is missing.
        RunFault: another batch is at work in the folder, or it cannot be written.
    """
    from rooflift.batch.cluster import connected
    from rooflift.batch.schedule import schedule

    if task not in TASKS:
        raise CatalogError(f"no task {task!r}", did_you_mean(task, TASKS))
    if task == "optimize" and not agent:
        raise CatalogError("no agent for the loops", "Name a command that reads a prompt: --agent 'llm -m MODEL'.")
    top = project_root(root)
    loops = {"agent": agent, "stages": list(stages), "iterations": iterations, "metrics": metrics}
    given: dict[str, dict[str, Any]] = {
        "profile": {"metrics": metrics},
        "tune": {"metrics": metrics, "values": list(values)},
        "optimize": loops,
    }
    options = given.get(task, {}) | options
    gpus = 0
    try:
        gpus = len(environment.driver().gpus)
    except NoGpu:
        if task == "profile" and not scheduler:
            raise
    jobs = jobs_of(top, task, what, on_gpu=bool(gpus or (scheduler and task in MEASURING)), **options)
    folder = Path(out) if out else build_folder(top) / "batch" / task
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            known = read_journal(folder / JOURNAL)
            left = [job for job in jobs if job.key not in known]
            with (folder / JOURNAL).open("ab", buffering=0) as journal:
                done = _recorder(journal, known, len(jobs), say)
                if left:
                    with connected(scheduler, gpus, max(cpu_workers, int(not gpus))) as client:
                        schedule(client, left, do, done)
    except filelock.Timeout:
        raise RunFault(f"{folder}: another batch is at work in it", "Wait for it, or name another --out.") from None
    return Batch(folder, [known[job.key] for job in jobs], len(jobs) - len(left))


def read_journal(path: Path) -> dict[str, Outcome]:
    """Return what a journal says was done, by key; what failed or was lost is to be done again, as is a torn line."""
    found: dict[str, Outcome] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(msgspec.DecodeError):
            outcome = msgspec.json.decode(line, type=Outcome)
            if outcome.state == "done":
                found[outcome.key] = outcome
    return found


def _recorder(journal: io.FileIO, known: dict[str, Outcome], total: int, say: Say) -> Callable[[Outcome], None]:
    """Return what writes an outcome down, on a line of its own whatever a kill left before it."""

    def done(outcome: Outcome) -> None:
        known[outcome.key] = outcome
        journal.write(b"\n" + msgspec.json.encode(outcome) + b"\n")
        say(f"{len(known)} of {total}: {outcome.operator} {' '.join(outcome.versions)} {outcome.state}")

    return done


__all__ = ["Batch", "Job", "batch", "read_journal"]
