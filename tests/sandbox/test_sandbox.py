"""What can be had to sandbox a child is found by trying, and what it holds is watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rooflift.errors import EnvironmentFault
from rooflift.process import Ended
from rooflift.sandbox import enter
from rooflift.sandbox import sandbox as module
from rooflift.sandbox.enter import ROWS, VARIABLE
from rooflift.sandbox.sandbox import (
    Limits,
    OverLimit,
    Sandbox,
    bare_environment,
    find_sandbox,
    remove,
    require_sandbox,
    resident_bytes,
    watch,
)


def test_what_a_process_can_still_do_is_what_it_tries(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    program = (
        "from rooflift.sandbox.enter import open_still; import pathlib; print(*open_still(pathlib.Path()), sep=',')"
    )
    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(said.stdout.strip().split(",")) >= {"processes", "files written", "files read"}  # and a network, if any


NAMES_A_THREAD = """
import threading
from pathlib import Path
from rooflift.sandbox.enter import enter_if_asked

def name_it() -> None:
    Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("named")

enter_if_asked()
thread = threading.Thread(target=name_it)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("extent", ["all", "profiled"])
def test_a_confined_process_names_its_threads_as_cuda_does(extent: str, tmp_path: Path) -> None:
    """CUDA gives up with "OS call failed" where it cannot."""
    words = find_sandbox().words if extent == "all" else ()
    environment = bare_environment(tmp_path) | {VARIABLE: extent}
    command = [*words, sys.executable, "-c", NAMES_A_THREAD]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize(
    ("ended", "missing"),
    [
        (Ended(0, "end"), ()),
        (Ended(0, "network\nfiles read\nend"), ("network", "files read")),
        (Ended(0, "network"), ROWS),
        (Ended(1, "OSError\nend"), ROWS),
        (Ended(127, ""), ROWS),
    ],
)
def test_a_trial_that_does_not_come_to_its_end_confines_nothing(
    ended: Ended, missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "capture", lambda command, timeout_s: ended)
    assert find_sandbox.__wrapped__().missing == missing


def test_what_is_missing_needs_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Sandbox((), ("files written", "files read"))
    monkeypatch.setattr(module, "find_sandbox", lambda: lacking)
    with pytest.raises(EnvironmentFault, match="cannot be sandboxed here in: files written, files read") as caught:
        require_sandbox(trust=False)
    assert "--trust" in caught.value.remedy
    assert require_sandbox(trust=True) is lacking
    monkeypatch.setattr(module, "find_sandbox", lambda: Sandbox((), ()))
    assert require_sandbox(trust=False).missing == ()


def test_the_environment_holds_no_secret_and_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "planted")
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    environment = bare_environment(tmp_path)
    assert "planted" not in environment.values()
    assert {environment[name] for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")} == {"1"}
    assert {environment[name] for name in ("HOME", "TMPDIR")} == {str(tmp_path)}


def test_memory_is_that_of_a_process_and_all_below_it(tmp_path: Path) -> None:
    alone = sum(resident_bytes(os.getpid()))
    assert alone > 2**20
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as child:
        assert sum(resident_bytes(os.getpid())) > alone
        child.communicate(b"\n")
    with pytest.raises(OverLimit, match="GiB of memory, of at most"):
        watch(tmp_path, Limits(memory_bytes=1))(os.getpid())
    with pytest.raises(OverLimit, match="processes, of at most 0"):
        watch(tmp_path, Limits(processes=0))(os.getpid())
    watch(tmp_path, Limits(memory_bytes=2**50, processes=10**6))(os.getpid())


def test_a_process_whose_parent_ended_counts_with_its_group() -> None:
    program = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL).pid)"
    said = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    orphan = int(said.communicate()[0])
    try:
        assert len(list(resident_bytes(said.pid))) == 1
    finally:
        os.kill(orphan, 9)


def test_removal_follows_no_link_and_knows_no_depth(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "scratch"
    outside.write_text("kept")
    outside.chmod(0o600)
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "link").symlink_to(outside)
    (folder / "closed").chmod(0o555)
    at = os.open(folder, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    remove(folder)
    assert not folder.exists()
    assert (outside.read_text(), outside.stat().st_mode & 0o777) == ("kept", 0o600)


def test_home_that_a_variable_names_stays_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, tools = tmp_path / "user", tmp_path / "tools"
    for folder in (home, tools):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home}:{tmp_path}:{tools}")
    for name, value in bare_environment(tmp_path / "scratch").items():
        monkeypatch.setenv(name, value)
    opened = {path for path, _ in enter._allowed(tmp_path / "scratch", "all")}
    assert tools in opened
    assert not {home, tmp_path} & opened
