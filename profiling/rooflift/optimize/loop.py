"""The loop: prompts to an agent, candidates linted, evaluated and timed, the faster ones kept.

A folder holds all that happened: journal.jsonl, the kept versions below kernels/, each iteration's prompt, candidate
and run. An iteration is in the journal or it is done again from the stored candidate, so a loop can be killed at any
moment.
"""

from __future__ import annotations

import ast
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rooflift import pipeline
from rooflift.analysis.selection import Selection, advise, figures, of, select
from rooflift.errors import CatalogError, KernelFault, RunFault, WrongResult
from rooflift.lint.candidate import CandidateFault, read_candidate
from rooflift.lint.lint import errors, lint_file
from rooflift.measure import evaluate
from rooflift.measure.children import Progress
from rooflift.measure.request import Request, command_line
from rooflift.optimize.agent import NoCandidate, ask_agent
from rooflift.optimize.journal import (
    Entry,
    Iteration,
    Started,
    State,
    Step,
    Stopped,
    iterations_text,
    outcome,
    read_journal,
    state_of,
    with_header,
)
from rooflift.optimize.prompt import markdown, prompt
from rooflift.optimize.question import Question, Tried, title_of
from rooflift.optimize.verdict import NotKept, require_faster
from rooflift.project.header import parse_header
from rooflift.project.operator import Operator, Version, load_operator
from rooflift.project.settings import reports_folder
from rooflift.runs import atomic, redact
from rooflift.runs.find import newest_on
from rooflift.runs.roofs import newest_roofs
from rooflift.runs.run import Run, read_run
from rooflift.runs.verify import sha256

if TYPE_CHECKING:
    from rooflift.project.gpus import GpuSpec
    from rooflift.sandbox.sandbox import Sandbox

JOURNAL = "journal.jsonl"
SEEDS = 2  # of an evaluation

Notes = Callable[[str], None]  # tells the user something that is no result
Progresses = Callable[[], AbstractContextManager[Progress]]  # shows what is being done while the block runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a loop is run with; unlike what its journal records, it may change when the loop is resumed."""

    root: Path
    operator: Operator  # the project's
    base: Version  # the project's
    spec: GpuSpec
    folder: Path
    agent: Sequence[str]
    agent_timeout_s: float | None
    sandbox: Sandbox
    timeout_s: float  # of a profile
    metric_set: str
    note: Notes
    progress: Progresses


