"""The programs behind the gates: one runs a candidate and keeps what it gave, the other judges that and never loads it.

`candidate` reads trial.json in the working directory and leaves one file a trial below results/. `judge`, in another
folder, makes the same inputs again, compares the files that were moved there with the
reference, and prints a Judgement. The two share nothing else, so a candidate finds neither the expected results nor
their judge. Both sandbox themselves to their folder before anything else.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from rooflift.compile.module import load_module
from rooflift.worker.correctness import compare, poisoned_memory
from rooflift.worker.failure import describe_exception
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.protocol import LOG, Criterion, Fault, Judgement, Mismatch, Trial, Trials
from rooflift.worker.tensors import make_inputs, make_model, make_pair

HOLD_CYCLES = 20_000_000  # some 10 ms, in which the host launches the call that must wait
SETTLE_S = 1.0  # for threads that a call left behind


def device() -> str:
    """Return where this process runs kernels; in the interpreter it is fixed for them."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        fix_interpreter()
        return "cpu"
    return "cuda"


def values(reference: ModuleType, trial: Trial, on: str) -> tuple[list[Any], list[Any]]:
    """Return the inputs of the first call and those of the second."""
    return tuple(make_inputs(reference, trial.case, on, trial.seed + n) for n in (1, 2))  # type: ignore[return-value]


def run(plan: Trials) -> None:
    """Run the candidate on every trial; what it raised is kept in place of its results."""
    import torch

    on = device()
    if on == "cuda":
        torch.cuda.set_per_process_memory_fraction(0.5)
    reference = load_module(Path(plan.reference).absolute())
    try:
        candidate = load_module(Path(plan.candidate).absolute())
    except Exception as error:  # noqa: BLE001  # a candidate may raise anything
        torch.save({"error": describe_exception(error)}, Path("results", "0.pt"))
        return
    for number, trial in enumerate(plan.trials):
        try:
            with torch.no_grad():
                found = _try(candidate, reference, trial, on)
        except Exception as error:  # noqa: BLE001  # a candidate may raise anything
            found = {"error": describe_exception(error)}
        torch.save(found, Path("results", f"{number}.pt"))


def _try(candidate: ModuleType, reference: ModuleType, trial: Trial, on: str) -> dict[str, Any]:
    """Call the candidate on the first inputs, then on others in the same memory, and keep all that can be seen."""
    import torch

    _, model = make_pair(reference, candidate, trial.case, on, trial.seed)
    first, second = values(reference, trial, on)
    inputs = [x.clone() if torch.is_tensor(x) else x for x in first]
    threads = threading.active_count()
    result, early, late = _call(model, inputs, first, on)
    found: dict[str, Any] = {
        "early": early,
        "late": late,
        "inputs": [x.clone().cpu() for x in inputs if torch.is_tensor(x)],
        "types": [type(x).__name__ for x in _as_list(result)],
    }
    if on == "cuda":  # compiled and tuned by now: the call is as short as it will be when it is timed
        model(*inputs)
    inputs = [x if torch.is_tensor(x) else y for x, y in zip(inputs, second, strict=True)]
    _, found["second_early"], found["second_late"] = _call(model, inputs, second, on)
    found["kept"] = _copies(result)
    found["threads"] = max(threading.active_count() - threads, 0)
    return found


def _call(model: Any, inputs: list[Any], wanted: list[Any], on: str) -> tuple[Any, list[Any], list[Any]]:
    """Return the result, copies that the default stream made right behind the call, and copies made much later.

    On a GPU the inputs get their values only after a while, and the call is launched before: work on another stream
    that does not wait reads what was there before.
    """
    import torch

    if on == "cuda":
        torch.cuda.synchronize()
        torch.cuda._sleep(HOLD_CYCLES)  # noqa: SLF001  # torch has no public way to keep a stream busy
    for tensor, value in zip(inputs, wanted, strict=True):
        if torch.is_tensor(tensor):
            tensor.copy_(value)
    with poisoned_memory():
        result = model(*inputs)
    early = [x.clone() if type(x) in (torch.Tensor, torch.nn.Parameter) else x for x in _as_list(result)]
    _settle(on)
    return result, _copies(early), _copies(result)


def _settle(on: str) -> None:
    import torch

    if on == "cuda":
        torch.cuda.synchronize()
    deadline = time.monotonic() + SETTLE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(deadline - time.monotonic(), 0))


