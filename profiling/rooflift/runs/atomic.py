"""Files and folders that appear whole or not at all: staged beside their place, synced, renamed. Knows no run.

What is being written is a `.writing-<name>-<number>` beside its place, and its writer holds a lock on it (flock), which
the system takes away when the process ends, however it ends. So whoever can lock one has found a leftover: the next
writer in the same folder removes it. Names are given out, and taken, under a lock on the folder around them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rooflift.errors import RunFault

PREFIX = ".writing-"
_STAGED = re.compile(re.escape(PREFIX) + r"(?P<name>.+)-[0-9a-f]{8}", re.DOTALL)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_PLACE = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `folder` when the block ends, and vanishes when it fails.

    Raises:
        RunFault: `folder` exists, and is left as it is; or it cannot be written, and nothing has changed.
    """
    with writing_named(folder) as (staged, _):
        yield staged


@contextmanager
def writing_named(folder: Path, *, numbered: bool = False) -> Iterator[tuple[Path, Path]]:
    """As `writing`, and yield the folder that it becomes as well.

    Numbered, that is the first of `folder`, `folder`-2, `folder`-3, ... that neither exists nor is being written.
    """
    with _staging(folder, numbered=numbered) as (staged, place):
        yield staged, place
        _sync_tree(staged)
        with _alone(place.parent):
            if os.path.lexists(place):  # rename() would replace an empty folder
                raise RunFault(f"{place} exists", "A run is never overwritten: name a folder that does not exist.")
            staged.rename(place)
        _sync(place.parent)


@contextmanager
def refreshing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder whose files take their places in `folder` when the block ends, each whole.

    Other files there stay. Nothing changes when the block fails.

    Raises:
        RunFault: `folder` cannot be written.
    """
    beside = folder / "files" if folder.is_dir() else folder
    with told(folder), _staging(beside) as (staged, _):
        yield staged
        _sync_tree(staged)
        with _alone(beside.parent):
            if not folder.exists():
                staged.rename(folder)
        for path in sorted(staged.rglob("*")):  # nothing, where it was renamed
            place = folder / path.relative_to(staged)
            place.mkdir(exist_ok=True) if path.is_dir() else path.replace(place)
        _sync(beside.parent)


def write_file(path: Path, data: bytes | str, *, replace: bool = True) -> None:
    """Write a file, whole or not at all.

    Raises:
        RunFault: it cannot be written, or it exists and is not to be replaced; nothing has changed.
    """
    with _staging(path) as (staged, _):
        whole = staged / path.name
        whole.write_bytes(data.encode() if isinstance(data, str) else data)
        _sync(whole)
        with _alone(path.parent):
            if not replace and os.path.lexists(path):
                raise RunFault(f"{path} exists", "Name another file, or take it away first.")
            whole.replace(path)
        _sync(path.parent)


def require_writable(folder: Path) -> None:
    """Look, before long work, whether a folder could be made here; nothing is made.

    Raises:
        RunFault: it could not.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise _refusal(folder, "Permission denied" if existing.is_dir() else f"{existing} is no folder")


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Yield whether this process, and no other, holds an existing folder; until the block ends."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield _try_lock(lock) and folder.exists() and os.path.samestat(os.fstat(lock), folder.stat())
    finally:
        os.close(lock)


@contextmanager
def _staging(wanted: Path, *, numbered: bool = False) -> Iterator[tuple[Path, Path]]:
    """Yield a folder beside `wanted`, which is gone when the block ends, and the place that is free for it."""
    with told(wanted), _made(wanted.parent):
        with _alone(wanted.parent):
            busy = _sweep(wanted.parent)
            place, number = wanted, 2
            while numbered and (os.path.lexists(place) or place.name in busy):
                place, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
            staged = place.with_name(f"{PREFIX}{place.name}-{secrets.token_hex(4)}")
            staged.mkdir()
            lock = os.open(staged, os.O_RDONLY | os.O_DIRECTORY)
            _try_lock(lock)
        try:
            yield staged, place
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            os.close(lock)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder with its parents; what was made goes again when the block fails."""
    new = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # somebody else has put something there
                path.rmdir()
        raise
    for path in new:
        _sync(path.parent)


def _sweep(folder: Path) -> set[str]:
    """Remove what killed writers left, and return the names of what is being written."""
    busy = set()
    with os.scandir(folder) as entries:
        found = [(entry, match["name"]) for entry in entries if (match := _STAGED.fullmatch(entry.name))]
    for entry, name in found:
        try:
            lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # no folder, and so none of ours, or gone by now
            continue
        try:
            if _try_lock(lock):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                busy.add(name)
        finally:
            os.close(lock)
    return busy


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time into a folder; where the file system has no locks, all of them."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    """Have the disk hold a file or folder before anything else is done."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems sync no folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def told(place: Path) -> Iterator[None]:
    """Turn a full disk and a place that cannot be written into a RunFault; other errors of the system go on."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _NO_ROOM:
            remedy = "Free some space, or name a place on another disk with --out."
            raise RunFault(f"{place} cannot be written: {reason}; nothing of it was kept", remedy) from None
        existing = next(path for path in place.absolute().parents if path.exists())
        elsewhere = isinstance(error.filename, str) and not Path(error.filename).absolute().is_relative_to(existing)
        if error.errno in _REFUSED | _NO_PLACE and not elsewhere:
            raise _refusal(place, reason) from None
        raise


def _refusal(place: Path, reason: str) -> RunFault:
    remedy = "Name a place that you may write with --out, or change who may write there."
    return RunFault(f"{place} cannot be written: {reason}", remedy)
