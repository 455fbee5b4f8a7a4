"""What comes of every KernelBench problem without a GPU: `scripts/kernelbench.py all FOLDER`, for docs/kernelbench.md.

Makes operators of the problems below FOLDER/level1, level2, ... in a temporary project, as `rooflift new --kernelbench`
does, and of each: runs the reference on its small case, checks the reference's own code as a version in three dtypes,
and counts the bytes and FLOP of its own inputs. Writes reports/kernelbench/cpu.json; scripts/kernelbench_gpu.py does
what needs a GPU, scripts/kernelbench_page.py writes the page.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "reports" / "kernelbench"
DTYPES = ("float32", "float16", "bfloat16")
CPU_S = 150.0  # of processor time for a problem


def main() -> None:
    """Look at all problems, or be one of the processes that look at some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("all", "some"))
    parser.add_argument("folder", type=Path, nargs="?", help="the folder with level1, level2, ...")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--only", nargs="*", default=[], help="problems such as 1/19")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    if asked.part == "all":
        _cpu(asked.folder, asked.out or RECORDS / "cpu.json", asked.only, asked.processes)
    elif asked.part == "some":
        _some(asked.folder, asked.only)


def _problem(operator: str) -> str:
    """Return "1/19" for level1_19_relu."""
    level, number, *_ = operator.removeprefix("level").split("_")
    return f"{level}/{number}"


def _cpu(folder: Path, out: Path, only: Sequence[str], processes: int) -> None:
    from rooflift.api.new import new

    with tempfile.TemporaryDirectory(prefix="rooflift-kernelbench-") as name:
        root = Path(name)
        (root / "kernels").mkdir()
        if only:
            for file in sorted(folder.glob("level*/*.py")):
                if f"{file.parent.name[5:]}/{file.stem.split('_')[0]}" in only:
                    new(kernelbench=file, root=root)
        else:
            made = new(kernelbench=folder, root=root, say=lambda text: print(text, end="\r", file=sys.stderr))
            print("\n".join(made.left_out), file=sys.stderr)
        operators = sorted((path.name for path in (root / "kernels").iterdir()), key=_order)
        found = {one["problem"]: one for one in _in_processes(root, operators, processes)}
    record(out, found, {name: version(name) for name in ("torch", "triton")})


