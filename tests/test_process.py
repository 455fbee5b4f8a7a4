"""Child processes: their lines come at once, and nothing of them outlives the interest in them."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from rooflift import process
from rooflift.errors import KernelFault
from rooflift.process import Ended, capture, run_to_end, stream

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def run(program: str, folder: Path, on_line: Callable[[str], None] = lambda line: None, **environment: str) -> Ended:
    return asyncio.run(stream([sys.executable, "-c", program], folder, environment, on_line))


def test_lines_come_as_they_are_printed(tmp_path: Path) -> None:
    """The child goes on only when the reader of its first line has answered."""
    program = """
import pathlib, sys, time
print("first", flush=True)
deadline = time.monotonic() + 20
while not pathlib.Path("answer").exists():
    if time.monotonic() > deadline:
        sys.exit("nobody read the first line")
    time.sleep(0.01)
print("second")
"""
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        (tmp_path / "answer").touch()

    assert run(program, tmp_path, on_line) == Ended(0, "first\nsecond")
    assert seen == ["first", "second"]


def test_both_streams_the_exit_code_and_bytes_that_are_no_text_come_back(tmp_path: Path) -> None:
    program = "import os; os.write(1, b'out\\n'); os.write(2, b'\\xff err\\n'); os._exit(3)"
    assert run(program, tmp_path) == Ended(3, "out\n\N{REPLACEMENT CHARACTER} err")


def test_signal_is_a_negative_code(tmp_path: Path) -> None:
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", tmp_path).returncode == -11


def test_child_has_the_given_folder_and_environment_and_no_input(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd(), os.environ['GIVEN'], repr(sys.stdin.read()))"
    assert run(program, tmp_path, GIVEN="a word").output == f"{tmp_path} a word ''"


def test_very_long_line_passes_in_one_piece(tmp_path: Path) -> None:
    lengths: list[int] = []
    run("print('x' * 5_000_000)", tmp_path, lambda line: lengths.append(len(line)))
    assert lengths == [5_000_000]


def test_cancelling_ends_the_child_and_its_children(tmp_path: Path, ends: Callable[[int], bool]) -> None:
    pids: list[int] = []

    async def cancel_after_the_first_line() -> None:
        started = asyncio.Event()

        def on_line(line: str) -> None:
            pids.append(int(line))
            started.set()

        task = asyncio.create_task(stream([sys.executable, "-c", PARENT], tmp_path, {}, on_line))
        await asyncio.wait_for(started.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_after_the_first_line())
    assert ends(pids[0])


@pytest.mark.parametrize("rounds", [2, 4, 8])
def test_cancelling_twice_leaves_nothing_of_the_child(tmp_path: Path, rounds: int) -> None:
    """As when a task group that fails and the end of the loop both cancel, while the child starts or ends."""

    async def cancel_twice() -> None:
        task = asyncio.create_task(stream(["sleep", "600"], tmp_path, {}, lambda line: None))
        for _ in range(rounds):
            await asyncio.sleep(0)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(cancel_twice())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_a_limit_and_then_a_cancellation_leave_nothing_of_the_child(tmp_path: Path) -> None:
    """What ends the child is not ended itself: a watch that raises, and whoever awaits the child is cancelled then."""
    ended: list[int] = []

    def over(pid: int) -> None:
        ended.append(pid)
        raise KernelFault("it held more than it may", "Hold less.")

    async def stop_when_it_is_over() -> None:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        task = asyncio.create_task(stream(command, tmp_path, {}, lambda line: None, watch=over))
        while not ended:
            await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises((KernelFault, asyncio.CancelledError)):
            await task

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(stop_when_it_is_over())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    with pytest.raises(ChildProcessError):
        os.waitpid(ended[0], os.WNOHANG)


def test_cancelling_does_not_wait_for_a_process_that_left_the_group(tmp_path: Path) -> None:
    left = "subprocess.Popen(['sleep', '20'], start_new_session=True).pid"  # it holds the output open

    async def cancel_after_the_first_line() -> int:
        pid = asyncio.get_running_loop().create_future()
        program = f"import subprocess, time; print({left}, flush=True); time.sleep(600)"
        command = [sys.executable, "-c", program]
        task = asyncio.create_task(stream(command, tmp_path, {}, lambda line: pid.set_result(int(line))))
        await pid
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid.result()

    os.kill(asyncio.run(cancel_after_the_first_line()), signal.SIGKILL)  # it sleeps still


def test_fault_of_the_reader_ends_the_child_and_its_children(tmp_path: Path, ends: Callable[[int], bool]) -> None:
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise ValueError("not what was expected")

    with pytest.raises(ValueError, match="not what was expected"):
        run(PARENT, tmp_path, on_line)
    assert ends(pids[0])


def test_child_that_leaves_a_child_behind_takes_it_along(tmp_path: Path, ends: Callable[[int], bool]) -> None:
    program = """
