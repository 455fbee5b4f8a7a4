"""What is written appears whole or not at all: beside other writers, after killed ones, on full and closed disks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rooflift.errors import RunFault
from rooflift.runs import atomic
from rooflift.runs.atomic import refreshing, write_file, writing, writing_named
from rooflift.runs.find import find_runs
from rooflift.runs.run import read_run

PROFILING = Path(__file__).parents[2] / "profiling"
METRICS = Path(__file__).parents[1] / "fixtures" / "rtx4090_metrics.json"


# --- folders


def test_folder_appears_whole(tmp_path: Path) -> None:
    place = tmp_path / "reports" / "twice" / "run"
    with writing(place) as folder:
        (folder / "run.json").write_text("{}")
        assert not place.exists()
        assert folder.parent == place.parent  # of one file system, so that the rename is one step
    assert [path.name for path in place.parent.iterdir()] == ["run"]
    assert (place / "run.json").read_text() == "{}"


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_the_block_raises(tmp_path: Path, fault: type[BaseException]) -> None:
    def half_a_run() -> None:
        with writing(tmp_path / "twice" / "run") as folder:
            (folder / "ncu").mkdir()
            (folder / "ncu" / "half.ncu-rep").write_bytes(b"half")
            raise fault

    with pytest.raises(fault):
        half_a_run()
    assert list(tmp_path.iterdir()) == []  # the folder around it, which was made for it, is gone, too


@pytest.mark.parametrize("there", ["a run", "an empty folder", "a file", "a link to nothing"])
def test_what_exists_is_never_written_over(tmp_path: Path, there: str) -> None:
    place = tmp_path / "run"
    if there == "a file":
        place.write_text("old")
    elif there == "a link to nothing":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.mkdir()
        (place / "run.json").write_text("old") if there == "a run" else None
    before = place.lstat().st_ino
    with pytest.raises(RunFault, match="exists"), writing(place) as folder:
        (folder / "run.json").write_text("new")
    assert place.lstat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_numbers_count_on_from_2_past_what_exists_and_what_is_being_written(tmp_path: Path) -> None:
    wanted = tmp_path / "2026-11-22-h100-8d0b822"
    with writing_named(wanted, numbered=True) as (_, first), writing_named(wanted, numbered=True) as (_, second):
        pass
    with writing_named(wanted, numbered=True) as (_, third):
        pass
    assert [place.name for place in (first, second, third)] == [wanted.name, f"{wanted.name}-2", f"{wanted.name}-3"]
    assert all(place.is_dir() for place in (first, second, third))


RACE = """
import sys
from pathlib import Path
from rooflift.errors import RunFault
from rooflift.runs.atomic import writing_named
for number in range(20):
    try:
        with writing_named(Path(sys.argv[1], f"run-{number}"), numbered=sys.argv[3] == "numbered") as (folder, place):
            (folder / "who").write_text(sys.argv[2])
        print("wrote")
    except RunFault as fault:
        print("exists" if "exists" in fault.message else fault)
"""


@pytest.mark.parametrize("how", ["numbered", "named"])
def test_two_processes_that_race_for_a_name_do_not_collide(tmp_path: Path, how: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), str(who), how],
            env={"PYTHONPATH": str(PROFILING)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(3)
    ]
    said = [racer.communicate(timeout=60)[0].split() for racer in racers]
    written = sum(words.count("wrote") for words in said)
    assert sorted({word for words in said for word in words}) == (
        ["wrote"] if how == "numbered" else ["exists", "wrote"]
    )
    assert written == (60 if how == "numbered" else 20)
    assert len(list(tmp_path.glob("run-*/who"))) == written
    assert not list(tmp_path.glob(".*"))


# --- leftovers

HANG = """
import sys, time
from pathlib import Path
from rooflift.runs.atomic import writing
with writing(Path(sys.argv[1])) as folder:
    (folder / "run.json").write_text("{}")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_writer_left_is_no_run_and_is_removed_by_the_next(h100_run: Path, tmp_path: Path) -> None:
    place = tmp_path / "twice" / "run"
    writer = subprocess.Popen(
        [sys.executable, "-c", HANG, str(place)], env={"PYTHONPATH": str(PROFILING)}, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    (left,) = place.parent.iterdir()
    shutil.copy(h100_run / "run.json", left)
    with writing(place.with_name("other")):
        pass
    assert left.exists()  # its writer is at work
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert find_runs(tmp_path) == []
    with pytest.raises(RunFault, match="left by a killed process"):
        read_run(left)
    with writing(place):
        pass
    assert sorted(path.name for path in place.parent.iterdir()) == ["other", "run"]


def test_only_what_a_writer_left_is_removed(tmp_path: Path) -> None:
    """Whether its number is that of a process says nothing, and what only looks alike stays."""
    kept = [".writing-run", ".writing-run-4711", ".hidden", "writing-run-0123abcd"]
    for name in [*kept, f".writing-run-{os.getpid():08x}"]:
        (tmp_path / name).mkdir()
    (tmp_path / ".writing-run-0123abcd").symlink_to(tmp_path / ".hidden")
    with writing(tmp_path / "run"):
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*kept, "run", ".writing-run-0123abcd"}


