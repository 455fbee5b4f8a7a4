"""Where code runs that nobody vouches for: no network, no process that outlives it, bounded memory, a bare environment.

The kernel gives the first two (namespaces, through `unshare`). The address space cannot be bounded, as CUDA reserves
more of it than there is memory: the resident memory of the child and all below it is watched instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from rooflift.collect.measure import target_environment
from rooflift.collect.processes import capture
from rooflift.errors import EnvironmentFault, RoofliftError

# a user namespace allows the others to who is not root; the PID namespace ends with the process that made it
UNSHARE = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
KEPT = (
    *("PATH", "LANG", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("CC", "CPATH", "LIBRARY_PATH", "TRITON_LIBCUDA_PATH"),  # triton builds its launchers with a C compiler
)
TRUST_REMEDY = (
    "Allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone, a container with CAP_SYS_ADMIN), or"
    " run replies that you trust with --trust: then the network is open to them."
)


class TooMuchMemory(RoofliftError):
    """A child held more memory than it may."""


@cache
def isolation() -> tuple[str, ...]:
    """Return the words in front of a command that take its network away; () where the system does not allow it."""
    return UNSHARE if capture([*UNSHARE, "true"], timeout_s=10).returncode == 0 else ()


def require_isolation(*, trust: bool) -> tuple[str, ...]:
    """Return `isolation()`.

    Raises:
        EnvironmentFault: there is none, and nobody said that the replies can be trusted.
    """
    found = isolation()
    if not found and not trust:
        raise EnvironmentFault("a reply cannot be kept off the network here: `unshare` is missing or not allowed",
                               TRUST_REMEDY)  # fmt: skip
    return found


def bare_environment(folder: Path) -> dict[str, str]:
    """Return all that an untrusted child finds in its environment; home, caches and temporary files are in `folder`.

    A compiled kernel of its own cache cannot be taken for another's later.
    """
    places = {"HOME": str(folder), "TMPDIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    return {name: os.environ[name] for name in KEPT if name in os.environ} | target_environment() | places


def memory_watch(most_bytes: int) -> Callable[[int], None]:
    """Return what raises TooMuchMemory when a process and all below it hold more than `most_bytes`."""

    def look(pid: int) -> None:
        held = tree_bytes(pid)
        if held > most_bytes:
            raise TooMuchMemory(
                f"it held {held / 2**30:.1f} GiB of memory, of at most {most_bytes / 2**30:.1f} GiB",
                "Allocate less on the host.",
            )

    return look


def tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and all below it; a page that two of them share counts twice."""
    page = os.sysconf("SC_PAGE_SIZE")
    parents, resident = dict[int, int](), dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            pages = (folder / "statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):  # it has ended
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        resident[int(folder.name)] = int(pages) * page
    tree, found = set[int](), {pid}
    while found:
        tree |= found
        found = {child for child, parent in parents.items() if parent in found} - tree
    return sum(resident.get(process, 0) for process in tree)
