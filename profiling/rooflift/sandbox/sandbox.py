"""Where code runs that nobody vouches for: it gives things up itself (`sandbox.py`), the rest is done from outside.

From outside come namespaces, through `unshare` where that is allowed, an environment without secrets, and a watch. The
address space cannot be bounded, as CUDA reserves more of it than there is memory, and a user's processes are more than
the child's: what the child and all below it hold is looked at instead, five times a second.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from rooflift.errors import EnvironmentFault, KernelFault
from rooflift.process import Ended, capture, child_environment, stream
from rooflift.sandbox import enter
from rooflift.sandbox.enter import CLOSED, ROWS, VARIABLE, Extent

# a user namespace allows the others to who is not root; the PID namespace ends with the process that made it, and with
# the /proc of another one CUDA does not find its threads
UNSHARE = ("unshare", "--map-root-user", "--net", "--ipc", "--pid", "--mount-proc", "--fork", "--kill-child")
KEPT = (
    *("PATH", "LANG", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("CC", "CPATH", "LIBRARY_PATH", "TRITON_LIBCUDA_PATH"),  # triton builds its launchers with a C compiler
    "OMP_NUM_THREADS",
)
REMEDY = (
    "Linux 6.2 or later on x86-64 or arm64 with Landlock among its security modules does it (`lsm=` in the boot"
    " options; in a container, a seccomp profile that allows Landlock's calls). `rooflift optimize` goes on without it"
    " only with --trust: then what is not sandboxed is open to the candidates."
)


class OverLimit(KernelFault):
    """A child held more than it may: memory, processes or disk."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use; `memory_bytes` is the host's, and with CUDA some 3 GiB are gone before it begins."""

    time_s: float = 300
    memory_bytes: int = 16 * 2**30
    processes: int = 64  # compilers and their linkers among them
    disk_bytes: int = 8 * 2**30


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How children are held on this machine: the words in front of their commands, and what of `ROWS` is not closed."""

    words: tuple[str, ...]
    missing: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)

    async def run(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        extent: Extent = "all",
    ) -> Ended:
        """Run a command that sandboxes itself to `folder` when it is asked (`enter_if_asked`); it has no time limit.

        What is `profiled` runs outside of namespaces and unwatched: ncu holds more than the program, and the
        performance counters may be for administrators.

        Raises:
            OverLimit: it held more than it may, and has been ended.
        """
        around = {**bare_environment(folder), VARIABLE: extent, **environment}
        if extent == "profiled":
            return await stream(command, folder, around, on_line, inherit=False)
        look = watch(folder, self.limits)
        return await stream([*self.words, *command], folder, around, on_line, inherit=False, watch=look)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for untrusted children, and remove it when they have ended, whatever they left in it."""
    folder = Path(tempfile.mkdtemp(prefix="rooflift-"))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder as `rm` does: no link is followed, no depth is too much; what cannot be removed stays.

    Python's own removal is recursive, and in 3.11.7 and 3.12.0 it changed the mode of what a link leads to
    (CVE-2023-6597).
    """
    if capture(["rm", "-rf", "--", str(folder)], timeout_s=600).returncode != 0:
        capture(["chmod", "-R", "u+rwX", "--", str(folder)], timeout_s=600)  # it follows no link either
        capture(["rm", "-rf", "--", str(folder)], timeout_s=600)


@cache
def find_sandbox() -> Sandbox:
    """Return what can be had here, by trying to break out of it."""
    words = UNSHARE if capture([*UNSHARE, "true"], timeout_s=10).returncode == 0 else ()
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        Path(name, "scratch").mkdir()
        Path(name, "secret").write_text("secret", encoding="utf-8")
        ended = capture([*words, sys.executable, "-P", enter.__file__, name], timeout_s=60)
    *still_open, end = ended.output.splitlines() or [""]
    whole = ended.returncode == 0 and end == "end"
    return Sandbox(words, tuple(still_open) if whole else ROWS)


def require_sandbox(*, trust: bool) -> Sandbox:
    """Return `find_sandbox()`.

    Raises:
        EnvironmentFault: something is missing, and nobody said that the candidates can be trusted.
    """
    found = find_sandbox()
    if found.missing and not trust:
        raise EnvironmentFault(f"candidates cannot be sandboxed here in: {', '.join(found.missing)}", REMEDY)
    return found


def bare_environment(folder: Path) -> dict[str, str]:
    """Return all that an untrusted child finds in its environment; home, caches and temporary files are in `folder`.

    A compiled kernel of its own cache cannot be taken for another's later.
    """
    places = {"HOME": str(folder), "TMPDIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    places[CLOSED] = os.pathsep.join(map(str, {Path.home(), Path(pwd.getpwuid(os.getuid()).pw_dir), Path.cwd()}))
    return {name: os.environ[name] for name in KEPT if name in os.environ} | child_environment() | places


def watch(folder: Path, limits: Limits) -> Callable[[int], None]:
    """Return what raises OverLimit when a process and all below it hold more than they may.

    Of the disk it is the free space that is looked at: files without a name and small ones without number take it, too.
    """
    free_bytes = shutil.disk_usage(folder).free
    disk_bytes = min(limits.disk_bytes, free_bytes // 2)

    def look(pid: int) -> None:
        held = list(resident_bytes(pid))
        if len(held) > limits.processes:
            raise OverLimit(f"it held {len(held)} processes, of at most {limits.processes}", "Start none.")
        if sum(held) > limits.memory_bytes:
            raise OverLimit(
                f"it held {sum(held) / 2**30:.1f} GiB of memory, of at most {limits.memory_bytes / 2**30:.1f} GiB",
                "Allocate less on the host.",
            )
        taken = free_bytes - shutil.disk_usage(folder).free
        if taken > disk_bytes:
            raise OverLimit(
                f"the disk lost {taken / 2**30:.1f} GiB of free space while it ran, of at most"
                f" {disk_bytes / 2**30:.1f} GiB",
                "Write no files.",
            )

    return look


def resident_bytes(leader: int) -> Iterator[int]:
    """Yield the resident memory of each process in the group of `leader` or below it; shared pages count each time."""
    page = os.sysconf("SC_PAGE_SIZE")
    parents, groups, resident = dict[int, int](), dict[int, int](), dict[int, int]()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            stat = (place / "stat").read_text(encoding="utf-8", errors="replace")
            pages = (place / "statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):  # it has ended
            continue
        process = int(place.name)
        parents[process], groups[process] = map(int, stat.rpartition(")")[2].split()[1:3])
        resident[process] = int(pages) * page
    tree, found = set[int](), {leader} | {process for process, group in groups.items() if group == leader}
    while found:
        tree |= found
        found = {child for child, parent in parents.items() if parent in found} - tree
    for process in tree & resident.keys():
        yield resident[process]
