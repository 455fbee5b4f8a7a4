"""The climb: briefs to a writer, replies through checker, gates and stopwatch, the faster ones kept. `cli` takes it up.

All that happened stands in a folder: journal.jsonl, the kept versions below kernels/, each try's brief, reply and run.
A try is in the journal or it is done again from the reply that was stored, so a climb can be killed at any moment.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rooflift import completion, store
from rooflift.collect import privacy
from rooflift.console import note, print_json, progress_shown, shown
from rooflift.errors import CatalogError, EnvironmentFault, KernelFault, NoGpu, RunFault, WrongResult, did_you_mean
from rooflift.guiding import FamilyName, newest_on, roofs_of
from rooflift.judging import AsJson, Root

if TYPE_CHECKING:
    from rooflift.brief.climb import Entry, Gate, Started, State, Step, Tried
    from rooflift.catalog.families import Family, Version
    from rooflift.catalog.gpus import GpuSheet
    from rooflift.collect.confinement import Confinement
    from rooflift.model.selection import Subject
    from rooflift.runs import Run

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
        from rooflift.brief.climb import read_journal, state_of

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
        from rooflift.brief.climb import read_journal, state_of

        path = self.setting.folder / JOURNAL
        with path.open("ab") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())
        self.state = state_of(read_journal(path.read_bytes())[0])

    def family(self) -> Family:
        """Return the climb's family: the base and what was kept, and no version that the journal lacks."""
        from rooflift.catalog.families import load_family

        found = load_family(self.setting.folder, self.setting.family.name)
        return replace(found, versions=found.versions[: self.state.next_version])

    def run(self) -> None:
        """Make the tries that are left, then measure all that was kept in one run."""
        from rooflift.brief.climb import Stopped, outcome

        while not self.state.stopped:
            reason, step = self._reached(), self.state.next_step()
            if reason or step is None:
                self._note(Stopped(reason or "every stage had its tries", self._last_run()))
                break
            tried = self.attempt(step)
            self._note(tried)
            note(f"Try {tried.number} ({tried.stage}): {outcome(tried)}")
            for text in tried.why:
                note(f"  {text}")

    def attempt(self, step: Step) -> Tried:
        """Make one try; it does not touch the journal."""
        from rooflift.brief.climb import Tried

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
        from rooflift.collect.processes import converse

        reply = place / "reply.txt"
        if reply.exists():
            return reply
        text = self.brief(step)
        (place / "brief.md").write_text(text, encoding="utf-8")
        note(f"Try {step.number} ({step.stage}, from {step.base}): asking the writer")  # no spinner beside an editor
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
        from rooflift.brief.brief import brief, markdown
        from rooflift.brief.climb import before_in_words

        run, about = self._measured()
        family, version = self._current()
        root, sheet = self.setting.root, self.setting.sheet
        here, there = (roofs_of(root, name) for name in (run.manifest.machine.gpu, sheet.matches[0]))
        told = markdown(brief(family, version, step.stage, sheet, run, about, here, there))
        return privacy.blot_text(told + before_in_words(self.state), self.hidden)

    def _judge(self, step: Step, reply: Path, place: Path) -> dict[str, object]:
        """Return what is known of a kept reply; its version lies in the climb's folder then."""
        from rooflift.brief.check import check_file
        from rooflift.brief.climb import with_header
        from rooflift.brief.reply import ReplyFault, read_reply
        from rooflift.collect.gates import examine

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
        with progress_shown() as progress:
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

        from rooflift.brief.climb import SUSPECT_PCT
        from rooflift.catalog.families import Version
        from rooflift.catalog.header import parse_header
        from rooflift.model.compare import compare, side
        from rooflift.model.selection import figures
        from rooflift.model.summary import main_case

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
        from rooflift.model.selection import subject
        from rooflift.runs import read_run

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
        from rooflift.collect.request import Request
        from rooflift.runs import read_run

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
            with progress_shown() as progress:
                told = pipeline.profile(request, out, progress)
            if told.taken_up:
                note(told.taken_up)
        return read_run(out)

    def _reached(self) -> str:
        """Return the stop rule's reason, "" while there is something to gain."""
        from rooflift.model.selection import advise

        run, about = self._measured()
        found = advise(run, about, roofs_of(self.setting.root, run.manifest.machine.gpu))
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