import subprocess, sys
silent = subprocess.DEVNULL
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=silent, stderr=silent).pid)
"""
    ended = run(program, tmp_path)
    assert ended.returncode == 0
    assert ends(int(ended.output))


def test_child_that_closes_its_output_is_watched_on(tmp_path: Path) -> None:
    program = "import os, time; os.close(1); os.close(2); time.sleep(600)"
    looks: list[int] = []

    def watch(pid: int) -> None:
        looks.append(pid)
        if len(looks) > 5:
            raise ValueError("seen enough")

    with pytest.raises(ValueError, match="seen enough"):
        asyncio.run(stream([sys.executable, "-c", program], tmp_path, {}, lambda line: None, watch=watch))


def test_capture_of_a_missing_command_is_127() -> None:
    ended = capture(["/nowhere/at-all"])
    assert ended.returncode == 127
    assert "/nowhere/at-all" in ended.output


def test_capture_of_a_command_that_hangs_is_127() -> None:
    assert capture(["sleep", "600"], timeout_s=0.2).returncode == 127


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from rooflift.process import stream
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
asyncio.run(stream([sys.executable, "-c", child], Path(), {}, lambda line: print(line, flush=True)))
"""
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().strip())
    assert child.exists()
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_capture_returns_code_and_both_streams() -> None:
    assert capture(["sh", "-c", "echo out; echo err >&2; exit 4"]) == Ended(4, "out\nerr\n")


def test_child_that_ends_by_itself_is_waited_for_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Callable[..., bool]
) -> None:
    """Its group may be gone a moment before the event loop hears of it; what the loop still holds would complain."""
    pids: list[int] = []

    def no_such_group(pid: int, sent: int) -> None:
        raise ProcessLookupError

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise ValueError("not what was expected")

    monkeypatch.setattr("os.killpg", no_such_group)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="not what was expected"):
            run("import os, time; print(os.getpid(), flush=True); time.sleep(0.5)", tmp_path, on_line)
        assert ends(pids[0], 0.1)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_grandchild_that_holds_the_output_open_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Callable[[int], bool]
) -> None:
    monkeypatch.setattr("rooflift.process.LAST_WORDS_S", 0.2)
    ended = run(PARENT.replace("time.sleep(600)\n", ""), tmp_path)  # the parent leaves, its child sleeps on
    assert ended.returncode == 0
    assert ends(int(ended.output))


def test_pipe_that_is_still_open_at_the_end_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that left its parent's session keeps the other end of the pipe, and is none of ours to end."""
    monkeypatch.setattr("rooflift.process.LAST_WORDS_S", 0.2)
    stays = "subprocess.Popen(['sleep', '3'], start_new_session=True)"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run(f"import subprocess; {stays}; print('gone')", tmp_path) == Ended(0, "gone")
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []


def test_a_child_runs_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    """A notebook has one."""

    async def notebook() -> Ended:
        return run_to_end(stream([sys.executable, "-c", "print(6 * 7)"], tmp_path, {}, lambda line: None))

    assert asyncio.run(notebook()) == Ended(0, "42")


def test_interrupting_a_notebook_ends_the_child(tmp_path: Path, ends: Callable[[int], bool]) -> None:
    seen: list[str] = []

    def interrupt(line: str) -> None:
        seen.append(line)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    async def notebook() -> None:
        run_to_end(stream([sys.executable, "-c", PARENT], tmp_path, {}, interrupt))

    loop = asyncio.new_event_loop()  # asyncio.run would take the signal itself
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(notebook())
    finally:
        loop.close()
    assert ends(int(seen[0]))


def test_what_a_long_command_prints_is_kept_to_its_end(tmp_path: Path) -> None:
    program = "for n in range(60_000): print(n)"
    heard: list[str] = []
    ended = asyncio.run(process.stream([sys.executable, "-c", program], tmp_path, {}, heard.append))
    assert len(heard) == 60_000
    assert ended.output.splitlines() == heard[-process.MOST_LINES :]


def test_line_without_end_is_a_fault_of_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LONGEST_LINE", 2**20)
    program = "print('x' * 2**22)"
    with pytest.raises(KernelFault, match="a line of more than 1 MiB"):
        asyncio.run(process.stream([sys.executable, "-c", program], tmp_path, {}, lambda _: None))
