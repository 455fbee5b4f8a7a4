"""KernelBench problems on a GPU, as they stand: `scripts/kernelbench_gpu.py FOLDER`, for docs/kernelbench.md.

Of each: torch_eager and the stream of its compulsory bytes are timed, then the reference is checked as a version of
itself, with the memory that this takes. Writes reports/kernelbench/h100.json.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelbench import RECORDS, OutOfTimeError, problem_of, read, record, short

GPU_S = 12  # for the check of one problem
CHOSEN = [
    f"{level}/{number}"
    for level, numbers in {
        1: "1 3 4 6 11 19 40 47 63 82 87 95 97 2 5 7 8 9 10 12 13 14 16 18 20 22 23 24 25 26 33 34 35 36 37 38 39 42 "
        "43 44 45 46 48 49 50 51 53 54 55 57 58 61 64 67 71 76 84 86 88 89 90 91 93 94 96 98 99 100",
        2: "76 1 9 12 18 24 28 33 37 41 52 61 66 86 99",
        3: "1 4 8 9 11 17 21 28 31 43 44 46 48 50",
    }.items()
    for number in numbers.split()
]


def main() -> None:
    """Measure, until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with level1, level2, ...")
    parser.add_argument("--out", type=Path, default=RECORDS / "h100.json", help="the JSON file to write")
    parser.add_argument("--only", nargs="*", default=[], help="problems such as 1/19")
    parser.add_argument("--seconds", type=float, default=300, help="after which it only writes")
    asked = parser.parse_args()
    _gpu(asked.folder, asked.out, asked.only or CHOSEN, time.monotonic() + asked.seconds)


def _gpu(folder: Path, out: Path, chosen: Sequence[str], end: float) -> None:
    """Time the reference and the stream of its bytes for each problem, then check the reference as a version."""
    import torch

    from rooflift.errors import RoofliftError
    from rooflift.worker.device import describe_device

    device = describe_device()
    files = {problem_of(file): file for file in folder.glob("level*/*.py")}
    found: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for step in (_time_on_gpu, _check_on_gpu):
            for problem in chosen:
                about = found.setdefault(problem, {"problem": problem})
                if time.monotonic() > end or "fault" in about:
                    continue
                begun = time.monotonic()
                try:
                    step(files[problem], about)
                except OutOfTimeError:
                    about["check"] = f"took more than {GPU_S} s"
                except Exception as error:  # noqa: BLE001  # a problem may raise anything
                    at = "check" if "times" in about else "fault"
                    about[at] = f"refused: {error.message}" if isinstance(error, RoofliftError) else short(error)
                about[f"{step.__name__.split('_')[1]}_s"] = round(time.monotonic() - begun, 1)
                torch.cuda.empty_cache()
                print(json.dumps(about)[:300], file=sys.stderr)
    machine = {name: getattr(device, name) for name in ("gpu", "torch", "cuda", "triton", "memory_bytes")}
    record(out, {name: one for name, one in found.items() if len(one) > 1}, machine)


def _time_on_gpu(file: Path, about: dict[str, Any]) -> None:
    from functools import partial

    import torch

    from rooflift.compile.module import load_module
    from rooflift.project.cases import Case
    from rooflift.schema import Sampling
    from rooflift.worker.inputs import make_inputs
    from rooflift.worker.stream import memory_calls
    from rooflift.worker.tensors import make_model
    from rooflift.worker.timing import time_providers
    from rooflift.worker.truth import precision
    from rooflift.worker.work import traffic

    reference, case = load_module(file), Case("main", None, None, ("float32",))
    torch.cuda.reset_peak_memory_stats()
    inputs = make_inputs(reference, case, "cuda", seed=0)
    eager = make_model(reference.Model, reference, case, "cuda", seed=0)
    with precision(allow_tf32=False):
        moved = traffic(inputs, eager, eager(*inputs))
        about |= {"read_bytes": moved.read_bytes, "written_bytes": moved.written_bytes}
        about["reference_peak_bytes"] = torch.cuda.max_memory_allocated()
        calls = {"torch_eager": partial(eager, *inputs)} | memory_calls(moved)
        timed = time_providers(calls, Sampling(seed=0, samples=25, precision=None, budget_s=0.5), about["problem"])
    about["times"] = {name: sorted(times)[len(times) // 2] for name, times in timed.times_us.items()}


def _check_on_gpu(file: Path, about: dict[str, Any]) -> None:
    from types import SimpleNamespace

    import torch

    from rooflift.compile.module import load_module
    from rooflift.project.cases import Case
    from rooflift.worker.correctness import check_version, truth_of
    from rooflift.worker.protocol import Mismatch

    def end(*_: object) -> None:
        raise OutOfTimeError

    reference, case = load_module(file), Case("main", None, None, ("float32",))
    version: Any = SimpleNamespace(ModelNew=reference.Model)
    torch.cuda.reset_peak_memory_stats()
    signal.signal(signal.SIGALRM, end)
    signal.alarm(GPU_S)
    try:
        truth = truth_of(reference, case, "cuda", 0)
        result = check_version("reference", version, reference, case, "cuda", 0, truth)
    finally:
        signal.alarm(0)
        about["check_peak_bytes"] = torch.cuda.max_memory_allocated()
    about["mirror"] = _mirror_on_gpu(file, about["problem"])
    if isinstance(result, Mismatch):
        about["check"] = (
            f"refused: {result.error_over_tolerance:.3g} times the tolerance, {result.wrong_elements} wrong"
        )
    else:
        about["check"] = round(result.error_over_tolerance, 2)


def _mirror_on_gpu(file: Path, problem: str) -> dict[str, Any]:
    """Return the errors of the small case in the dtypes in which torch computes it on GPUs alone."""
    from types import SimpleNamespace

    from rooflift.compile.module import load_module
    from rooflift.project.cases import Case
    from rooflift.worker.correctness import check_version
    from rooflift.worker.protocol import Mismatch

    about = next(one for one in read(RECORDS / "cpu.json")["problems"] if one["problem"] == problem)
    found: dict[str, Any] = {}
    for dtype, mirror in about.get("mirror", {}).items():
        if mirror.get("fault", "").startswith("NotImplementedError"):
            reference = load_module(file, constants=about["constants"])
            case = Case("small", None, None, (dtype,), constants=about["constants"])
            own: Any = SimpleNamespace(ModelNew=reference.Model)
            result = check_version("reference", own, reference, case, "cuda", 0)
            wrong = isinstance(result, Mismatch)
            found[dtype] = {"fault": str(result)} if wrong else {"error": round(result.error_over_tolerance, 2)}
    return found


if __name__ == "__main__":
    main()