class Loop:
    """A loop in its folder: each method leaves a state that the next call can resume from."""

    def __init__(self, setting: Setting, started: Started) -> None:
        self.setting = setting
        self.kernels = setting.folder / "kernels" / setting.operator.label
        self.hidden = redact.secrets(setting.root)
        self.state = self._open(started)

    def _open(self, started: Started) -> State:
        """Read the journal, or begin one.

        Raises:
            RunFault: the journal cannot be read, or the folder holds something else.
            CatalogError: the loop in the folder was started with other options.
        """
        folder, journal = self.setting.folder, self.setting.folder / JOURNAL
        if not journal.exists() or b"\n" not in journal.read_bytes():  # killed before the first line was whole
            own = ("kernels", ".lock", JOURNAL)
            foreign = [p.name for p in folder.iterdir() if p.name not in own and not p.name.startswith(atomic.PREFIX)]
            if foreign:
                raise RunFault(f"{folder} holds {foreign[0]} and no loop", "Name a new folder with --out.")
            self.kernels.mkdir(parents=True, exist_ok=True)
            for path in (self.setting.operator.reference, self.setting.operator.folder / "cases.toml"):
                if path.exists():
                    shutil.copy(path, folder / "kernels" / self.setting.operator.name)
            shutil.copy(self.setting.base.path, self.kernels / f"{started.base}.py")
            atomic.write_file(journal, _line(started))
        data = journal.read_bytes()
        try:
            entries, whole = read_journal(data)
            state = state_of(entries)
        except (msgspec.DecodeError, ValueError) as error:
            raise RunFault(f"{journal}: {error}", "Name a new folder with --out, or fix the journal.") from None
        os.truncate(journal, whole)
        asked = msgspec.structs.replace(started, seed=state.started.seed)
        for name in asked.__struct_fields__:
            was, now = getattr(state.started, name), getattr(asked, name)
            if was != now:
                remedy = "Give the options that it was started with, or a new folder with --out."
                raise CatalogError(f"{folder}: this loop was started with {name} {was}, not {now}", remedy)
        return state

    def _record(self, entry: Entry) -> None:

        path = self.setting.folder / JOURNAL
        with path.open("ab") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())
        self.state = state_of(read_journal(path.read_bytes())[0])

    def operator(self) -> Operator:
        """Return the loop's operator: the base and what was kept, and no version that the journal lacks."""
        found = load_operator(self.setting.folder, self.setting.operator.label)
        return replace(found, versions=found.versions[: self.state.next_version])

    def run(self) -> None:
        """Do the iterations that are left, then measure all kept versions in one run."""
        while not self.state.stopped:
            reason, step = self._reached(), self.state.next_step()
            if reason or step is None:
                self._record(Stopped(reason or "every stage had its iterations", self._last_run()))
                break
            done = self.iterate(step)
            self._record(done)
            self.setting.note(f"Iteration {done.number} ({done.stage}): {outcome(done)}")
            for text in done.why:
                self.setting.note(f"  {text}")

    def iterate(self, step: Step) -> Iteration:
        """Do one iteration; it does not touch the journal."""
        place = self.setting.folder / "iterations" / f"{step.number:03}"
        place.mkdir(parents=True, exist_ok=True)
        common = {"number": step.number, "stage": step.stage, "base": step.base}
        try:
            found = self._evaluated(step, self._candidate(step, place), place)
        except NotKept as end:
            candidate = place / "candidate.txt"
            found = {"candidate_sha256": sha256(candidate)} if candidate.exists() else {}
            why = [redact.redact_text(text, self.hidden) for text in end.why]  # a traceback holds paths
            return Iteration(**common, at=end.at, why=why, **found, **end.found)  # type: ignore[arg-type]
        return Iteration(**common, at=None, why=[], **found)  # type: ignore[arg-type]

    def _candidate(self, step: Step, place: Path) -> Path:
        """Return the file with the candidate; the agent is asked unless it has answered this iteration already."""
        candidate = place / "candidate.txt"
        if candidate.exists():
            return candidate
        question, setting = self.question(step), self.setting
        (place / "prompt.md").write_text(question.prompt, encoding="utf-8")
        # no spinner beside an editor
        setting.note(f"Iteration {step.number} ({step.stage}, from {step.base}): asking the agent")
        try:
            answer = ask_agent(setting.agent, question, setting.agent_timeout_s)
        except NoCandidate as failure:
            raise NotKept("agent", [str(failure)]) from None
        atomic.write_file(candidate, redact.redact_text(answer, self.hidden))
        return candidate

    def question(self, step: Step) -> Question:
        """Return what the agent is asked: the prompt of the version to start from, its code, the iterations before."""
        run, about = self._measured()
        operator, version = self._current()
        root, spec = self.setting.root, self.setting.spec
        there = newest_roofs(reports_folder(root), spec.matches[0])
        text = markdown(prompt(operator, version, step.stage, spec, run, about, there))
        return Question(
            prompt=redact.redact_text(text + iterations_text(self.state), self.hidden),
            number=step.number,
            stage=step.stage,
            base=step.base,
            code=version.path.read_text(encoding="utf-8"),
            figures=of(figures(run), about),
            sm_count=spec.sm_count,
            seed=f"{self.state.started.seed} {step.number}",
            tried=[self._tried(one) for one in self.state.iterations],
            accepts=lambda code: self._accepts(code, step.stage, version),
        )

    def _tried(self, one: Iteration) -> Tried:
        candidate = self.setting.folder / "iterations" / f"{one.number:03}" / "candidate.txt"
        title = title_of(candidate.read_text(encoding="utf-8")) if candidate.exists() else ""
        return Tried(one.base, title, bool(one.version), one.time_x is not None)

    def _accepts(self, code: str, stage: str, base: Version) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            candidate = Path(folder, "candidate.py")
            candidate.write_text(code, encoding="utf-8")
            return not errors(lint_file(candidate, self.setting.operator.reference, stage, base.path))

    def _evaluated(self, step: Step, candidate: Path, place: Path) -> dict[str, object]:
        """Return the figures of a candidate that is kept; its version is in the loop's folder then.

        Raises:
            NotKept: at the step that it failed at.
        """
        _, base = self._current()
        try:
            code = read_candidate(candidate).code
            findings = errors(lint_file(candidate, self.setting.operator.reference, step.stage, base.path))
            text, title = with_header(code, step.stage, step.number) if not findings else ("", "")
        except CandidateFault as fault:
            raise NotKept("candidate", [str(fault).replace(str(candidate), "candidate")]) from None
        if findings:
            raise NotKept("lint", [f"line {f.line}: {f.rule}: {f.what}. {f.remedy}" for f in findings])
        name = f"v{self.state.next_version}_{step.stage}"
        candidate = place / f"{name}.py"
        candidate.write_text(text, encoding="utf-8")
        seeds = random.Random(f"{self.state.started.seed} {step.number}").sample(range(2**31), SEEDS)  # noqa: S311
        setting, interpret = self.setting, self.state.started.gpu is None
        with self.setting.progress() as progress:
            found = evaluate.evaluate(
                setting.operator,
                candidate,
                setting.sandbox,
                seeds,
                progress,
                interpret=interpret,
                target=setting.spec.target,
            )
        if found.faults:
            raise NotKept("interpreter" if found.undecided else "evaluation", found.reasons(), untried=found.untried)
        measured = self._timed(candidate, place) if self.state.started.gpu else {"flag": "not timed"}
        atomic.write_file(self.kernels / candidate.name, text)
        kept = {"version": name, "title": title, "candidate_sha256": sha256(candidate)}
        return {**kept, "untried": found.untried, **measured}

    def _timed(self, candidate: Path, place: Path) -> dict[str, object]:
        """Profile a candidate beside its base, twice; return its figures if it is faster both times.

        Raises:
            NotKept: it cannot be profiled, needs less than the work of the case does, or is not faster.
        """
        header = parse_header(ast.parse(candidate.read_text(encoding="utf-8")), candidate)
        own = Version(self.state.next_version, candidate.stem, candidate, header)
        operator, base = self._current()
        both = replace(operator, versions=(*operator.versions, own))
        try:
            found = require_faster(self._profiled(both, [base, own], place / "run"), base.name, own.name)
            # a second time, in processes of their own: what was lucky or found its moment is not kept
            require_faster(self._profiled(both, [base, own], place / "again"), base.name, own.name, "again")
        except (KernelFault, WrongResult) as fault:
            raise NotKept("profile", [str(fault)]) from None
        return found

    def _current(self) -> tuple[Operator, Version]:
        """Return the operator and the version that the next iteration starts from."""
        operator = self.operator()
        return operator, next(version for version in operator.versions if version.name == self.state.base)

    def _measured(self) -> tuple[Run, Selection]:
        """Return a run with the current version, and where in it; without a GPU a recorded run of the project."""
        setting = self.setting
        if self.state.started.gpu is None:
            run = newest_on(setting.root, setting.operator.label, setting.spec.matches)
            return run, select(run, setting.base.name)
        if self.state.kept:
            run = read_run(setting.folder / "iterations" / f"{self.state.kept[-1].number:03}" / "run", setting.root)
        else:
            operator, base = self._current()
            run = self._profiled(operator, [base], setting.folder / "iterations" / "000" / "run")
        return run, select(run, self.state.base)

    def _profiled(self, operator: Operator, versions: Sequence[Version], out: Path) -> Run:
        """Return the run in `out`, measured now unless it is there."""
        if not out.exists():
            started = self.state.started
            request = Request(
                root=self.setting.root,
                operator=operator,
                versions=versions,
                cases=operator.select_cases([], "bench"),
                dtypes=[],
                metric_set=self.setting.metric_set,
                timeout_s=self.setting.timeout_s,
                command=command_line(
                    "optimize",
                    operator.label,
                    base=self.setting.base.name,
                    stages=",".join(started.stages),
                    iterations=started.iterations,
                    metrics=self.setting.metric_set,
                ),
                about=f"Versions of an optimize loop: {started.base} is {self.setting.base.name} of the project.",
                sandbox=self.setting.sandbox,
            )
            with self.setting.progress() as progress:
                told = pipeline.profile(request, out, progress)
            if told.resumed:
                self.setting.note(told.resumed)
        return read_run(out, self.setting.root)

    def _reached(self) -> str:
        """Return the stop rule's reason, "" while there is something to gain."""
        run, about = self._measured()
        found = advise(run, about)
        if not found.stop:
            return ""
        if found.sol_pct is None:
            return f"{about} keeps {found.bottleneck} at its peak with the compulsory bytes"
        return f"{about} is at {found.sol_pct:.1f} % of SOL ({found.sol_binds})"

    def _last_run(self) -> str:
        """Measure all versions of the loop in one run and return its folder, relative to the loop's; "" untimed."""
        if self.state.started.gpu is None:
            return ""
        place = Path("reports", self.setting.operator.name, "optimize")
        operator = self.operator()
        self._profiled(operator, operator.versions, self.setting.folder / place)
        return place.as_posix()

    def hand_over(self, folder: Path) -> list[Path]:
        """Copy the kept versions into an operator's folder under the next free numbers, each content once."""
        folder.mkdir(parents=True, exist_ok=True)
        there = {sha256(path) for path in folder.glob("v[0-9]*.py")}
        written = []
        for one in self.state.kept:
            source = self.kernels / f"{one.version}.py"
            if sha256(source) in there:
                continue
            numbers = [int(p.stem[1:].split("_")[0]) for p in folder.glob("v*_*.py") if p.stem[1:2].isdigit()]
            target = folder / f"v{max(numbers, default=-1) + 1}_{one.version.partition('_')[2]}.py"
            atomic.write_file(target, source.read_bytes(), replace=False)
            written.append(target)
        return written


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"
