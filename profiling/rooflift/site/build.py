"""A site built: its pages written where they are new or changed, what is gone taken away, and what was done told."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

import rooflift
from rooflift.api.project import Say, project_root, silent
from rooflift.api.shown import short
from rooflift.errors import CatalogError, RunFault
from rooflift.project.settings import build_folder, reports_folder
from rooflift.runs import atomic
from rooflift.site.facts import Facts, facts, stamp
from rooflift.site.gather import Project, gather
from rooflift.site.pages import Pages

MARK = '<meta name="generator" content="rooflift">'  # of index.html: this folder is a site's


class State(msgspec.Struct):
    """What an earlier build left: the facts of the runs, the verdicts, and what each page was made of."""

    form: str = ""
    runs: dict[str, tuple[str, Facts]] = {}  # by place, with the stamp of the run
    verdicts: dict[str, str] = {}
    pages: dict[str, str] = {}  # by path


@dataclass(frozen=True)
class Site:
    """A built site: its folder, how many files it has, and which of them this build wrote or removed."""

    folder: Path
    files: int
    written: Sequence[str]
    removed: Sequence[str]
    project: Project

    def parts(self) -> list[str]:
        """Return what a terminal shows: what became slower, then what was done."""
        slower = [
            f"{one.label} {one.case} {one.dtype} on {one.gpu}: {one.newest['version']} takes {one.time_x:.3f}x of "
            f"{one.before['version']} before"
            for one in self.project.slower
            if one.before is not None
        ]
        done = f"{self.files} files, {len(self.written)} written, {len(self.removed)} removed"
        return [*slower, f"{short(self.folder / 'index.html')}: {done}"]

    def record(self) -> dict[str, Any]:
        """Return the same for a program."""
        slower = [
            {"operator": one.label, "case": one.case, "dtype": one.dtype, "gpu": one.gpu, "time_x": one.time_x}
            for one in self.project.slower
        ]
        return {
            "folder": short(self.folder),
            "files": self.files,
            "written": list(self.written),
            "removed": list(self.removed),
            "slower": slower,
        }

    def __repr__(self) -> str:
        return f"<Site {short(self.folder)}: {self.files} files, {len(self.written)} written>"


def site(out: Path | str, *, repository: str = "", say: Say = silent, root: Path | str | None = None) -> Site:
    """Build static pages of a project in the folder `out`: operators, ladders, runs, GPUs, comparisons, sources.

    Only what changed is written again. `repository` is the address of the project on a code host, to whose commits and
    files the pages then link.

    >>> import tempfile
    >>> from rooflift.site.build import site
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     site(folder).files > 100
    True

    Raises:
        CatalogError: no project is found, `repository` is no address, or `out` holds something else.
        RunFault: `out` cannot be written.
    """
    top, folder = project_root(root), Path(out)
    if repository and not repository.startswith(("https://", "http://")):
        raise CatalogError(f"--repository {repository!r} is no address", "Give it as https://HOST/OWNER/NAME.")
    _require_own(folder, top)
    atomic.require_writable(folder)
    kept = build_folder(top) / "site" / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.json"
    state = _state(kept)
    say("reading the runs")
    known: dict[str, tuple[str, Facts]] = {}
    roofs = hashlib.sha256(b"".join(p.read_bytes() for p in sorted((reports_folder(top) / "roofs").glob("*.json"))))

    def read(run: Path) -> Facts:
        place, now = f"{run.parent.name}/{run.name}", stamp(run, roofs.hexdigest())
        before = state.runs.get(place)
        known[place] = before if before and before[0] == now else (now, facts(run, top))
        return known[place][1]

    project = gather(top, read, state.verdicts)
    pages = list(Pages(project, _title(top), repository, {place: one[0] for place, one in known.items()}))
    made, written = dict[str, str](), []
    for place, page in enumerate(pages, 1):
        made[page.path] = page.key
        target = folder / page.path
        if page.key and state.pages.get(page.path) == page.key and target.is_file():
            continue
        content = page.make()
        data = content.encode() if isinstance(content, str) else content
        if not target.is_file() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            written.append(page.path)
            if len(written) % 100 == 0:
                say(f"{place} of {len(pages)} pages")
    removed = sorted(state.pages.keys() - made.keys())
    for path in removed:
        (folder / path).unlink(missing_ok=True)
    atomic.write_file(kept, msgspec.json.encode(State(_form(), known, state.verdicts, made)))
    return Site(folder, len(made), written, removed, project)


def _require_own(folder: Path, root: Path) -> None:
    """Refuse a folder that holds something else than a site."""
    index = folder / "index.html"
    if folder.resolve() in (root, *root.parents) or (folder / "run.json").exists():
        raise CatalogError(f"{folder} is no folder for a site", "Name one of its own, such as build/site.")
    if index.exists() and MARK not in index.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise CatalogError(f"{index} is not rooflift's", "Name a folder of its own, such as build/site.")


def _state(path: Path) -> State:
    """Return what the last build left, nothing of a build by other code."""
    with suppress(OSError, msgspec.DecodeError):
        found = msgspec.json.decode(path.read_bytes(), type=State)
        if found.form == _form():
            return found
        return State(pages=dict.fromkeys(found.pages, ""))  # what is gone is still to be removed
    return State()


def _form() -> str:
    """Return what changes with the code that makes the pages."""
    package = Path(rooflift.__file__).parent
    files = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".j2", ".css", ".js", ".toml"))
    states = [f"{path.name} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in files]
    return hashlib.sha256("\n".join([rooflift.__version__, *states]).encode()).hexdigest()


def _title(root: Path) -> str:
    """Return the project's name by its pyproject.toml, else by its folder."""
    with suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError):
        name = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {}).get("name")
        if isinstance(name, str):
            return name
    return root.name


__all__ = ["RunFault", "Site", "site"]
