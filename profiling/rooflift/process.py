"""Child processes: started here and nowhere else, each in a group of its own that ends with its parent's interest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from rooflift.errors import KernelFault

Result = TypeVar("Result")

PACKAGE = Path(__file__).parent  # of this program
LAST_WORDS_S = 5  # a grandchild may hold the output open after its parent has ended
WATCH_S, FIRST_PAUSE_S = 0.2, 0.002  # between two looks at a child; when its output has ended it is about to end, too
MOST_KEPT, MOST_LINES = 4 * 2**20, 20_000  # characters and lines of the end of what a long command prints
LONGEST_LINE = 64 * 2**20  # bytes; the samples of one subject are one line


class Ended(NamedTuple):
    """How a child ended: its exit code (negative: the signal that ended it) and what it printed on both streams."""

    returncode: int
    output: str


def capture(command: Sequence[str], timeout_s: float = 30) -> Ended:
    """Run a short command to its end. A command that is missing, fails to start or hangs has the exit code 127."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Ended(127, str(error))
    return Ended(done.returncode, done.stdout + done.stderr)


def ask(
    command: Sequence[str], file: IO[bytes], environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a program on an open file, its standard input, with this environment and no other; its errors are not kept.

    Raises subprocess.TimeoutExpired when it had to be ended.
    """
    return subprocess.run(
        command,
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(environment),
        timeout=timeout_s,
        check=False,
        start_new_session=True,
    )


def converse(command: Sequence[str], text: str, environment: Mapping[str, str], timeout_s: float | None) -> Ended:
    """Run a command on a text, its standard input, and return its standard output; its errors go to ours.

    It begins a session of its own, which is ended whole; a person's command, started from a terminal, keeps the
    terminal, and only its own process is ended. A command that is missing has the exit code 127.

    Raises subprocess.TimeoutExpired when it had to be ended.
    """
    own_session = not os.isatty(0)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, **environment},
            start_new_session=own_session,
        )
    except OSError as error:
        return Ended(127, str(error))
    with process:
        try:
            output, _ = process.communicate(text, timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if own_session else process.kill()
    return Ended(process.returncode, output)


async def stream(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    *,
    inherit: bool = True,
    watch: Callable[[int], None] = lambda _: None,
) -> Ended:
    """Run a long command, hand over its lines as they come, and end its whole group when this task is cancelled.

    Of what it printed the end is returned, MOST_KEPT characters at most: this process does not grow with it.
    Without `inherit` it has this environment and no other. `watch` is called with its process id five times a second
    and ends it by raising. Where the system has `setpriv`, the command also ends when this process is killed.

    Raises:
        KernelFault: it printed a line of more than 64 MiB.
    """
    setpriv = shutil.which("setpriv")
    guard = (setpriv, "--pdeathsig", "KILL") if setpriv else ()
    process = subprocess.Popen(
        (*guard, *command),
        cwd=folder,
        env={**(os.environ if inherit else {}), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return await _hear(process, on_line, watch)
    finally:  # awaits nothing: whatever cancels, how often and when, cannot come between
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads its process group because it began a session
        process.wait()


async def _hear(
    process: subprocess.Popen[bytes], on_line: Callable[[str], None], watch: Callable[[int], None]
) -> Ended:
    """Read what a process prints and wait for its end; a grandchild that holds the output open is not waited for."""
    output, lines, held = asyncio.StreamReader(limit=LONGEST_LINE), deque[str](maxlen=MOST_LINES), 0

    async def read() -> None:
        nonlocal held
        try:
            async for raw in output:
                line = raw.decode(errors="replace").rstrip("\n")
                held += len(line) - (len(lines[0]) if len(lines) == MOST_LINES else 0)
                lines.append(line)
                while held > MOST_KEPT and len(lines) > 1:
                    held -= len(lines.popleft())
                on_line(line)
        except ValueError as error:  # asyncio's, of a line beyond its limit
            if not str(error).startswith("Separator is"):
                raise
            what = f"it printed a line of more than {LONGEST_LINE // 2**20} MiB"
            raise KernelFault(what, "Print less.") from None

    assert process.stdout is not None
    with process.stdout:
        protocol = asyncio.StreamReaderProtocol(output)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
        reading, pause_s = asyncio.create_task(read()), FIRST_PAUSE_S
        try:
            while process.poll() is None:
                await asyncio.wait({reading}, timeout=WATCH_S)
                if reading.done():  # as a rule it ends with its output
                    reading.result()
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, WATCH_S)
                watch(process.pid)
            await asyncio.wait({reading}, timeout=LAST_WORDS_S)
            if reading.done():
                reading.result()
        finally:
            reading.cancel()
            pipe.close()
    return Ended(process.returncode, "\n".join(lines))


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, as asyncio.run does, and also where an event loop runs already, as in a notebook.

    There it runs in a thread of its own; Ctrl-C cancels it, so that its children are ended.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    begun: Future[Callable[[], object]] = Future()

    async def cancellable() -> Result:
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        begun.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel))
        return await work

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(asyncio.run, cancellable())
        try:
            return ended.result()
        finally:
            if not ended.done():
                begun.result()()


def child_environment() -> dict[str, str]:
    """Return what the program needs in its environment: the way to this package, installed or not."""
    source = str(PACKAGE.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{source}{os.pathsep}{inherited}" if inherited else source, "PYTHONUNBUFFERED": "1"}
