"""Versions judged as KernelBench's own evaluation judges them, so that verdicts can be set side by side.

Its conventions (src/kernelbench/eval.py, 2026): the reference and the version are constructed under one seed, 42, and
keep their own weights; both run in the working dtype on the inputs of five seeds; a result is right where
torch.allclose says so with atol = rtol = 1e-4 in float32, 1e-2 in float16 and bfloat16. On a GPU a right one is timed:
three calls to warm up, then `TIMED` calls behind a flush of the L2, in milliseconds.

Two things differ. Integers keep their dtype, which the original casts to the working dtype, so that targets of a cross
entropy fail there. Results in tuples, lists and dicts are compared one by one; there they are an error.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rooflift.compile.module import load_module, own_constants
from rooflift.project.cases import Case
from rooflift.worker import protocol
from rooflift.worker.allowed import SLICE
from rooflift.worker.inputs import make_inputs, seed_everything
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.protocol import Executed, say
from rooflift.worker.results import leaves

SEED = 42
TRIALS = 5
TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-2}
WARM_UP = 3
TIMED = 100
FLUSH_BYTES = 256 * 2**20


def run(plan: protocol.Plan) -> None:
    """Say what came of every version on every case of a plan."""
    import torch

    device = "cuda"
    if os.environ.get("TRITON_INTERPRET") == "1":
        device = "cpu"
        fix_interpreter()
    for case in plan.work:
        reference = load_module(Path(plan.reference).absolute(), constants=case.constants)
        for name, file in plan.versions.items():
            say(protocol.Doing(f"judging {name} on {case.name} {case.dtype} as KernelBench does"))
            path = Path(file).absolute()

            def load(path: Path = path, constants: dict[str, Any] = case.constants) -> ModuleType:
                return load_module(path, constants=own_constants(path, constants))

            found = judge(load, reference, case, device)
            say(Executed(name, case.name, case.dtype, **found))
            if device == "cuda":
                torch.cuda.empty_cache()


def judge(load: Callable[[], ModuleType], reference: ModuleType, case: Case, device: str) -> dict[str, Any]:
    """Return compiled, correctness, metadata, runtime, runtime_stats, ref_runtime and ref_runtime_stats of a version.

    Runtimes are means in milliseconds; -1 where nothing was timed.
    """
    import torch

    with torch.no_grad():
        return _judge(load, reference, case, device)


def _judge(load: Callable[[], ModuleType], reference: ModuleType, case: Case, device: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"hardware": _hardware(device), "device": device}
    found: dict[str, Any] = {"compiled": False, "correctness": False, "metadata": metadata}
    original = _construct(reference.Model, reference, case, device)
    try:
        version = load()
        new = version.ModelNew
    except Exception as error:  # noqa: BLE001  # a version may raise anything
        metadata |= {"compilation_error_name": _name(error), "compilation_error": str(error)}
        return found
    found["compiled"] = True
    try:
        model = _construct(new, reference, case, device)
        passed = _trials(original, model, reference, case, device, metadata)
        metadata["correctness_trials"] = f"({passed} / {TRIALS})"
        found["correctness"] = passed == TRIALS
    except Exception as error:  # noqa: BLE001
        metadata |= {"runtime_error_name": _name(error), "runtime_error": str(error)}
    if found["correctness"] and device == "cuda":
        inputs = make_inputs(reference, case, device, SEED)
        for prefix, timed in (("", model), ("ref_", original)):
            stats = _timed(timed, inputs)
            found |= {f"{prefix}runtime": stats["mean"], f"{prefix}runtime_stats": stats | _machine(metadata)}
    return found


def _machine(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what the statistics of a runtime repeat of the metadata."""
    return {name: metadata[name] for name in ("hardware", "device")}


def _construct(cls: Any, reference: ModuleType, case: Case, device: str) -> Any:
    """Construct a module with the weights that it draws itself."""
    import torch

    seed_everything(SEED)
    init = reference.get_init_inputs() if case.init is None else case.init
    seed_everything(SEED)
    model = cls(**init) if isinstance(init, dict) else cls(*init)
    return model.to(device=device, dtype=getattr(torch, case.dtype))


def _trials(original: Any, model: Any, reference: ModuleType, case: Case, device: str, metadata: dict[str, Any]) -> int:
    """Return on how many of the seeds the results agree; what is wrong goes into the metadata."""
    import torch

    torch.manual_seed(SEED)
    seeds = [int(torch.randint(0, 2**32 - 1, (1,)).item()) for _ in range(TRIALS)]
    passed = 0
    for seed in seeds:
        inputs = make_inputs(reference, case, device, seed)
        seed_everything(seed)
        wanted, got = ([leaf.value for leaf in leaves(one(*inputs))] for one in (original, model))
        forms = [[tuple(x.shape) if torch.is_tensor(x) else () for x in one] for one in (wanted, got)]
        if forms[0] != forms[1]:
            metadata["correctness_issue"] = f"Output shape mismatch: Expected {forms[0]}, got {forms[1]}"
            return passed
        off = [_far(x, y, TOLERANCES[case.dtype]) for x, y in zip(wanted, got, strict=True)]
        if any(one is not None for one in off):
            metadata["correctness_issue"] = "Output mismatch"
            largest = max((one for one in off if one is not None), key=lambda one: one[0])
            metadata.setdefault("max_difference", []).append(f"{largest[0]:.6f}")
            metadata.setdefault("avg_difference", []).append(f"{largest[1]:.6f}")
        else:
            passed += 1
    return passed


def _far(wanted: Any, got: Any, tolerance: float) -> tuple[float, float] | None:
    """Return the largest and the mean difference of results that torch.allclose tells apart, slice by slice."""
    import torch

    if not torch.is_tensor(wanted):
        return None if wanted == got else (float("inf"), float("inf"))
    if not wanted.is_floating_point():
        return None if torch.equal(wanted, got) else (float((wanted - got).abs().max()), 0.0)
    one, other = wanted.reshape(-1), got.reshape(-1).to(wanted.dtype)
    close, largest, total = True, 0.0, 0.0
    for start in range(0, len(one), SLICE):
        x, y = one[start : start + SLICE], other[start : start + SLICE]
        close &= torch.allclose(x, y, atol=tolerance, rtol=tolerance)
        off = (x - y).abs()
        largest, total = max(largest, float(off.max())), total + float(off.double().sum())
    return None if close else (largest, total / len(one))


def _timed(model: Any, inputs: list[Any]) -> dict[str, Any]:
    import torch

    for _ in range(WARM_UP):
        model(*inputs)
    flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda")
    times_ms = []
    for _ in range(TIMED):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        flush.zero_()
        start.record()
        model(*inputs)
        end.record()
        torch.cuda.synchronize()
        times_ms.append(start.elapsed_time(end))
    return {
        "mean": statistics.mean(times_ms),
        "std": statistics.stdev(times_ms),
        "min": min(times_ms),
        "max": max(times_ms),
        "num_trials": len(times_ms),
    }


def _hardware(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "Triton's interpreter"


def _name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__name__}"