def climb(
    family: FamilyName,
    writer: Annotated[str, typer.Option(help="The command that gets a brief and prints a reply.")],
    base: Annotated[str | None, typer.Option(help="The version to start from. Default: the family's first.")] = None,
    stages: Annotated[
        str, typer.Option(help="In this order, with commas between.", autocompletion=completion.stages)
    ] = "grid,tiling,memory,tuning",
    tries: Annotated[int, typer.Option(help="Replies to ask for in each stage.", min=1)] = 3,
    gpu: Annotated[
        str | None, typer.Option(help="The target. Default: the GPU here.", autocompletion=completion.gpus)
    ] = None,
    no_gpu: Annotated[
        bool, typer.Option("--no-gpu", help="Check, and run in Triton's interpreter; time nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The climb's folder; an unfinished climb in it goes on. Default: below build/.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Copy kept versions here in the end, as the next numbers; none is overwritten.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run replies also where they cannot be confined.")] = False,
    writer_timeout: Annotated[float | None, typer.Option(help="Seconds a writer may take. Default: no limit.")] = None,
    memory_gib: Annotated[float, typer.Option(help="Host memory that a reply may hold.", min=1)] = 16,
    gate_timeout: Annotated[float, typer.Option(help="Seconds that a reply may take on all test cases.", min=1)] = 300,
    counters: Annotated[str, typer.Option(help="seed, standard, full or none.")] = "standard",
    timeout: Annotated[float, typer.Option(help="Seconds after which a measurement is stopped.", min=1)] = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Let a writer climb: brief, reply, check, gates, profile, keep or revert, until the stages or the roof end it."""
    import filelock

    from rooflift.brief.climb import Started
    from rooflift.brief.stages import stage
    from rooflift.catalog.families import find_root, load_family
    from rooflift.collect.confinement import Limits, require_confinement
    from rooflift.extract.registry import COUNTER_SETS

    top = find_root((root or Path.cwd()).resolve())
    of_family = load_family(top, family)
    (start,) = of_family.select_versions([base or "v0"])
    names = [name.strip() for name in stages.split(",")]
    for name in names:
        stage(name)
    words = shlex.split(writer)
    if not words:
        raise CatalogError("--writer is empty", "Name the command that gets a brief and prints a reply.")
    if counters not in COUNTER_SETS:
        raise CatalogError(f"--counters {counters}: no such set", did_you_mean(counters, COUNTER_SETS))
    sheet = _target(top, family, gpu, no_gpu)
    folder = (out or top / "build" / "climbs" / family).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    started = Started(
        family=family,
        base=f"v0_{start.name.partition('_')[2]}",
        base_sha256=_sha256(start.path),
        stages=names,
        tries=tries,
        gpu=None if no_gpu else sheet.name,
        seed=random.SystemRandom().randrange(2**31),
    )
    held = replace(require_confinement(trust=trust), limits=Limits(gate_timeout, int(memory_gib * 2**30)))
    setting = Setting(top, of_family, start, sheet, folder, words, writer_timeout, held, timeout, counters)
    if held.missing:
        note(f"Replies are not confined in: {', '.join(held.missing)}. --trust allows that.")
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            climbing = Climb(setting, started)
            climbing.run()
            handed = climbing.hand_over(keep) if keep else []
    except filelock.Timeout:
        raise RunFault(f"{folder}: another climb is at work in it", "Wait for it, or name another --out.") from None
    except KeyboardInterrupt:
        note(f"rooflift: stopped; the same command goes on in {shown(folder)}")
        raise typer.Exit(130) from None
    _tell(climbing, handed, as_json)


def _target(top: Path, family: str, gpu: str | None, no_gpu: bool) -> GpuSheet:
    """Return the sheet of the target.

    Raises:
        NoGpu: there is none here, and --no-gpu was not given.
        CatalogError: no sheet stands for the GPU here, or it is not the one that was named.
    """
    from rooflift.catalog.gpus import sheet_for_key, sheet_for_name
    from rooflift.collect.machine import driver
    from rooflift.runs import newest_run

    named = sheet_for_key(gpu) if gpu else None
    if no_gpu:
        here = newest_run(top / "reports", family).manifest.machine.gpu
    else:
        try:
            here = driver().gpus[0]
        except NoGpu as absent:
            remedy = f"{absent.remedy} With --no-gpu replies are checked and run in the interpreter, and none is timed."
            raise NoGpu(absent.message, remedy) from None
    own = sheet_for_name(here)
    if named is None and own is None:
        raise CatalogError(f"no sheet stands for the GPU {here!r}", "Name one with --gpu.")
    if named is not None and not no_gpu and named is not own:
        raise CatalogError(f"--gpu {gpu}: replies are timed here, on {here}", "Leave out --gpu, or give --no-gpu.")
    found = named or own
    assert found is not None  # one of the two is
    return found


def _tell(climbing: Climb, handed: Sequence[Path], as_json: bool) -> None:
    state, folder = climbing.state, climbing.setting.folder
    if as_json:
        print_json(
            {
                "folder": shown(folder),
                "stopped": state.stopped,
                "kept": [one.version for one in state.kept],
                "run": shown(folder / state.run) if state.run else None,
                "tries": msgspec.to_builtins(state.tried),
                "written": [shown(path) for path in handed],
            }
        )
        return
    names = ", ".join(one.version for one in state.kept) or "none"
    typer.echo(f"{len(state.tried)} tries, kept: {names}; ended: {state.stopped}")
    typer.echo(f"Wrote {shown(folder)}")
    for path in ([folder / state.run] if state.run else []) + list(handed):
        typer.echo(f"  {shown(path)}")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(climb)


def _line(entry: Entry) -> bytes:
    return msgspec.json.encode(entry) + b"\n"


def _sha256(path: Path) -> str:
    from rooflift.runs import sha256

    return sha256(path)
