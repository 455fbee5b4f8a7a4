"""The processes of an evaluation: one loads the candidate, one its kernels alone, one neither, and that one judges.

`candidate` reads trial.json in its working directory, runs forward on tensors without values and leaves launch plans
below plans/. `judge`, in another folder, makes inputs and parameters of its own, hands them over below calls/, waits
for results/ and compares them with the reference. `replay` and `recompile` stand between the two: they carry the
plans out and compile their kernels for a GPU. All of them sandbox themselves to their folder before anything else.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import msgspec

from rooflift.compile.kernels import require_compiles, stand_in_driver
from rooflift.compile.module import load_module, own_constants
from rooflift.errors import KernelFault
from rooflift.project.cases import Case
from rooflift.worker import launch_plan, replay
from rooflift.worker.conduct import watched
from rooflift.worker.failure import describe_exception
from rooflift.worker.gaps import interpreter_gap
from rooflift.worker.inputs import each_tensor, make_inputs
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.kernel_source import BUILTINS
from rooflift.worker.launch_plan import LaunchPlan, NoPlan
from rooflift.worker.protocol import LOG, Fault, Trial, Trials
from rooflift.worker.record import record, state_of
from rooflift.worker.stand_in import INTERPRETED, gpu_stands_in
from rooflift.worker.tensors import make_model

MOST_FRESH_BYTES = 8 * 2**30  # that one call may allocate


def interprets() -> bool:
    """Whether this process has no GPU and Triton's interpreter runs its kernels."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def ready_to_record() -> None:
    """Make this process one in which `plan_of` can be called; before kernel files are loaded."""
    import torch
    import triton

    if interprets():
        fix_interpreter()
        triton.runtime.driver.set_active(stand_in_driver(INTERPRETED, "meta"))
    else:
        torch.cuda.set_per_process_memory_fraction(0.5)


def run(trials: Trials) -> None:
    """Leave a launch plan of every trial and the state of its model, or the fault that there is none."""
    import torch

    ready_to_record()
    for number, trial in enumerate(trials.trials):
        if not (trial.called or _has_shapes(Path(trials.reference), trial)):
            continue
        try:
            with watched(Path(trials.candidate).absolute()):
                plan, state = plan_of(Path(trials.reference), Path(trials.candidate), trial)
            torch.save(state, Path("plans", f"{number}.pt"))
            Path("plans", f"{number}.plan").write_bytes(launch_plan.encode(plan))
        except NoPlan as fault:
            _leave(Path("plans", f"{number}.fault"), Fault("plan", f"{_where(trial)}: {fault.message}. {fault.remedy}"))
        except InterpretedOnlyError as error:
            _leave(Path("plans", f"{number}.fault"), Fault("interpreter", f"{_where(trial)}: {error}"))
        except Exception as error:  # noqa: BLE001  # a candidate may raise anything
            _leave(Path("plans", f"{number}.fault"), _raised(error, trial))


def _has_shapes(reference: Path, trial: Trial) -> bool:
    """Whether the inputs of a case can be made without values: as large as it is, it is given no others."""
    try:
        make_inputs(load_module(reference.absolute(), constants=trial.case.constants), trial.case, "meta", trial.seed)
    except Exception:  # noqa: BLE001  # a reference may need values to make its inputs
        return False
    return True


def plan_of(reference: Path, candidate: Path, trial: Trial) -> tuple[LaunchPlan, dict[str, Any]]:
    """Return the plan of a candidate's call, and the values of the parameters and buffers that its constructor made.

    Without a GPU the inputs have no values, unless the reference cannot make such; with one, values that nobody judges.

    Raises:
        NoPlan: the call does what a plan cannot express.
        InterpretedOnlyError: without a GPU, it does something else than on one.
    """
    original = load_module(reference.absolute(), constants=trial.case.constants)
    if not interprets():
        return _recorded(original, candidate, trial, "cuda", interpreted=False)
    plan, state = _recorded(original, candidate, trial, "meta", interpreted=True)
    with as_if_compiled():
        on_gpu, _ = _recorded(original, candidate, trial, "meta", interpreted=False)
    if on_gpu != plan:
        raise InterpretedOnlyError
    return plan, state