def record(out: Path, found: dict[str, dict[str, Any]], machine: dict[str, Any]) -> None:
    """Write what was found, beside what a file there says of other problems."""
    before = {one["problem"]: one for one in read(out)["problems"]} if out.exists() else {}
    every = sorted((before | found).values(), key=lambda one: tuple(map(int, one["problem"].split("/"))))
    lines = ",\n".join(json.dumps(one) for one in every)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{{"machine": {json.dumps(machine)}, "problems": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"Wrote {out}")


def read(path: Path) -> dict[str, Any]:
    """Return a record: the machine, and one object a problem."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _order(operator: str) -> tuple[int, ...]:
    return tuple(map(int, _problem(operator).split("/")))


def _in_processes(root: Path, operators: Sequence[str], processes: int) -> list[dict[str, Any]]:
    """Return what came of each operator; a process that breaks off is followed by one for the rest."""

    def go_through(share: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < len(share):
            with _start(root, share[len(found) :]) as child:
                assert child.stdout is not None
                for line in child.stdout:
                    if line.startswith('{"problem"'):
                        found.append(json.loads(line))
                        print(line, end="", file=sys.stderr)
            if len(found) < len(share):
                broken = share[len(found)]
                found.append({"problem": _problem(broken), "operator": broken, "refused": "its process broke off"})
        return found

    with ThreadPoolExecutor(processes) as pool:
        shares = [list(operators[place::processes]) for place in range(processes)]
        return [one for found in pool.map(go_through, shares) for one in found]


def _start(root: Path, operators: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "some", str(root), "--only", *operators]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def problem_of(file: Path) -> str:
    """Return "1/19" for level1/19_ReLU.py."""
    return f"{file.parent.name[5:]}/{file.stem.split('_')[0]}"


class OutOfTimeError(BaseException):
    """A problem has taken its time."""


def _some(root: Path, operators: Sequence[str]) -> None:
    """Print what comes of each operator of a project, one JSON object a line."""

    def end(*_: object) -> None:
        raise OutOfTimeError

    signal.signal(signal.SIGPROF, end)
    for operator in operators:
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        about: dict[str, Any] = {"problem": _problem(operator), "operator": operator}
        try:
            _examine(root, operator, about)
        except OutOfTimeError:
            about["refused"] = f"took more than {CPU_S:g} s of processor time"
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a problem may raise anything
            about["refused"] = short(error)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(about), flush=True)


def short(error: BaseException) -> str:
    """Return an exception's type and the beginning of what it says."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 160)


def _examine(root: Path, operator: str, about: dict[str, Any]) -> None:
    """Put into `about` what comes of one problem."""
    import torch

    from rooflift.compile.module import load_module, own_constants
    from rooflift.project.operator import load_operator
    from rooflift.worker.correctness import check_version, truth_of
    from rooflift.worker.protocol import Mismatch
    from rooflift.worker.work import count_flop

    found = load_operator(root, operator)
    main = found.cases["main"].with_dtype("float32")
    reference = load_module(found.reference)
    with contextlib.suppress(Exception):  # some look at values, which the meta device has none of
        about |= _as_it_stands(reference, main)
    counted = count_flop(reference, main)
    about |= {"flop": counted.flop, "flop_missing": counted.missing}
    tests = found.select_cases([], "test")
    if not tests:
        comment = (found.folder / "cases.toml").read_text().split("# No small case was found: ")
        about["refused"] = comment[1].splitlines()[0] if len(comment) > 1 else "no test case"
        return
    about["constants"] = tests[0].constants
    small = load_module(found.reference, constants=tests[0].constants)
    file = found.versions[0].path
    version = load_module(file, constants=own_constants(file, tests[0].constants))
    about["mirror"] = {}
    for dtype in DTYPES:
        case = tests[0].with_dtype(dtype)
        about["mirror"][dtype] = {"error": 0.0}
        begun = time.process_time()
        with torch.no_grad():
            for seed in (0, 1):
                try:
                    truth = truth_of(small, case, "cpu", seed)
                    result = check_version(found.versions[0].name, version, small, case, "cpu", seed, truth)
                except Exception as error:  # noqa: BLE001  # a problem may raise anything
                    about["mirror"][dtype] = {"fault": short(error)}
                    break
                if isinstance(result, Mismatch):
                    what = f"{result.error_over_tolerance:.3g} times the tolerance, "
                    what += f"{result.wrong_elements} of {result.elements}: "
                    what += f"{result.place} {result.index} {result.got} for {result.expected} (seed {seed})"
                    about["mirror"][dtype] = {"fault": what}
                    break
                about["mirror"][dtype]["error"] = max(
                    about["mirror"][dtype]["error"], round(result.error_over_tolerance, 2)
                )
                if result.note:
                    about["note"] = result.note
        about["mirror"][dtype]["seconds"] = round(time.process_time() - begun, 1)


def _as_it_stands(reference: Any, case: Any) -> dict[str, Any]:
    """Return the inputs and compulsory bytes of a problem's own sizes, on the meta device."""
    import torch

    from rooflift.worker.inputs import make_inputs, tensors
    from rooflift.worker.tensors import make_model
    from rooflift.worker.work import traffic

    with torch.device("meta"), torch.no_grad():
        model = make_model(reference.Model, reference, case, "meta", seed=0)
        inputs = make_inputs(reference, case, "meta", seed=0)
        moved = traffic(inputs, model, model(*inputs))
    shown = [f"{str(x.dtype).removeprefix('torch.')} {'x'.join(map(str, x.shape))}" for x in tensors(inputs)]
    return {"inputs": shown, "read_bytes": moved.read_bytes, "written_bytes": moved.written_bytes}


if __name__ == "__main__":
    main()
