# What a hostile kernel file tries beyond its scratch folder: `tries` says for each attempt `done`, or why not.
import ctypes
import json
import os
import pwd
import resource
import socket
from pathlib import Path


def user_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def tries(outside, port, process):
    """`outside` holds planted files and the UNIX socket of a listener, `port` is one's, `process` is to be reached."""
    import rooflift.errors

    outside = Path(outside)

    def operator_of_sockets(kind, address):
        with socket.socket(kind, socket.SOCK_STREAM) as one:
            one.settimeout(5)
            one.connect(address)

    def datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"secret", ("127.0.0.1", port))

    def leave_the_group():
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise PermissionError("setsid")

    attempts = {
        "write to the home folder": lambda: (outside / "left_behind").write_text("hostile"),
        "append to a file": lambda: (outside / "planted").open("a").close(),
        "empty a file": lambda: os.truncate(outside / "to_empty", 0),
        "remove a file": lambda: (outside / "to_remove").unlink(),
        "rename a file": lambda: (outside / "to_rename").rename(outside / "renamed"),
        "open a file to others": lambda: (outside / "planted").chmod(0o666),
        "set a file's times": lambda: os.utime(outside / "planted", (0, 0)),
        "make a folder": lambda: (outside / "folder").mkdir(),
        "make a link to a file": lambda: os.link(outside / "planted", "linked"),
        "write into the package": lambda: Path(rooflift.errors.__file__).open("a").close(),
        "write to shared memory": lambda: Path("/dev/shm", outside.name).touch(),
        "read a file": lambda: (outside / "planted").read_text(),
        "list a folder": lambda: list(outside.iterdir()),
        "list the home folder": lambda: list(Path(pwd.getpwuid(os.getuid()).pw_dir).iterdir()),
        "read the shadow file": lambda: Path("/etc/shadow").read_text(),
        "read an environment secret": lambda: os.environ["PLANTED_TOKEN"],
        "read another's environment": lambda: Path(f"/proc/{process}/environ").read_bytes(),
        "open a TCP connection": lambda: operator_of_sockets(socket.AF_INET, ("127.0.0.1", port)),
        "send a datagram": datagram,
        "talk to a UNIX socket": lambda: operator_of_sockets(socket.AF_UNIX, str(outside / "socket")),
        "reach another process": lambda: os.kill(process, 0),
        "limit another process": lambda: resource.prlimit(process, resource.RLIMIT_CORE),
        "move another process": lambda: os.sched_setaffinity(process, os.sched_getaffinity(process)),
        "send a UNIX datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close(),
        "make a user namespace": user_namespace,
        "leave the process group": leave_the_group,
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = "done"
        except Exception as error:  # noqa: BLE001  # an attempt may fail in any way
            found[name] = type(error).__name__
    return json.dumps(found)