class InterpretedOnlyError(Exception):
    """A forward launches other kernels, or gives them something else, in Triton's interpreter than on a GPU."""

    def __str__(self) -> str:
        return "forward asks whether it is interpreted, and does something else on a GPU"


@contextmanager
def as_if_compiled() -> Iterator[None]:
    """Let kernel files that are loaded meanwhile believe that a GPU runs their kernels."""
    import triton

    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = False
        yield


def _recorded(
    original: ModuleType, candidate: Path, trial: Trial, place: str, *, interpreted: bool
) -> tuple[LaunchPlan, Any]:
    import torch

    case = trial.case
    made_on = "cpu" if place == "meta" and trial.called else place
    inputs = _inputs(original, case, trial.seed, place)
    with gpu_stands_in(place):
        loaded = load_module(candidate.absolute(), constants=own_constants(candidate, case.constants))
    try:
        model = make_model(loaded.ModelNew, original, case, made_on, trial.seed)
    except Exception:
        if trial.called:
            raise
        model = make_model(loaded.ModelNew, original, case, "cpu", trial.seed)  # it needs values
    state = {name: tensor.detach().clone().cpu() for name, tensor in state_of(model).items()} if trial.called else {}
    model = model.to(place)

    def forward() -> Any:
        with gpu_stands_in(place):
            return model(*inputs)

    with torch.no_grad():
        return record(model, inputs, forward, compiles=place == "cuda", interpreted=interpreted), state


def _inputs(reference: ModuleType, case: Case, seed: int, place: str) -> list[Any]:
    try:
        return make_inputs(reference, case, place, seed)
    except Exception:  # noqa: BLE001  # a reference may need values to make its inputs
        made = make_inputs(reference, case, "cpu", seed)
        return [each_tensor(x, lambda tensor: tensor.to(place)) for x in made]


def carry_out(trials: Trials) -> None:
    """Carry the plans below calls/ out on the inputs there and leave the results of each below results/."""
    import torch

    on = "cuda"
    if interprets():
        fix_interpreter()
        on = "cpu"
    modules: dict[str, ModuleType] = {}
    for number, trial in enumerate(trials.trials):
        given = Path("calls", f"{number}.pt")
        if not given.exists():
            continue
        plan = launch_plan.decode(Path("calls", f"{number}.plan").read_bytes())
        found: dict[str, Any]
        try:
            with torch.no_grad():
                found = _calls(plan, torch.load(given, map_location=on, weights_only=True), on, number, modules)
        except NoPlan as refusal:
            found = {"error": refusal.message}
        except Exception as error:  # noqa: BLE001  # a kernel may raise anything
            fault = _raised(error, trial)
            found = {"error": fault.what, "criterion": fault.criterion}
        torch.save(found, Path("results", f"{number}.pt"))


def _calls(plan: LaunchPlan, given: dict[str, Any], on: str, number: int, modules: dict[str, ModuleType]) -> Any:
    """Call a plan on each of the given inputs in turn, in the same memory, and keep all that can be seen."""
    replay.require_small(plan, MOST_FRESH_BYTES)
    launcher = _launcher(plan, on, number, modules)
    inputs, state, found = given["inputs"][0], given["state"], []
    held = replay.memory(plan, inputs, state, on)
    call = replay.prepare(plan, held, launcher)
    for place, values in enumerate(given["inputs"]):
        if place:
            replay.damage(plan, held, given["damage"] + place, first=place == 1)
            for tensor in inputs:  # what lies between the elements of an input keeps nothing either
                replay.as_bytes(tensor.untyped_storage()).fill_(given["damage"] % 256)
            for tensor, value in zip(inputs, values, strict=True):
                tensor.copy_(value)
        call()
        left = [leaf.value for leaf in replay.results(plan, held)]
        held_state = {name: tensor.clone().cpu() for name, tensor in state.items()}
        found.append({"results": _copies(left), "inputs": _copies(inputs), "state": held_state})
    return {"calls": found}


def _launcher(plan: LaunchPlan, on: str, number: int, modules: dict[str, ModuleType]) -> replay.Launcher:
    if on == "cuda":
        from rooflift.worker.launcher import compiled

        return compiled(plan)
    return replay.interpreted(_kernels(number, modules))


