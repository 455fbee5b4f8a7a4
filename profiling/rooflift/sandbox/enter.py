"""How a process gives up, for good and for all that it starts, what code that nobody vouches for must not have.

Landlock closes the file system but for a scratch folder and what CUDA and Python read; a seccomp filter closes sockets
and the ways out of the process group; capabilities are dropped and resources bounded. It needs no privilege. The
standard library alone is used: nothing untrusted may be loaded before. As a program, `sandbox.py FOLDER`, it tries to
break out of FOLDER and prints what of `ROWS` could not be had.

Numbers are those of the kernel's headers linux/landlock.h, linux/seccomp.h, linux/audit.h and asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

CLOSED = "ROOFLIFT_CLOSED"  # the user's home and the folder of the call: never opened, nor what holds them
VARIABLE = "ROOFLIFT_SANDBOX"  # a child that finds it sandboxes itself, as its value says
Extent = Literal["all", "profiled"]  # what ncu profiles needs a way to ncu
ROWS = ("network", "processes", "files written", "files read")

LARGEST_FILE = 2**30  # bytes
MOST_OPEN_FILES = 4096

SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix/store", "/sys"),
    *(f"/etc/{name}" for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf")),
    *("/etc/passwd", "/etc/group", "/etc/alternatives", "/etc/nvidia"),
)
NAMED_BY = (
    *("PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "CC", "CUDA_HOME", "TRITON_LIBCUDA_PATH"),
    *("LD_PRELOAD", "CUDA_INJECTION64_PATH"),  # ncu's libraries
)
TOO_WIDE = ("/", "/root", "/home", "/tmp", "/var")  # noqa: S108  # never opened, whatever a variable names
DEVICES = ("null", "zero", "full", "random", "urandom", "dxg", "nvidia*")
OWN = Path("/proc/self")
PROFILER_PLACES = ("/tmp", "/dev/shm")  # noqa: S108  # for ncu's library in the process that it profiles

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
MAKE_DEVICES, REFER, TRUNCATE, IOCTL_DEV = 1 << 6 | 1 << 11, 1 << 13, 1 << 14, 1 << 15
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
READ = EXECUTE | READ_FILE | READ_DIR
LEAST_ABI = 3  # Linux 6.2; before, files outside could be emptied, or none renamed between folders
TCP, SCOPES = 0b11, 0b11  # bind and connect, from ABI 4; abstract UNIX sockets and signals, from ABI 6
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446


class Calls(NamedTuple):
    """The numbers of an architecture's calls; `others` are refused whatever their arguments."""

    architecture: int
    sockets: tuple[int, int]  # socket, socketpair
    connect: int
    clone: int
    of_a_process: tuple[
        int, ...
    ]  # prlimit64, sched_setparam, _setscheduler, _setaffinity, _setattr: allowed for itself
    others: tuple[int, ...]


CALLS = {
    "x86_64": Calls(
        0xC000003E, (41, 53), 42, 56, (302, 142, 144, 203, 314),
        (
            109, 112,  # setpgid, setsid: all stay in the group that is ended
            90, 91, 92, 93, 94, 260, 268,  # chmod and chown: Landlock knows neither
            132, 235, 261, 280,  # utime
            188, 189, 190, 197, 198, 199,  # extended attributes
            248, 249, 250,  # keys that the kernel keeps for the user
            141, 251,  # setpriority, ioprio_set
            29, 30, 31, 67, 64, 65, 66, 220, 68, 69, 70, 71,  # shared memory, semaphores, messages of System V
            240, 241, 242, 243, 244, 245,  # message queues of POSIX
            272, 308, 165, 166, 155, 161,  # unshare, setns, mount, umount, pivot_root, chroot
        ),
    ),
    "aarch64": Calls(
        0xC00000B7, (198, 199), 203, 220, (261, 118, 119, 122, 274),
        (
            154, 157, 52, 53, 54, 55, 88, 5, 6, 7, 14, 15, 16, 217, 218, 219,
            140, 30, *range(186, 198), *range(180, 186), 97, 268, 40, 39, 41, 51,
        ),
    ),
}  # fmt: skip
NEW_NAMESPACES = 0x7E020080  # flags of clone
CLONE3 = 435  # its flags lie in memory, where a filter cannot look: glibc takes clone where there is none
EVERYWHERE = (
    *(425, 452, 463, 466, 469),  # io_uring_setup, fchmodat2, setxattrat, removexattrat, file_setattr
    *(428, 429, 430, 431, 432, 433, 442),  # mounts by file descriptors
)
OTHER_ABI = 0x40000000  # x86-64's second table of calls begins here

