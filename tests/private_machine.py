"""rooflift on somebody's machine: `python private_machine.py STAND ARGUMENTS...`, with stand-ins for GPU and ncu.

STAND holds what the programs that run the kernels say, time.jsonl and profile.jsonl. The host is called HOST_NAME; in a
UTS namespace of its own, which is not OUTER_UTS, it really is.
"""

import os
import socket
import sys
from pathlib import Path

from rooflift.cli.main import main
from rooflift.measure import environment, evaluate
from rooflift.worker import protocol
from rooflift.worker.protocol import Fault

stand = Path(sys.argv.pop(1))
if os.readlink("/proc/self/ns/uts") == os.environ["OUTER_UTS"]:  # noqa: PTH115  # no file's path
    socket.gethostname = lambda: os.environ["HOST_NAME"]
else:
    socket.sethostname(os.environ["HOST_NAME"])
environment.driver = lambda: environment.Driver("580.1", ["NVIDIA H100 80GB HBM3"])
protocol.worker_command = lambda task, _="": ["cat", str(stand / f"{task}.jsonl")]
really_evaluate = evaluate.evaluate


def broken(operator, candidate, *words, **options):
    """Let a candidate that says so end with a traceback as Python prints it, and with all of its environment."""
    if "# breaks" not in candidate.read_text(encoding="utf-8"):
        return really_evaluate(operator, candidate, *words, **options)
    lines = [f'  File "{place}/site-packages/x.py", line 1' for place in (sys.prefix, Path.home(), Path.cwd())]
    said = [f"{name}={value}" for name, value in os.environ.items()]
    return evaluate.Evaluation([Fault("runs", "\n".join([*lines, *said, socket.gethostname()]))], 0)


evaluate.evaluate = broken
main()