def _kernels(number: int, modules: dict[str, ModuleType]) -> ModuleType:
    """Return the module of a plan's kernels; trials with the same kernels share it."""
    text = Path("calls", f"{number}.py").read_text(encoding="utf-8")
    if text not in modules:
        modules[text] = load_kernels(text, f"{'interpreted' if interprets() else 'compiled'}_{number}")
    return modules[text]


def load_kernels(text: str, name: str) -> ModuleType:
    """Return the module of `kernel_source.module_text`, loaded from a folder of that name, with its few builtins."""
    file = Path(name, "candidate.py")
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    module = load_module(file.absolute(), f"rooflift_kernels_{name}")
    vars(module)["__builtins__"] = dict(BUILTINS)
    return module


def _copies(values: list[Any]) -> list[Any]:
    import torch

    return [value.clone().cpu() if torch.is_tensor(value) else value for value in values]


def recompile(trials: Trials) -> None:
    """Compile the kernels of the plans below calls/ as they are launched, for the target, and leave what Triton says.

    What is interpreted is compiled: a kernel that only the interpreter takes is none.
    """
    import torch

    modules: dict[str, ModuleType] = {}
    for number, trial in enumerate(trials.trials):
        if not Path("calls", f"{number}.py").exists():
            continue
        plan = launch_plan.decode(Path("calls", f"{number}.plan").read_bytes())
        try:
            kernels = _kernels(number, modules)
            storages = [torch.empty(max(b.bytes, 16), dtype=torch.uint8, device="meta") for b in plan.buffers]
            held = replay.Memory([storage.untyped_storage() for storage in storages])
            require_compiles(_launch_all(plan, held, kernels), "the candidate", trial.case, trials.target)
        except KernelFault as fault:
            what = f"{_where(trial)}: {_line(fault, plan)}{fault.message}"
            _leave(Path("compiled", f"{number}.fault"), Fault("compiles", what))
        except Exception as error:  # noqa: BLE001  # a kernel may raise anything
            _leave(Path("compiled", f"{number}.fault"), Fault("compiles", _raised(error, trial).what))


def _launch_all(plan: LaunchPlan, held: replay.Memory, kernels: ModuleType) -> Callable[[], object]:
    prepare = replay.interpreted(kernels)

    def launches() -> None:
        for step in plan.launches:
            prepare(step, held)()

    return launches


def _line(fault: KernelFault, plan: LaunchPlan) -> str:
    """Return "candidate.py:12: ", the line that Triton's compiler refused; its own words count from the kernel's."""
    refused = getattr(fault.__cause__, "src", None), getattr(fault.__cause__, "node", None)
    for source in plan.sources:
        if isinstance(refused[0], str) and refused[0].strip() == source.text.strip() and refused[1] is not None:
            return f"candidate.py:{source.line + refused[1].lineno - 1}: "
    return ""


def _where(trial: Trial) -> str:
    return f"{trial.case.name} {trial.case.dtype}"


def _raised(error: Exception, trial: Trial) -> Fault:
    gap = interpreter_gap(error)
    if gap:
        return Fault("interpreter", f"{_where(trial)}: Triton's interpreter lacks {gap}")
    return Fault("runs", f"{_where(trial)}: {describe_exception(error)}")


def _leave(path: Path, fault: Fault) -> None:
    path.write_bytes(msgspec.json.encode(fault))


def read_left(path: Path, most_bytes: int) -> bytes | None:
    """Return what another process left in a file, None where it is none; nothing waits for a pipe.

    Raises:
        NoPlan: the file is larger than it may be.
    """
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            if found.st_size > most_bytes:
                raise NoPlan(f"{path.name} has {found.st_size:,} bytes, of at most {most_bytes:,}", "Keep less.")
            return path.read_bytes()
    return None


def run_apart(work: Callable[[Trials], None], trials: Trials) -> NoReturn:
    """Do work that loads something of a candidate, its output in a file of bounded size, and leave the process."""
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    work(trials)
    sys.stdout.flush()
    os._exit(0)  # threads that a candidate left behind would keep the process alive