_libc = ctypes.CDLL(None, use_errno=True)


def enter_if_asked() -> None:
    """Sandbox this process in its working directory when `VARIABLE` asks for it; before any thread is started.

    Raises:
        OSError: the kernel offers a means and then refuses it.
    """
    extent = os.environ.get(VARIABLE)
    if extent is not None:
        enter(Path.cwd(), "all" if extent == "all" else "profiled")


def enter(scratch: Path, extent: Extent) -> None:
    """Sandbox this process; a means that the kernel lacks is left out.

    `profiled` leaves the network, the capabilities and `PROFILER_PLACES` open: the library that ncu loads into the
    process talks to ncu through them.

    Raises:
        OSError: the kernel offers a means and then refuses it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound(resource.RLIMIT_FSIZE, LARGEST_FILE)
    _bound(resource.RLIMIT_NOFILE, MOST_OPEN_FILES)
    _call(_libc.prctl, 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which Landlock and the filter demand
    _restrict_files(scratch, extent)
    if extent == "all":
        header, nothing = struct.pack("=Ii", 0x20080522, 0), bytes(24)  # _LINUX_CAPABILITY_VERSION_3, this thread
        _call(_libc.capset, header, nothing)
        _filter_calls()


def _bound(limit: int, most: int) -> None:
    hard = resource.getrlimit(limit)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))


def _call(function: Callable[..., Any], *arguments: int | bytes) -> int:
    """Call a function of the C library; bytes are passed by their address."""
    found = int(function(*[ctypes.c_long(x) if isinstance(x, int) else x for x in arguments]))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"sandbox: {os.strerror(number)}")
    return found


def landlock_abi() -> int:
    """Return the version of Landlock's interface, 0 where there is none."""
    try:
        return _call(_libc.syscall, CREATE_RULESET, 0, 0, 1)  # LANDLOCK_CREATE_RULESET_VERSION
    except OSError:
        return 0


