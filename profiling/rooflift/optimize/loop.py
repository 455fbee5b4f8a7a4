"""The loop: prompts to an agent, candidates linted, evaluated and timed, the faster ones kept.

A folder holds all that happened: journal.jsonl, the kept versions below kernels/, each iteration's prompt, candidate
and run. An iteration is in the journal or it is done again from the stored candidate, so a loop can be killed at any
moment.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from rooflift.errors import CatalogError, RunFault
from rooflift.files import read_regular
from rooflift.optimize.agent import SEARCH
from rooflift.optimize.attempt import Accepted, Attempt
from rooflift.optimize.bench import Bench
from rooflift.optimize.journal import (
    Entry,
    Iteration,
    Skipped,
    Started,
    State,
    Step,
    Stopped,
    outcome,
    read_journal,
    state_of,
)
from rooflift.optimize.questions import Questions
from rooflift.optimize.setting import Setting
from rooflift.optimize.verdict import NotKept
from rooflift.optimize.worth import needless
from rooflift.project.gpus import spec_for_name
from rooflift.runs import atomic, redact
from rooflift.runs.verify import sha256
from rooflift.schema import reason

JOURNAL = "journal.jsonl"
# before 3.11.8, and in 3.12.0, ast.parse of two threads can end in a SystemError (python/cpython issue 106905)
PARSES_IN_THREADS = sys.hexversion >= 0x030B08F0 and sys.hexversion >> 8 != 0x030C00
NO_FIRST = "no candidate was right, and there is no first version"


class Loop:
    """A loop in its folder: each method leaves a state that the next call can resume from."""

    def __init__(self, setting: Setting, started: Started) -> None:
        self.setting = setting
        self.kernels = setting.folder / "kernels" / setting.operator.label
        self.hidden = redact.secrets(setting.root)
        self.state = self._open(started)
        self.questions = Questions(self.setting, self.hidden)

    def _open(self, started: Started) -> State:
        """Read the journal, or begin one.

        Raises:
            RunFault: the journal cannot be read, or the folder holds something else.
            CatalogError: the loop in the folder was started with other options.
        """
        folder, journal = self.setting.folder, self.setting.folder / JOURNAL
        if not journal.exists() or b"\n" not in _read(journal):  # killed before the first line was whole
            own = ("kernels", ".lock", JOURNAL)
            foreign = [p.name for p in folder.iterdir() if p.name not in own and not p.name.startswith(atomic.PREFIX)]
            if foreign:
                raise RunFault(f"{folder} holds {foreign[0]} and no loop", "Name a new folder with --out.")
            self.kernels.mkdir(parents=True, exist_ok=True)
            for path in (self.setting.operator.reference, self.setting.operator.folder / "cases.toml"):
                if path.exists():
                    shutil.copy(path, folder / "kernels" / self.setting.operator.name)
            if self.setting.base is not None:
                shutil.copy(self.setting.base.path, self.kernels / f"{started.base}.py")
            atomic.write_file(journal, _line(started))
        data = _read(journal)
        try:
            entries, whole = read_journal(data)
            state = state_of(entries)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise RunFault(f"{journal}: {reason(error)}", "Name a new folder with --out, or fix the journal.") from None
        os.truncate(journal, whole)
        asked = msgspec.structs.replace(started, seed=state.started.seed)
        if not state.started.base and self.setting.base is not None:  # the first version is the project's by now
            self.setting = replace(self.setting, base=None)
            asked = msgspec.structs.replace(asked, base="", base_sha256=sha256(self.setting.operator.reference))
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

    @property
    def _bench(self) -> Bench:
        return Bench(self.setting, self.state)

    def run(self) -> None:
        """Do the iterations that are left, then measure all kept versions in one run."""
        while not self.state.stopped:
            reason, steps = self._bench.reached(), self.state.next_steps()
            if reason or not steps:
                ended = "every stage had its iterations" if self.state.base else NO_FIRST
                self._record(Stopped(reason or ended, self._bench.last_run()))
                break
            if why := self._needless(steps[0]):
                self._record(Skipped(steps[0].stage, why))
                self.setting.note(f"Stage {steps[0].stage} is passed over: {why}")
                continue
            for step, made in zip(steps, self._made(steps), strict=True):
                done = self.judged(step, made)
                self._record(done)
                self.questions.learn(done)
                self.setting.note(f"Iteration {done.number} ({done.stage}): {outcome(done)}")
                for text in done.why:
                    self.setting.note(f"  {text}")

    def _needless(self, step: Step) -> str:
        """Return why the stage that begins with a step is passed over, "" where it is not."""
        measured = self._bench.measured(self.state.base)
        begins = self.state.into == 0 and (step.number - 1) % self.state.started.candidates == 0
        if not self.state.started.skips or not begins or measured is None:
            return ""
        run, about = measured
        return needless(step.stage, run, about) if spec_for_name(run.manifest.machine.gpu) is self.setting.spec else ""

    def _made(self, steps: Sequence[Step]) -> list[Accepted | NotKept]:
        """Return the candidates of an iteration, made side by side; what a GPU does for them is done in turn."""
        started, gpu = self.state.started, threading.Lock()
        attempts = []
        for step in steps:
            place = self.setting.folder / "iterations" / f"{step.number:03}"
            place.mkdir(parents=True, exist_ok=True)
            attempt = Attempt(
                setting=self.setting,
                step=step,
                base=self._bench.version(step.base)[1],
                place=place,
                interpret=started.gpu is None,
                seed=started.seed,
                hidden=self.hidden,
                gpu=gpu,
                known={one.name: one.path.read_text(encoding="utf-8") for one in self._bench.operator().versions},
            )
            before = [one for one in steps if one.number < step.number]
            question = self.questions.question(self._bench, step, attempt.accepts, before)
            attempts.append((attempt, question))
            if list(self.setting.agent) == [SEARCH]:  # each of its candidates differs from those before
                with suppress(NotKept):
                    attempt.asked(question, "candidate.txt", [], {})
        if len(attempts) == 1:  # in this thread, which Ctrl-C reaches
            return [attempt.made(question) for attempt, question in attempts]
        with ThreadPoolExecutor(len(attempts) if PARSES_IN_THREADS else 1) as pool:
            return list(pool.map(lambda one: one[0].made(one[1]), attempts))

    def judged(self, step: Step, made: Accepted | NotKept) -> Iteration:
        """Return how a candidate ended: it is timed where a GPU does that, and kept; the journal is not touched."""
        if not step.base:  # another candidate of the same iteration may be the first version by now
            step = replace(step, base=self.state.base)
        common = {"number": step.number, "stage": step.stage, "base": step.base}
        place = self.setting.folder / "iterations" / f"{step.number:03}"
        try:
            if isinstance(made, NotKept):
                raise made
            name = f"v{self.state.next_version}_{step.stage}"
            candidate = place / f"{name}.py"
            candidate.write_text(made.code, encoding="utf-8")
            measured = self._bench.timed(step, candidate, place) if self.state.started.gpu else {"flag": "not timed"}
            atomic.write_file(self.kernels / candidate.name, made.code)
        except NotKept as end:
            why = [redact.redact_text(_encodable(text), self.hidden) for text in end.why]  # a traceback holds paths
            found = {**({} if isinstance(made, NotKept) else {**made.found, "title": made.title}), **end.found}
            return Iteration(**common, at=end.at, why=why, **found)  # type: ignore[arg-type]
        found = {**made.found, **measured, "version": name, "title": made.title}
        return Iteration(**common, at=None, why=[], **found)  # type: ignore[arg-type]

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


def _read(journal: Path) -> bytes:
    try:
        return read_regular(journal, within=journal.parent)
    except OSError as error:
        raise RunFault(f"{journal}: {error.strerror}", "Name a new folder with --out.") from None


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # halves of characters are no UTF-8


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"
