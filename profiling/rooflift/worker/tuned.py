"""Configurations of one version: found, compiled without a GPU, checked and timed; one that fails hinders no other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rooflift.compile.kernels import DoesNotFit, compile_version
from rooflift.compile.module import load_module, own_constants
from rooflift.errors import KernelFault, RoofliftError
from rooflift.project.cases import Case
from rooflift.project.gpus import spec_for_target
from rooflift.project.space import AS_IT_STANDS, Value
from rooflift.schema import CompiledKernel, MachineCode
from rooflift.worker import protocol
from rooflift.worker.compiled import reference_of
from rooflift.worker.configured import noticed, with_configuration
from rooflift.worker.correctness import check_model, truth_of
from rooflift.worker.device import describe_device, gpu_state
from rooflift.worker.failure import describe_exception
from rooflift.worker.inputs import make_inputs
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.machine_code import launched_sha256
from rooflift.worker.program import Program, Stop, guarded
from rooflift.worker.protocol import Plan, Unfit, UnfitStage, say
from rooflift.worker.stand_in import gpu_stands_in
from rooflift.worker.tensors import make_model, make_version
from rooflift.worker.timing import Moment, time_providers
from rooflift.worker.truth import Truth, precision

LIMIT_S = 60  # that the first calls of a configuration may take; a deadlock of its programs ends nowhere else
LIMIT_AS_IT_STANDS_S = 600  # a version that tunes itself tries all of its configurations
KEPT = 300  # characters of a reason


def run(task: protocol.Task, plan: Plan, part: str) -> None:
    """Do one task: configurations and fit need no GPU, tune checks and times on one."""
    if task == "configurations":
        _find(plan)
    elif task == "fit":
        _compile(plan, part)
    else:
        _tune(plan)


def _find(plan: Plan) -> None:
    """Say what the autotuned kernels choose from that a version launches on each case."""
    ((name, file),) = plan.versions.items()
    for case in plan.work:
        found: dict[str, list[dict[str, Value]]] = {}
        try:
            compile_version(partial(_noticing, found, Path(file).absolute(), case), name, case, plan.targets)
        except RoofliftError as error:
            say(protocol.Refused(type(error).__name__, error.message, error.remedy))
            raise Stop from None
        for kernel, configurations in found.items():
            say(protocol.Autotuned(case.name, case.dtype, kernel, configurations))


def _compile(plan: Plan, part: str) -> None:
    """Compile a part of the configurations for every case, and say of each what its kernels take or why it is unfit."""
    index, count = map(int, part.split("/"))
    own = list(plan.versions.items())[index::count]
    for number, (name, file) in enumerate(own, 1):
        for case in plan.work:
            say(protocol.Doing(f"compiling {number} of {len(own)} in each of {count}: {name} for {case.name}"))
            say(protocol.Trying(name))
            forward = partial(_on_meta, Path(file).absolute(), case, plan.configurations[name])
            try:
                kernels = compile_version(forward, name, case, plan.targets)
            except KernelFault as fault:
                stage: UnfitStage = "launch" if isinstance(fault, DoesNotFit) else "compile"
                say(Unfit(name, case.name, case.dtype, stage, _reason(fault.message)))
                continue
            except RoofliftError as error:
                say(protocol.Refused(type(error).__name__, error.message, error.remedy))
                raise Stop from None
            for kernel in kernels:
                say(protocol.Compiled(kernel))
            nothing = "" if kernels else "no Triton kernel is launched"
            refused = next(filter(None, map(_cannot_launch, kernels)), nothing)
            if refused:
                say(Unfit(name, case.name, case.dtype, "launch", refused))


def _noticing(found: dict[str, list[dict[str, Value]]], file: Path, case: Case) -> object:
    with noticed(found):
        return _on_meta(file, case, {})


def _on_meta(file: Path, case: Case, configuration: dict[str, Value]) -> object:
    reference = reference_of(Path("reference.py").absolute(), case)
    with gpu_stands_in("meta"):
        module = load_module(file, constants=own_constants(file, case.constants), variables=configuration)
    model = make_model(module.ModelNew, reference, case, "meta", seed=0)
    inputs = make_inputs(reference, case, "meta", seed=0)
    with gpu_stands_in("meta"):
        return with_configuration(model, configuration)(*inputs)


def _cannot_launch(kernel: CompiledKernel) -> str:
    """Return why no block of a compiled kernel fits on an SM, "" where one does."""
    if kernel.occupancy_pct:
        return ""
    threads = kernel.num_warps * spec_for_target(int(kernel.target.removeprefix("sm_"))).warp_size
    return (
        f"no block of {kernel.kernel} fits on an SM: {kernel.occupancy_limit} ({threads} threads, "
        f"{kernel.registers} registers a thread, {kernel.shared_bytes:,} bytes of shared memory)"
    )


def _tune(plan: Plan) -> None:
    """Check and time all configurations of a plan on each case, in the same rounds; the interpreter checks alone."""
    import torch

    device = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    if device == "cuda":
        say(describe_device())
    else:
        fix_interpreter()
    program = Program(plan, device)
    for case in plan.work:
        with torch.no_grad(), precision(case.allow_tf32):
            with guarded("reference", case):
                reference = program.reference(case)
                truths = [truth_of(reference, case, device, seed) for seed in range(plan.options.seeds)]
                inputs = make_inputs(reference, case, device, seed=0)
            calls = {}
            for number, name in enumerate(plan.versions, 1):
                say(protocol.Doing(f"checking {number} of {len(plan.versions)} on {case.name} {case.dtype}: {name}"))
                say(protocol.Trying(name))
                call = _checked(program, name, case, truths, inputs)
                if call is not None:
                    calls[name] = call
            say(protocol.Trying(""))
            del truths
            torch.cuda.empty_cache()
            if calls and device == "cuda":
                _time(plan, case, calls)
            del calls, inputs
            torch.cuda.empty_cache()


def _checked(
    program: Program, name: str, case: Case, truths: list[Truth], inputs: list[Any]
) -> Callable[[], object] | None:
    """Return the call of a configuration that gives what the reference gives; None, once it is said why not."""
    import torch

    reference, device = program.reference(case), program.device
    configuration = program.plan.configurations.get(name)
    try:
        with _limited(name, case):
            for seed, truth in enumerate(truths):
                model, missing = make_version(program.version(name, case), reference, truth.model, case, device, seed)
                found = check_model(name, with_configuration(model, configuration), missing, case, device, seed, truth)
                if isinstance(found, protocol.Mismatch):
                    say(Unfit(name, case.name, case.dtype, "result", _wrong(found)))
                    return None
            call = partial(with_configuration(model, configuration), *inputs)
            code = launched_sha256(call) if device == "cuda" else ""
            torch.cuda.synchronize() if device == "cuda" else None
    except Exception as error:  # noqa: BLE001  # a kernel file may raise anything
        stage: UnfitStage = "compile" if "ompil" in type(error).__name__ or "ptxas" in str(error) else "run"
        say(Unfit(name, case.name, case.dtype, stage, _reason(describe_exception(error))))
        _require_context(device)
        return None
    if code:
        say(protocol.Code(MachineCode(name, case.name, case.dtype, code)))
    return call


def _time(plan: Plan, case: Case, calls: dict[str, Callable[[], object]]) -> None:
    def look(at: Moment) -> None:
        say(protocol.State(gpu_state(case.name, case.dtype, at)))

    say(protocol.Doing(f"timing {len(calls)} configurations on {case.name} {case.dtype}"))
    assert plan.sampling is not None  # of every plan that is timed
    timed = time_providers(calls, plan.sampling, f"{case.name} {case.dtype}", look)
    for name, times_us in timed.times_us.items():
        say(protocol.Samples(name, 0, case.name, case.dtype, times_us, timed.positions[name]))


@contextmanager
def _limited(name: str, case: Case) -> Iterator[None]:
    """End this process after a time, once it has said of which configuration: nothing else ends a deadlock."""
    limit_s = LIMIT_AS_IT_STANDS_S if name == AS_IT_STANDS else LIMIT_S

    def end() -> None:
        say(Unfit(name, case.name, case.dtype, "run", f"did not end within {limit_s} s"))
        os._exit(3)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _require_context(device: str) -> None:
    """Stop where the GPU refuses all further work of this process, as after an illegal address; another goes on."""
    import torch

    if device != "cuda":
        return
    try:
        torch.cuda.synchronize()
        torch.empty(1, device="cuda").zero_()
        torch.cuda.synchronize()
    except RuntimeError:
        raise Stop from None


def _wrong(found: protocol.Mismatch) -> str:
    if not found.elements:
        return f"the result is {found.got}, the reference gives {found.expected}"
    share = f"{found.wrong_elements:,} of {found.elements:,}"
    return f"{share} elements are wrong, such as {found.got} for {found.expected}"


def _reason(text: str) -> str:
    """Return a message in one line."""
    line = " ".join(text.split())
    return line if len(line) <= KEPT else f"{line[: KEPT - 2]} …"
