"""The one program of the child: `python -m rooflift.worker TASK [SHARD]`; it prints one event a line (`protocol`).

candidate, replay, recompile and judge read trial.json in the working directory, small problems.json, all others but
roofs plan.json. SHARD, such as 2/8, is the part of the work that is checked or compiled. Exit code 0: done, 3: stopped
after an event that says why.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from rooflift.sandbox.enter import enter_if_asked
from rooflift.worker.protocol import WHOLE, Plan, Problems, Refused, Task, Trials, say

Message = TypeVar("Message", bound=msgspec.Struct)


def main(words: list[str]) -> int:
    """Do one task; nothing untrusted is loaded before the process has sandboxed itself."""
    enter_if_asked()
    task, part = msgspec.convert(words[0], Task), [*words, WHOLE][1]
    gc.disable()  # what is imported stays: looking through it again and again takes a fifth of the import's time
    try:
        import torch  # noqa: F401
        import triton  # noqa: F401
    except ImportError as error:
        say(Refused("EnvironmentFault", f"{error.name} cannot be imported: {error}", "Install rooflift[gpu]."))
        return 3
    from rooflift.worker import candidate, compiled, judge, kernelbench, program, roofs, sanitize, small, tuned

    gc.freeze()
    gc.enable()

    try:
        match task:
            case "roofs":
                roofs.run()
            case "candidate" | "replay" | "recompile":
                work = {"candidate": candidate.run, "replay": candidate.carry_out, "recompile": candidate.recompile}
                candidate.run_apart(work[task], _read("trial.json", Trials))
            case "judge":
                judge.judge(_read("trial.json", Trials))
            case "compile":
                compiled.run(_read("plan.json", Plan), part)
            case "sanitize" | "kernelbench":
                do = sanitize.run if task == "sanitize" else kernelbench.run
                do(_read("plan.json", Plan))
            case "configurations" | "fit" | "tune":
                tuned.run(task, _read("plan.json", Plan), part)
            case "small":
                small.run(_read("problems.json", Problems))
            case _:
                program.run(task, _read("plan.json", Plan), part)
    except program.Stop:
        return 3
    return 0


def _read(name: str, kind: type[Message]) -> Message:
    return msgspec.json.decode(Path(name).read_bytes(), type=kind)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python takes half a second to take torch down