def _copies(result: Any) -> list[Any]:
    """Return the tensors of a result on the host; of what is no plain tensor the name of its type."""
    import torch

    plain = (torch.Tensor, torch.nn.Parameter)
    return [x.detach().clone().cpu() if type(x) in plain else type(x).__name__ for x in _as_list(result)]


def judge(plan: Trials) -> Judgement:
    """Compare what a candidate left in results/ with the reference."""
    import torch

    on = device()
    reference = load_module(Path(plan.reference).absolute())
    faults: dict[Criterion, Fault] = {}
    compared = refused = 0
    for number, trial in enumerate(plan.trials):
        with torch.no_grad():
            try:
                expected = _expected(reference, trial, on)
            except Exception:
                if not trial.generated:
                    raise
                refused += 1
                continue
            found = _read(Path("results", f"{number}.pt"))
            compared += 1
            for fault in _faults(found, trial, values(reference, trial, on), expected):
                faults.setdefault(fault.criterion, fault)
        if "runs" in faults:
            break
    return Judgement(list(faults.values()), compared, refused)


def _expected(reference: ModuleType, trial: Trial, on: str) -> list[Any]:
    """Return the reference's results in float64, on the host, for both calls."""
    import torch

    model = make_model(reference.Model, reference, trial.case, on, trial.seed).double()
    calls = [
        model(*[x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs])
        for inputs in values(reference, trial, on)
    ]
    return [tuple(x.cpu() for x in call) if isinstance(call, tuple | list) else call.cpu() for call in calls]


def _read(path: Path) -> dict[str, Any]:
    """Read what a candidate left; weights_only runs no code of the file, and nothing waits for a pipe."""
    import torch

    found = None
    with suppress(Exception):  # a candidate may have written anything
        if stat.S_ISREG(path.lstat().st_mode):
            found = torch.load(path, map_location="cpu", weights_only=True)
    return found if isinstance(found, dict) else {"error": "the process ended before it had a result"}


def _faults(
    found: dict[str, Any], trial: Trial, inputs: tuple[list[Any], list[Any]], expected: list[Any]
) -> list[Fault]:
    """Return the faults of one trial; a file that `run` did not write is one."""
    try:
        return list(_judge_one(found, trial, inputs, expected))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        return [Fault("runs", f"{trial.case.name}: its results cannot be read ({type(error).__name__})")]


def _judge_one(
    found: dict[str, Any], trial: Trial, inputs: tuple[list[Any], list[Any]], expected: list[Any]
) -> Iterator[Fault]:
    """Yield the faults of one trial, the gravest first."""
    import torch

    where = f"{trial.case.name} {trial.case.dtype} (seed {trial.seed})"
    if "error" in found:
        yield Fault("runs", f"{where}: {found['error']}")
        return
    foreign = [name for name in found["types"] if name not in ("Tensor", "Parameter")]
    if foreign:
        yield Fault("result_type", f"{where}: the result holds a {foreign[0]}, no plain tensor")
        return
    if found["threads"]:
        yield Fault("threads", f"{where}: {found['threads']} threads run on after the call")
    before = [x.cpu() for x in inputs[0] if torch.is_tensor(x)]
    same = [torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(before, found["inputs"], strict=True)]
    if not all(same):
        yield Fault("inputs_changed", f"{where}: input {same.index(False)} is not what it was before the call")
    first, second = expected
    wrong = _mismatch(found["early"], first, trial)
    if wrong is not None:
        in_time = _mismatch(found["late"], first, trial) is not None
        yield Fault("correctness" if in_time else "default_stream", where, wrong)
        return
    if _mismatch(found["kept"], first, trial) is not None:
        yield Fault("result_overwritten", f"{where}: the second call changed the tensor that the first had returned")
    wrong = _mismatch(found["second_early"], second, trial)
    if wrong is not None:
        if _mismatch(found["second_early"], first, trial) is None:
            yield Fault("second_call", f"{where}: the second call, on other inputs, gave the first one's result")
        else:
            in_time = _mismatch(found["second_late"], second, trial) is not None
            yield Fault("second_call" if in_time else "default_stream", where, wrong)


def _mismatch(got: list[Any], expected: Any, trial: Trial) -> Mismatch | None:
    result = compare(got, _as_list(expected), "the candidate", trial.case, trial.seed)
    return result if isinstance(result, Mismatch) else None


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def run_apart(plan: Trials) -> NoReturn:
    """Run the candidate with its output in a file, whose size is bounded, and leave the process."""
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    run(plan)
    sys.stdout.flush()
    os._exit(0)  # threads that a candidate left behind would keep the process alive
