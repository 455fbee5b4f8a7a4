"""What an interrupted measurement had finished: kept until its run folder is whole, resumed by the same request.

A part is what one process said, whole: the times of a run are never put together from two processes. The record of
the request names the folder of its checkpoint, below build/unfinished: kernel files, command, options, GPU, software,
rooflift's own code. One difference, a reboot among them, and nothing is found.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rooflift.errors import RunFault
from rooflift.measure.environment import Driver, package_version
from rooflift.measure.request import Request
from rooflift.ncu.command import find_ncu
from rooflift.process import PACKAGE
from rooflift.project.imports import imported_modules
from rooflift.project.inline import inlined_files
from rooflift.project.settings import build_folder
from rooflift.runs import atomic
from rooflift.runs.verify import sha256
from rooflift.schema import Sampling

Part = TypeVar("Part")
OLDEST = datetime.timedelta(hours=24)  # parts that are older are thrown away
START, RUN = "start.part", "run.part"
BOOT = Path("/proc/sys/kernel/random/boot_id")
SETTINGS = ("CUDA_", "NVIDIA_", "PYTORCH_", "TORCH", "TRITON_")  # variables that change what is measured


class Start(msgspec.Struct, frozen=True):
    """When a measurement began and how its samples are taken; parts that are resumed were made so."""

    at: datetime.datetime
    sampling: Sampling


@dataclass(slots=True)
class Checkpoint:
    """The folder of a measurement's finished parts; without one nothing is kept."""

    folder: Path | None
    start: Start | None = None
    resumed: list[str] = field(default_factory=list)  # the parts that an interrupted measurement had finished

    @property
    def report(self) -> Path:
        """Where ncu's report lies."""
        assert self.folder is not None
        return self.folder / "report.ncu-rep"

    def load(self, name: str, kind: type[Part]) -> Part | None:
        """Return a finished part, None when it is still to be made."""
        path = self.folder / f"{name}.part" if self.folder is not None else None
        if path is None or not path.exists():
            return None
        self.resumed.append(name)
        return msgspec.msgpack.decode(path.read_bytes(), type=kind)

    def save(self, name: str, part: object) -> None:
        """Keep a finished part. What cannot be written is not kept, which hinders no measurement."""
        if self.folder is None:
            return
        with suppress(RunFault):
            atomic.write_file(self.folder / f"{name}.part", msgspec.msgpack.encode(part))
            if name != "start" and not (self.folder / START).exists():
                self.save("start", self.start)  # last: parts without it do not count

    def in_words(self) -> str:
        """Return what was resumed, "" when nothing was."""
        if not self.resumed or self.start is None:
            return ""
        return (
            f"Resumed an interrupted measurement: {', '.join(self.resumed)} of {self.start.at:%Y-%m-%d %H:%M} UTC, "
            "the rest measured later."
        )


def record(request: Request, driver: Driver, commit: str | None, *, dirty: bool) -> dict[str, Any]:
    """Return all that two calls must agree in for one to go on with what the other has measured."""
    ncu = find_ncu() if request.metric_set != "none" else None
    files = {"reference": request.operator.reference} | {version.name: version.path for version in request.versions}
    for path in [*files.values()]:
        files |= imported_modules(path, request.operator.folder)
    if request.dispatch is not None:
        files |= {path.as_posix(): path for path in inlined_files(request.dispatch)}
    if request.baselines is not None:
        files["baselines"] = request.baselines
    code_files = [path for room in ("measure", "worker", "ncu") for path in (PACKAGE / room).glob("*.py")]
    return {
        "command": request.command,
        "about": request.about,
        "commit": [commit, dirty],
        "files": {name: sha256(path) for name, path in files.items()},
        "work": [request.timed, request.profiled],
        "metric_set": request.metric_set,
        "options": request.options,
        "driver": driver,
        "software": [sys.executable, platform.python_version(), *map(package_version, ("torch", "triton"))],
        "ncu": [str(ncu), ncu.stat().st_mtime_ns] if ncu else None,
        "settings": {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)},
        "rooflift": {path.relative_to(PACKAGE).as_posix(): sha256(path) for path in code_files},
        "boot": BOOT.read_text(encoding="ascii") if BOOT.exists() else None,
    }


@contextmanager
def open_checkpoint(root: Path, about: dict[str, Any]) -> Iterator[Checkpoint]:
    """Yield the checkpoint of the request that `about` records, and throw it away when the block ends.

    It stays when the block is stopped from outside, or when the run cannot be written. Where nothing can be kept, or
    another process measures the same, the folder is a temporary one.
    """
    name = hashlib.sha256(msgspec.json.encode(about, order="sorted")).hexdigest()
    place = build_folder(root) / "unfinished" / name[:32]
    with ExitStack() as stack:
        found = None
        with suppress(OSError):
            folder = place / "parts"  # not the one that is held: whoever writes into a folder locks it for a moment
            folder.mkdir(parents=True, exist_ok=True)
            _throw_others_away(place)
            if stack.enter_context(atomic.held(place)) and os.access(folder, os.W_OK):
                found = Checkpoint(folder, _start(folder))
        if found is None:
            yield Checkpoint(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rooflift-"))))
            return
        try:
            yield found
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit | OSError | RunFault)
            if not stopped or not (folder / START).exists():
                _throw_away(place)
            raise
        _throw_away(place)


def _start(folder: Path) -> Start | None:
    """Return how the parts in a folder were started, or empty it: too old, whole as a run, or without a start."""
    start, run = None, None
    with suppress(OSError, msgspec.DecodeError):
        start = msgspec.msgpack.decode((folder / START).read_bytes(), type=Start)
        run = Path(msgspec.msgpack.decode((folder / RUN).read_bytes(), type=str), "run.json")
    now = datetime.datetime.now(datetime.UTC)
    if start is not None and now - OLDEST < start.at <= now and not (run is not None and run.exists()):
        return start
    _empty(folder)
    return None


def _throw_others_away(own: Path) -> None:
    """Remove what will not be resumed: too old, whole as a run, or without a start."""
    for place in own.parent.iterdir():
        if place != own and place.is_dir():
            with atomic.held(place) as alone:
                if alone and _start(place / "parts") is None:
                    _throw_away(place)


def _throw_away(place: Path) -> None:
    _empty(place / "parts")
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        place.parent.rmdir()  # unless others are unfinished, too
        place.parent.parent.rmdir()


def _empty(folder: Path) -> None:
    """Remove all parts, the one first without which the others do not count: a kill may come in between."""
    (folder / START).unlink(missing_ok=True)
    for path in folder.glob("*"):  # a kill may have left no folder at all
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
