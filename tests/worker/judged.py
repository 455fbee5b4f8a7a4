"""Judges many candidates in one process, as an evaluation does in several: `python judged.py OPERATOR FILE...`.

OPERATOR is a folder with a reference and cases. Prints one JSON object: for each file the criteria that it fails, and
the first fault in words. Without the sandbox and without compiling: the candidates are this project's own files.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

from rooflift.lint.candidate import read_candidate
from rooflift.project.operator import load_operator
from rooflift.worker import candidate, judge
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.protocol import Trial, Trials


def judged(folder: Path, file: Path) -> list[str]:
    operator = load_operator(folder.parents[1], folder.name)
    case = operator.select_cases([], "test")[0]
    asked = Trials("reference.py", "candidate.py", [Trial(case.with_dtype(case.dtypes[0]), 3, secret=11)])
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        for part in ("plans", "results"):
            Path(part).mkdir()
        shutil.copy(operator.reference, "reference.py")
        Path("candidate.py").write_text(read_candidate(file).code)
        candidate.run(asked)
        docket = judge.prepare(asked, "cpu")
        candidate.carry_out(asked)
        found = judge.compare_all(asked, docket, "cpu")
        os.chdir("/")
    return [f"{fault.criterion}: {fault.what}" for fault in found.faults]


if __name__ == "__main__":
    fix_interpreter()
    candidate.fix_interpreter = lambda: None  # once a process
    top, *files = (Path(word).absolute() for word in sys.argv[1:])
    found = {file.stem: judged(top, file) for file in files}
    if not any(found.values()) and "torch._dynamo" in sys.modules:
        sys.exit("torch's compiler was loaded, which takes each process of an evaluation as long as torch itself")
    sys.stdout.write(json.dumps(found) + "\n")