# --- files


def test_file_is_replaced_whole_or_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "roofs" / "h100.json"
    write_file(path, "old")
    with pytest.raises(RunFault, match="exists"):
        write_file(path, "new", replace=False)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFault) as caught:
        write_file(path, "new")
    assert caught.value.message == f"{path} cannot be written: No space left on device; nothing of it was kept"
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["h100.json"]


def test_refreshed_folder_keeps_other_files_and_changes_only_in_the_end(tmp_path: Path) -> None:
    place = tmp_path / "again"
    for text in ("first", "second"):
        with refreshing(place) as folder:
            (folder / "report.md").write_text(text)
            (folder / "figures").mkdir()
            (folder / "figures" / "a.svg").write_text(text)
            assert not place.exists() or (place / "report.md").read_text() == "first"
        (place / "own").write_text("mine")
    with pytest.raises(FileNotFoundError), refreshing(place) as folder:
        shutil.copytree(place / "nowhere", shutil.copy(place / "own", folder / "report.md"))
    found = {path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()}
    assert found == {"report.md": "second", "figures/a.svg": "second", "own": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


# --- disks that refuse


def as_root_of_its_own(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a namespace in which it may mount; skip the test where there are none."""
    ended = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if ended.returncode != 0:
        pytest.skip("no user namespaces here")
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"set -e; {script}", "sh", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(PROFILING), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("options", "said"), [("size=8k", "No space left on device"), ("ro", "Read-only file system")])
def test_full_and_read_only_disks_are_told_and_nothing_changes(tmp_path: Path, options: str, said: str) -> None:
    ended = as_root_of_its_own(
        'mount -t tmpfs -o "$1" none "$2"; set +e; "$PYTHON" -m rooflift import "$3" --out "$2/theirs/run"; '
        'echo "code $?"; find "$2" -mindepth 1',
        *(options, tmp_path, METRICS),
    )
    assert ended.stdout == "code 2\n", ended
    assert ended.stderr.startswith(f"rooflift: {tmp_path}/theirs/run cannot be written: {said}")
    assert "--out" in ended.stderr.splitlines()[1]
    assert "Traceback" not in ended.stderr


def test_place_that_no_folder_can_be_made_in_is_told_before_long_work(tmp_path: Path) -> None:
    atomic.require_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFault, match="is no folder"):
        atomic.require_writable(tmp_path / "file" / "run")
    with (
        pytest.raises(RunFault, match=r"cannot be written: (Not a dir|File exists)"),
        writing(tmp_path / "file" / "run"),
    ):
        pass
    assert (tmp_path / "file").is_file()


def test_error_of_something_else_is_not_told_as_one_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="/nowhere"), writing(tmp_path / "run"):
        raise PermissionError(errno.EACCES, "Permission denied", "/nowhere/kernel.py")
    assert list(tmp_path.iterdir()) == []


def test_file_system_without_locks_still_writes_and_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / ".writing-run-0123abcd").mkdir()
    with writing_named(tmp_path / "run", numbered=True) as (_, place):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-run-0123abcd", place.name]
