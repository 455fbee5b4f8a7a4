"""The loop: prompts to an agent, candidates through lint, evaluation and stopwatch, the faster ones kept."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rooflift.errors import CatalogError, EnvironmentFault, KernelFault, RunFault, WrongResult
from rooflift.measure.session import Progress
from rooflift.runs import atomic as store
from rooflift.runs import redact as privacy
from rooflift.runs.find import newest_on
from rooflift.runs.roofs import newest_roofs

if TYPE_CHECKING:
    from rooflift.analysis.selection import Subject
    from rooflift.optimize.journal import Entry, Gate, Started, State, Step, Tried
    from rooflift.project.gpus import GpuSheet
    from rooflift.project.operator import Family, Version
    from rooflift.runs.run import Run
    from rooflift.sandbox.sandbox import Confinement


JOURNAL = "journal.jsonl"


SEEDS = 2  # of the gates


@dataclass(frozen=True, slots=True)
class Setting:
    """What a climb is made with; unlike what its journal says, it may change when the climb is resumed."""

    root: Path
    family: Family  # the project's
    base: Version  # the project's
    sheet: GpuSheet
    folder: Path
    writer: Sequence[str]
    writer_timeout_s: float | None
    confinement: Confinement
    timeout_s: float  # of a profile
    counters: str
    note: Callable[[str], None]  # tells the user something that is no result
    progress: Callable[[], AbstractContextManager[Progress]]  # shows what is being done while the block runs


class NotKept(Exception):
    """A try ends: at which step, and why."""

    def __init__(self, at: Gate, why: Sequence[str], **found: object) -> None:
        super().__init__(at)
        self.at, self.why, self.found = at, list(why), found


class Climb:
    """A climb's folder and the steps on it."""

    def __init__(self, setting: Setting, started: Started) -> None:
        self.setting = setting
        self.kernels = setting.folder / "kernels" / setting.family.name
        self.hidden = privacy.secrets(setting.root)
        self.state = self._open(started)

    def _open(self, started: Started) -> State:
        """Read the journal, or begin one.

        Raises:
            RunFault: the journal cannot be read, or the folder holds something else.
            CatalogError: the climb in the folder was started otherwise.
        """
        from rooflift.optimize.journal import read_journal, state_of

        folder, journal = self.setting.folder, self.setting.folder / JOURNAL
        if not journal.exists() or b"\n" not in journal.read_bytes():  # killed before the first line was whole
            own = ("kernels", ".lock", JOURNAL)
            foreign = [p.name for p in folder.iterdir() if p.name not in own and not p.name.startswith(store.PREFIX)]
            if foreign:
                raise RunFault(f"{folder} holds {foreign[0]} and no climb", "Name a new folder with --out.")
            self.kernels.mkdir(parents=True, exist_ok=True)
            for path in (self.setting.family.reference, self.setting.family.folder / "cases.toml"):
                if path.exists():
                    shutil.copy(path, self.kernels)
            shutil.copy(self.setting.base.path, self.kernels / f"{started.base}.py")
            store.write_file(journal, _line(started))
        data = journal.read_bytes()
        try:
            entries, whole = read_journal(data)
            state = state_of(entries)
        except (msgspec.DecodeError, ValueError) as error:
            raise RunFault(f"{journal}: {error}", "Name a new folder with --out, or mend the journal.") from None
        os.truncate(journal, whole)
        asked = msgspec.structs.replace(started, seed=state.started.seed)
        for name in asked.__struct_fields__:
            was, now = getattr(state.started, name), getattr(asked, name)
            if was != now:
                remedy = "Give the options that it was started with, or a new folder with --out."
                raise CatalogError(f"{folder}: this climb was started with {name} {was}, not {now}", remedy)
        return state

    def _note(self, entry: Entry) -> None:
        from rooflift.optimize.journal import read_journal, state_of

        path = self.setting.folder / JOURNAL
        with path.open("ab") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())
        self.state = state_of(read_journal(path.read_bytes())[0])

    def family(self) -> Family:
        """Return the climb's family: the base and what was kept, and no version that the journal lacks."""
        from rooflift.project.operator import load_family

        found = load_family(self.setting.folder, self.setting.family.name)
        return replace(found, versions=found.versions[: self.state.next_version])

    def run(self) -> None:
        """Make the tries that are left, then measure all that was kept in one run."""
        from rooflift.optimize.journal import Stopped, outcome

        while not self.state.stopped:
            reason, step = self._reached(), self.state.next_step()
            if reason or step is None:
                self._note(Stopped(reason or "every stage had its tries", self._last_run()))
                break
            tried = self.attempt(step)
            self._note(tried)
            self.setting.note(f"Try {tried.number} ({tried.stage}): {outcome(tried)}")
            for text in tried.why:
                self.setting.note(f"  {text}")

    def attempt(self, step: Step) -> Tried:
        """Make one try; it does not touch the journal."""
        from rooflift.optimize.journal import Tried

        place = self.setting.folder / "tries" / f"{step.number:03}"
        place.mkdir(parents=True, exist_ok=True)
        common = {"number": step.number, "stage": step.stage, "base": step.base}
        try:
            found = self._judge(step, self._reply(step, place), place)
        except NotKept as end:
            reply = place / "reply.txt"
            found = {"reply_sha256": _sha256(reply)} if reply.exists() else {}
            why = [privacy.blot_text(text, self.hidden) for text in end.why]  # a traceback holds paths
            return Tried(**common, at=end.at, why=why, **found, **end.found)  # type: ignore[arg-type]
        return Tried(**common, at=None, why=[], **found)  # type: ignore[arg-type]

    def _reply(self, step: Step, place: Path) -> Path:
        """Return the file with the reply; the writer is asked unless it has answered this try already."""
        from rooflift.process import converse

        reply = place / "reply.txt"
        if reply.exists():
            return reply
        text = self.brief(step)
        (place / "brief.md").write_text(text, encoding="utf-8")
        self.setting.note(
            f"Try {step.number} ({step.stage}, from {step.base}): asking the writer"
        )  # no spinner beside an editor
        told = {"ROOFLIFT_TRY": str(step.number), "ROOFLIFT_STAGE": step.stage}
        try:
            ended = converse(self.setting.writer, text, told, self.setting.writer_timeout_s)
        except subprocess.TimeoutExpired:
            limit = f"the writer gave no reply within {self.setting.writer_timeout_s:g} s"
            raise NotKept("writer", [limit]) from None
        if ended.returncode == 127:
            raise EnvironmentFault(
                f"the writer {self.setting.writer[0]!r} cannot be started: {ended.output}", "Name a command on PATH."
            )
        if ended.returncode != 0:
            raise NotKept("writer", [f"the writer ended with code {ended.returncode}"])
        store.write_file(reply, privacy.blot_text(ended.output, self.hidden))
        return reply

    def brief(self, step: Step) -> str:
        """Return what the writer is told: the brief of the version to start from, and the tries before."""
        from rooflift.optimize.journal import before_in_words
        from rooflift.optimize.prompt import brief, markdown

        run, about = self._measured()
        family, version = self._current()
        root, sheet = self.setting.root, self.setting.sheet
        here, there = (newest_roofs(root / "reports", name) for name in (run.manifest.machine.gpu, sheet.matches[0]))
        told = markdown(brief(family, version, step.stage, sheet, run, about, here, there))
        return privacy.blot_text(told + before_in_words(self.state), self.hidden)

    def _judge(self, step: Step, reply: Path, place: Path) -> dict[str, object]:
        """Return what is known of a kept reply; its version lies in the climb's folder then."""
        from rooflift.lint.candidate import ReplyFault, read_reply
        from rooflift.lint.lint import check_file
        from rooflift.measure.evaluate import examine
        from rooflift.optimize.journal import with_header

        _, base = self._current()
        try:
            code = read_reply(reply).code
            findings = check_file(reply, self.setting.family.reference, step.stage, base.path)
        except ReplyFault as fault:
            raise NotKept("reply", [str(fault).replace(str(reply), "reply")]) from None
        if findings:
            raise NotKept("check", [f"line {f.line}: {f.rule}: {f.what}. {f.remedy}" for f in findings])
        name = f"v{self.state.next_version}_{step.stage}"
        text, title = with_header(code, step.stage, step.number)
        candidate = place / f"{name}.py"
        candidate.write_text(text, encoding="utf-8")
        seeds = random.Random(f"{self.state.started.seed} {step.number}").sample(range(2**31), SEEDS)  # noqa: S311
        setting, interpret = self.setting, self.state.started.gpu is None
        with self.setting.progress() as progress:
            told = examine(setting.family, candidate, setting.confinement, seeds, progress, interpret=interpret)
        if told.faults:
            raise NotKept("gates", told.reasons())
        found = self._timed(candidate, place) if self.state.started.gpu else {"flag": "not timed"}
        store.write_file(self.kernels / candidate.name, text)
        return {"version": name, "title": title, "reply_sha256": _sha256(reply), **found}

    def _timed(self, candidate: Path, place: Path) -> dict[str, object]:
        """Profile a candidate beside its base; return its figures if it is faster.

        Raises:
            NotKept: it does not come through, is above the roof, or is not faster.
        """
        import ast

        from rooflift.analysis.compare import compare, side
        from rooflift.analysis.selection import figures
        from rooflift.analysis.summary import main_case
        from rooflift.optimize.journal import SUSPECT_PCT
        from rooflift.project.header import parse_header
        from rooflift.project.operator import Version

        header = parse_header(ast.parse(candidate.read_text(encoding="utf-8")), candidate)
        own = Version(self.state.next_version, candidate.stem, candidate, header)
        family, base = self._current()
        try:
            run = self._profiled(replace(family, versions=(*family.versions, own)), [base, own], place / "run")
        except (KernelFault, WrongResult) as fault:
            raise NotKept("profile", [str(fault)]) from None
        rows = compare(side(run, base.name), side(run, own.name)).cases
        summary = figures(run)
        summary = summary[summary["version"] == own.name]
        main = main_case(run.manifest.cases)
        on_main = (summary["case"] == main.case) & (summary["dtype"] == main.dtype)
        timed = rows[(rows["case"] == main.case) & (rows["dtype"] == main.dtype)].iloc[0]
        highest = float(summary["roof_pct"].max())
        found: dict[str, object] = {
            "time_us": float(timed["head_us"]),
            "time_x": float(timed["time_x"]),
            "roof_pct": float(summary[on_main].iloc[0]["roof_pct"]),
            "flag": f"suspect: {highest:.1f} % of the roof" if highest > 100 else "",
        }
        if highest > SUSPECT_PCT:
            above = f"{highest:.1f} % of the measured roof: it cannot have moved all bytes of the case"
            raise NotKept("roof", [above], **found)
        verdicts = list(rows["verdict"])
        if "slower" in verdicts or "faster" not in verdicts:
            why = [
                f"{row.case} {row.dtype}: {row.verdict}, {row.time_x:.3f}x the time of {base.name}"
                f" ({row.low:.3f} to {row.high:.3f}) {row.reason}".rstrip()
                for row in rows.itertuples()
            ]
            raise NotKept("verdict", why, **found)
        return found

    def _current(self) -> tuple[Family, Version]:
        """Return the family and the version that the next try starts from."""
        family = self.family()
        return family, next(version for version in family.versions if version.name == self.state.base)

    def _measured(self) -> tuple[Run, Subject]:
        """Return the run that tells of the current version, and where: without a GPU a recorded one of the project."""
        from rooflift.analysis.selection import subject
        from rooflift.runs.run import read_run

        setting = self.setting
        if self.state.started.gpu is None:
            run = newest_on(setting.root, setting.family.name, setting.sheet.matches)
            return run, subject(run, setting.base.name)
        if self.state.kept:
            run = read_run(setting.folder / "tries" / f"{self.state.kept[-1].number:03}" / "run")
        else:
            family, base = self._current()
            run = self._profiled(family, [base], setting.folder / "tries" / "000" / "run")
        return run, subject(run, self.state.base)

    def _profiled(self, family: Family, versions: Sequence[Version], out: Path) -> Run:
        """Return the run in `out`, measured now unless it is there."""
        from rooflift import pipeline
        from rooflift.measure.request import Request
        from rooflift.runs.run import read_run

        if not out.exists():
            request = Request(
                root=self.setting.root,
                family=family,
                versions=versions,
                cases=family.select_cases([], "bench"),
                dtypes=[],
                counters=self.setting.counters,
                timeout_s=self.setting.timeout_s,
                command=["rooflift", "climb", family.name],
                about=f"Versions of a climb from {self.state.started.base}: {self.state.started.base} is"
                f" {self.setting.base.name} of the project.",
                confinement=self.setting.confinement,
            )
            with self.setting.progress() as progress:
                told = pipeline.profile(request, out, progress)
            if told.taken_up:
                self.setting.note(told.taken_up)
        return read_run(out)

    def _reached(self) -> str:
        """Return the stop rule's reason, "" while there is something to gain."""
        from rooflift.analysis.selection import advise

        run, about = self._measured()
        found = advise(run, about, newest_roofs(self.setting.root / "reports", run.manifest.machine.gpu))
        return f"{about} is at {found.roof_pct:.1f} % of the roof" if found.stop else ""

    def _last_run(self) -> str:
        """Measure all versions of the climb in one run and return its folder, relative to the climb's; "" untimed."""
        if self.state.started.gpu is None:
            return ""
        place = Path("reports", self.setting.family.name, "climb")
        family = self.family()
        self._profiled(family, family.versions, self.setting.folder / place)
        return place.as_posix()

    def hand_over(self, folder: Path) -> list[Path]:
        """Copy the kept versions into a family's folder under the next free numbers, each content once."""
        folder.mkdir(parents=True, exist_ok=True)
        there = {_sha256(path) for path in folder.glob("v[0-9]*.py")}
        written = []
        for one in self.state.kept:
            source = self.kernels / f"{one.version}.py"
            if _sha256(source) in there:
                continue
            numbers = [int(p.stem[1:].split("_")[0]) for p in folder.glob("v*_*.py") if p.stem[1:2].isdigit()]
            target = folder / f"v{max(numbers, default=-1) + 1}_{one.version.partition('_')[2]}.py"
            store.write_file(target, source.read_bytes(), replace=False)
            written.append(target)
        return written


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


def _sha256(path: Path) -> str:
    from rooflift.runs.verify import sha256

    return sha256(path)
