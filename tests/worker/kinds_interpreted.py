"""A program that the tests run in Triton's interpreter: `python kinds_interpreted.py PROJECT` checks every version.

It prints {operator: {version: "agrees", or what is wrong and the remedy}}.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path

import torch

from rooflift.compile.module import load_module
from rooflift.measure.faults import wrong_result
from rooflift.project.operator import Operator, Version, load_operator, operator_names
from rooflift.worker.correctness import check_version
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.protocol import Mismatch


def outcome(operator: Operator, version: Version) -> str:
    for case in operator.select_cases([], "test"):
        reference = load_module(operator.reference, constants=case.constants)
        for dtype in case.dtypes:
            for seed in range(2):
                module = load_module(version.path)
                try:
                    found = check_version(version.name, module, reference, case.with_dtype(dtype), "cpu", seed)
                except Exception:  # noqa: BLE001  # it is what is asked for
                    return traceback.format_exc()
                if isinstance(found, Mismatch):
                    return "\n".join(wrong_result(found))
    return "agrees"


def main() -> None:
    root = Path(sys.argv[1])
    fix_interpreter()
    with torch.no_grad():
        every = [load_operator(root, name) for name in operator_names(root)]
        found = {one.name: {v.name: outcome(one, v) for v in one.versions} for one in every}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