def _restrict_files(scratch: Path, extent: Extent) -> None:
    abi = landlock_abi()
    if abi < LEAST_ABI:
        return
    rights = (IOCTL_DEV << 1) - 1 if abi >= 5 else IOCTL_DEV - 1
    closed = extent == "all"
    attributes = (rights, TCP if closed and abi >= 4 else 0, SCOPES if closed and abi >= 6 else 0)
    rules = _call(_libc.syscall, CREATE_RULESET, struct.pack("=QQQ", *attributes), 24, 0)
    for path, wanted in _allowed(scratch, extent):
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it is not there, or not for this user anyway
            continue
        granted = wanted & rights & (-1 if _is_folder(path) else ON_FILES)
        _call(_libc.syscall, ADD_RULE, rules, 1, struct.pack("=Qi", granted, place), 0)
        if path != OWN:  # held open, it stays the folder that the rule is for
            os.close(place)
    _call(_libc.syscall, RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allowed(scratch: Path, extent: Extent) -> Iterator[tuple[Path, int]]:
    """Yield each path that stays open, with the rights below it."""
    whole = (IOCTL_DEV - 1) & ~MAKE_DEVICES
    yield scratch, whole
    if extent == "profiled":
        yield from ((Path(place), whole) for place in PROFILER_PLACES)
    yield OWN, READ | WRITE_FILE | TRUNCATE  # CUDA writes its threads' names there, or it does not start
    device = READ_FILE | READ_DIR | WRITE_FILE | TRUNCATE | IOCTL_DEV
    for pattern in DEVICES:
        yield from ((path, device) for path in Path("/dev").glob(pattern))
    named = [Path(x) for name in NAMED_BY for x in os.environ.get(name, "").split(os.pathsep) if x.startswith("/")]
    named = [path if _is_folder(path) else path.parent for path in named]
    package = Path(__file__).absolute().parents[2]
    own = map(Path, (sys.prefix, sys.base_prefix, *sys.path))
    kernel = [place for place in Path("/proc").iterdir() if not place.name.isdigit()]  # of the processes `self` alone
    closed = [Path(x).resolve() for x in os.environ.get(CLOSED, "").split(os.pathsep) if x]
    yield package.resolve(), READ
    yield from ((place.resolve(), READ) for place in (*map(Path, SYSTEM), *kernel))
    for path in (place.resolve() for place in (*own, *named)):
        holds = any(one.is_relative_to(path) for one in closed)
        if not holds and str(path) not in TOO_WIDE and str(path.parent) != "/home":
            yield path, READ


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # not for this user to see
        return False


def _filter_calls() -> None:
    """Have the kernel refuse calls of this process; nothing where the architecture or the kernel is another."""
    machine = CALLS.get(platform.machine())
    if machine is None or not Path("/proc/sys/kernel/seccomp/actions_avail").exists():
        return
    load, equal, at_least, any_of, give, both = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
    first, second = 16, 24  # where a call's arguments lie
    allow, kill, refuse = 0x7FFF0000, 0x80000000, 0x00050000  # `refuse` with an errno
    program = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, machine.architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # the call's number
        (at_least, 0, 1, OTHER_ABI),
        (give, 0, 0, refuse | errno.EPERM),
        # a path that nobody listens at: CUDA asks for its multi-process service so
        (equal, 0, 1, machine.connect),
        (give, 0, 0, refuse | errno.ENOENT),
    ]
    for number in (*machine.others, *EVERYWHERE):
        program += [(equal, 0, 1, number), (give, 0, 0, refuse | errno.EPERM)]
    program += [(equal, 0, 1, CLONE3), (give, 0, 0, refuse | errno.ENOSYS)]
    program += [(equal, 0, 4, machine.clone), (load, 0, 0, first), (any_of, 0, 1, NEW_NAMESPACES)]
    program += [(give, 0, 0, refuse | errno.EPERM), (give, 0, 0, allow)]
    for number in machine.of_a_process:
        program += [(equal, 0, 4, number), (load, 0, 0, first), (equal, 1, 0, 0)]  # 0: this process
        program += [(give, 0, 0, refuse | errno.EPERM), (give, 0, 0, allow)]
    for number in machine.sockets:
        program += [
            (equal, 0, 9, number),
            (load, 0, 0, first),  # the family; CUDA opens UNIX sockets of its own
            (equal, 1, 0, socket.AF_UNIX),
            (give, 0, 0, refuse | errno.EACCES),
            (load, 0, 0, second),  # datagrams, and what is called raw, need no connection to leave
            (both, 0, 0, 0xF),
            (equal, 2, 0, socket.SOCK_STREAM),
            (equal, 1, 0, socket.SOCK_SEQPACKET),
            (give, 0, 0, refuse | errno.EACCES),
            (give, 0, 0, allow),
        ]
    program += [(give, 0, 0, allow)]
    lines = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    fields = struct.pack("@HP", len(program), ctypes.addressof(lines))
    _call(_libc.prctl, 22, 2, fields, 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def open_still(folder: Path) -> list[str]:
    """Return what of `ROWS` this process can still do; `folder` holds a file that its scratch folder does not."""
    tried = (_on_the_network(), _leaves(), _writes(folder), _reads(folder))
    return [row for row, succeeded in zip(ROWS, tried, strict=True) if succeeded]


def _on_the_network() -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM):  # datagrams leave without a connection
            return True
    except OSError:
        pass
    try:
        return any(name != "lo" for _, name in socket.if_nameindex())
    except OSError:
        return False


def _leaves() -> bool:
    """Tell whether a child of this process can leave its group, or reach the process that started it, and live on."""
    if os.getpid() == 1:  # all of its namespace ends with it
        return False
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
        except OSError:
            os._exit(0)
        os._exit(1)
    left = os.waitpid(child, 0)[1] != 0
    return left or any(_succeeds(attempt) for attempt in REACHING)


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


# at the process that started this one, and into the kernel: none does harm where it succeeds
REACHING: tuple[Callable[[], object], ...] = (
    lambda: os.kill(os.getppid(), 0),
    lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    lambda: os.sched_setaffinity(os.getppid(), os.sched_getaffinity(os.getppid())),
    lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid())),
    lambda: _call(_libc.shmctl, _call(_libc.shmget, 0, 4096, 0o1600), 0, 0),  # a private segment, and its removal
    lambda: _call(_libc.unshare, 0x10000000),  # CLONE_NEWUSER
)


def _writes(folder: Path) -> bool:
    try:
        (folder / "written").touch()
        (folder / "secret").chmod(0o644)
    except OSError:
        return (folder / "written").exists()
    return True


def _reads(folder: Path) -> bool:
    try:
        return bool((folder / "secret").read_bytes())
    except OSError:
        return False


if __name__ == "__main__":
    outside = Path(sys.argv[1])
    os.chdir(outside / "scratch")
    enter(Path.cwd(), "all")
    sys.stdout.write("".join(f"{row}\n" for row in open_still(outside)) + "end\n")
