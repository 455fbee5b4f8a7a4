"""What a kernel file raised, in words that name a place in the file and no path of the machine."""

from __future__ import annotations

import traceback
from pathlib import Path

LAST_LINES = 12  # of a message: a compiler's says what is wrong at its end
MOST_CHARACTERS = 4000


def describe_exception(error: BaseException) -> str:
    """Return "v1.py:12: ValueError: ..." with the last line below the working directory that it went through.

    The interpreter wraps what a kernel raised, once for each function: the first cause is told.
    """
    chain: list[BaseException] = [error]
    while type(chain[-1]).__name__ == "InterpreterError" and chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    error = chain[-1]
    frames = [frame for link in chain for frame in traceback.extract_tb(link.__traceback__)]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own else ""
    lines = str(error).strip().splitlines() or ["no message"]
    said = f"{where}{type(error).__name__}: " + "\n".join(lines[-LAST_LINES:])[:MOST_CHARACTERS]
    return said.encode("utf-8", "backslashreplace").decode()  # half of a character cannot be printed
