"""The judge of a candidate: makes the inputs, and compares what its plans give with the reference; loads nothing of it.

Inputs, and parameters of the reference's names, are drawn from seeds that no other process knows. Every call is
compared: one on memory that holds NaN, and more in the same memory, on values that differ in part, after a random
part of the last results has been given other values.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from rooflift.compile.module import load_module
from rooflift.project.inputs import Input
from rooflift.worker import launch_plan
from rooflift.worker.candidate import interprets, read_left
from rooflift.worker.correctness import compare
from rooflift.worker.inputs import clones, each_tensor, make_inputs, tensors
from rooflift.worker.interpreter import fix_interpreter
from rooflift.worker.kernel_source import module_text
from rooflift.worker.launch_plan import LaunchPlan, NoPlan
from rooflift.worker.protocol import Criterion, Fault, Judgement, Mismatch, Prepared, Trial, Trials, say
from rooflift.worker.results import Leaf
from rooflift.worker.tensors import bind, make_reference
from rooflift.worker.truth import Truth, differ, find_truth

MOST_STATE_BYTES = 2**30
CHANGED = 1 / 64  # of the inputs, from one call to the next
MIXED = (None, "normal", "uniform", "integers", "mask", "labels", "zeros", "large")  # values that any other may replace


@dataclass
class _Prepared:
    """One trial whose plan can be carried out."""

    trial: Trial
    reference: ModuleType
    plan: LaunchPlan
    seed: int  # of the parameters
    calls: list[list[Any]]  # the inputs of each
    state: dict[str, Any]  # parameters and buffers as they must be after each call
    missing: list[str]  # parameters of the reference that the candidate has no place for

    def write(self, number: int, damage: int, state: dict[str, Any]) -> None:
        import torch

        place = Path("calls", f"{number}.pt")
        if interprets():
            place.with_suffix(".py").write_text(module_text(self.plan), encoding="utf-8")
        place.with_suffix(".plan").write_bytes(launch_plan.encode(self.plan))
        if not self.trial.called:
            return
        first, *later = map(tensors, self.calls)  # the first are the memory that the values of the later ones go to
        inputs = [first, *([tensor.clone() for tensor in values] for values in later)]
        torch.save({"inputs": inputs, "state": state, "damage": damage}, place)


def judge(trials: Trials) -> None:
    """Say `Prepared` when plans/ is there and the calls are ready, and the Judgement once results/ is there."""
    on = "cuda"
    if interprets():
        fix_interpreter()
        on = "cpu"
    _wait(Path("plans"), trials.wait_s)
    docket = prepare(trials, on)
    say(Prepared(len(docket.prepared)))
    if docket.prepared:
        _wait(Path("results" if trials.called else "compiled"), trials.wait_s)
    say(compare_all(trials, docket, on))


@dataclass
class Docket:
    """The trials that can be judged, by number, the faults so far, and how many the reference refuses."""

    prepared: dict[int, _Prepared] = field(default_factory=dict)
    faults: dict[Criterion, Fault] = field(default_factory=dict)
    refused: int = 0


def prepare(trials: Trials, on: str) -> Docket:
    """Read the plans below plans/ and write the calls of each below calls/."""
    import torch

    Path("calls").mkdir()
    found = Docket()
    with torch.no_grad():
        for number, trial in enumerate(trials.trials):
            one = _prepare(trials, trial, number, on)
            if isinstance(one, Fault):
                found.faults.setdefault(one.criterion, one)
            elif one is None:
                found.refused += trial.called
            else:
                found.prepared[number] = one
    return found


def compare_all(trials: Trials, docket: Docket, on: str) -> Judgement:
    """Compare what lies below results/ with the reference."""
    import torch

    faults, refused = docket.faults, docket.refused
    with torch.no_grad():
        for number, one in docket.prepared.items():
            compiled = read_left(Path("compiled", f"{number}.fault"), 2**20)
            if compiled is not None:
                fault = msgspec.json.decode(compiled, type=Fault)
                faults.setdefault(fault.criterion, fault)
            if compiled is not None or not trials.called or not one.trial.called:
                continue
            truths = _truths(one, on)
            if truths is None:
                refused += 1
                continue
            for fault in _faults(number, one, truths):
                faults.setdefault(fault.criterion, fault)
            if faults.keys() & {"runs", "interpreter"}:
                break
    return Judgement(list(faults.values()), sum(trial.called for trial in trials.trials) - refused, refused)


def _wait(path: Path, most_s: float) -> None:
    end = time.monotonic() + most_s
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)


def _prepare(trials: Trials, trial: Trial, number: int, on: str) -> _Prepared | Fault | None:
    """Read a plan and write its calls; None where the reference refuses a generated shape."""
    import torch

    where = f"{trial.case.name} {trial.case.dtype}"
    try:
        reference = load_module(Path(trials.reference).absolute(), constants=trial.case.constants)
        calls = _inputs_of_calls(reference, trial, on) if trial.called else []
        if trial.generated:
            make_reference(reference, trial.case, on, trial.secret)(*clones(calls[0]))
    except Exception:
        if not trial.generated:
            raise
        return None
    try:
        fault = read_left(Path("plans", f"{number}.fault"), 2**20)
        if fault is not None:
            return msgspec.json.decode(fault, type=Fault)
        data = read_left(Path("plans", f"{number}.plan"), launch_plan.MOST_BYTES)
        kept = read_left(Path("plans", f"{number}.pt"), MOST_STATE_BYTES) is not None
        if data is None and not trial.called:
            return None  # its inputs cannot be made without values
        if data is None or not kept:
            return Fault("runs", f"{where}: the process ended before it had a result")
        plan = launch_plan.decode(data)
        own = torch.load(Path("plans", f"{number}.pt"), map_location=on, weights_only=True)
        one = _Prepared(trial, reference, plan, trial.seed, calls, {}, [])
        if trial.called:
            one = _bound(one, own, on)
        one.write(number, trial.secret % 1009, own)
    except NoPlan as refusal:
        return Fault("plan", f"{where}: {refusal.message}. {refusal.remedy}")
    except Exception as error:  # noqa: BLE001  # a candidate may have written anything
        return Fault("runs", f"{where}: its plan cannot be read ({type(error).__name__})")
    return one


def _bound(one: _Prepared, own: dict[str, Any], on: str) -> _Prepared:
    """Give the candidate's state the reference's parameters, drawn from a seed that the candidate's process lacks.

    Where the candidate keeps some in another form, made in its constructor, all come from the seed that it had.
    """
    names, trial = set(one.plan.parameters), one.trial
    for seed in (trial.secret, trial.seed):
        expected = make_reference(one.reference, trial.case, on, seed)
        known = expected.state_dict()
        if seed == trial.seed or all(name in known and known[name].shape == own[name].shape for name in own):
            break
    missing = bind(own, names, expected)
    changed = _changed_by(expected, one.calls[0])
    state = {name: tensor.clone() for name, tensor in own.items() if name not in changed}
    return replace(one, seed=seed, state=state, missing=missing)


def _changed_by(reference: Any, inputs: list[Any]) -> set[str]:
    """Return the buffers that a call of the reference changes, such as a running mean."""
    before = {name: tensor.clone() for name, tensor in reference.named_buffers()}
    if before:
        reference(*clones(inputs))
    return {name for name, tensor in reference.named_buffers() if differ(before[name], tensor)}


def _inputs_of_calls(reference: ModuleType, trial: Trial, on: str) -> list[list[Any]]:
    """Return the inputs of each call: the second time some values differ, or all where they hang together."""
    import torch

    first, other = (
        make_inputs(reference, trial.case, on, trial.secret + n, loud_edges=trial.secret % 2 == 1) for n in (1, 2)
    )
    given = trial.case.inputs or ()
    if not given or not all(isinstance(x, list) or (isinstance(x, Input) and x.values in MIXED) for x in given):
        return [first, other, first]
    left = iter(tensors(other))

    def partly(tensor: Any) -> Any:
        changed = torch.rand(tensor.shape, device=tensor.device) < CHANGED
        mixed = tensor.clone()
        return mixed.copy_(torch.where(changed, next(left), tensor))

    return [first, [each_tensor(x, partly) for x in first], first]


def _truths(one: _Prepared, on: str) -> list[Truth] | None:
    """Return what is right for each call; None where the reference refuses a generated shape."""
    found: dict[int, Truth] = {}
    try:
        for inputs in one.calls:
            if id(inputs) not in found:
                found[id(inputs)] = find_truth(one.reference, one.trial.case, on, one.seed, inputs)
    except Exception:
        if not one.trial.generated:
            raise
        return None
    return [found[id(inputs)] for inputs in one.calls]


def _faults(number: int, one: _Prepared, truths: list[Truth]) -> list[Fault]:
    """Return the faults of one trial; a file that `carry_out` did not write is one."""
    import torch

    found = None
    with suppress(Exception):  # a kernel in the interpreter may have written anything
        if read_left(Path("results", f"{number}.pt"), 2**32) is not None:
            found = torch.load(Path("results", f"{number}.pt"), map_location="cpu", weights_only=True)
    where = f"{one.trial.case.name} {one.trial.case.dtype}"
    if not isinstance(found, dict):
        return [Fault("runs", f"{where}: the process that runs its kernels ended before it had a result")]
    if "error" in found:
        criterion: Criterion = "interpreter" if found.get("criterion") == "interpreter" else "runs"
        return [Fault(criterion, str(found["error"]))]
    try:
        return list(_judge_calls(found, one, truths, where))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, StopIteration, IndexError) as error:
        return [Fault("runs", f"{where}: its results cannot be read ({type(error).__name__})")]


def _held(values: list[Any], held: Any) -> list[Any]:
    """Return inputs with other tensors in the place of theirs."""
    left = iter(held)
    return [each_tensor(x, lambda _: next(left)) for x in values]


def _judge_calls(found: dict[str, Any], one: _Prepared, truths: list[Truth], where: str) -> Iterator[Fault]:
    """Yield the fault of the first call that is wrong."""
    for place, (call, inputs, truth) in enumerate(zip(found["calls"], one.calls, truths, strict=True)):
        held = _held(inputs, call["inputs"])
        got = [Leaf(returned.place, value) for returned, value in zip(one.plan.results, call["results"], strict=True)]
        wrong = compare(got, held, truth, "the candidate", one.trial.case, one.trial.secret, one.missing)
        if not isinstance(wrong, Mismatch):
            changed = (
                []
                if truth.changed
                else [name for name, tensor in one.state.items() if differ(tensor.cpu(), call["state"][name])]
            )
            if not changed:
                continue
            kind = "parameter" if changed[0] in one.plan.parameters else "buffer"
            yield Fault("inputs_changed", f"{where}: the {kind} {changed[0]} is not what it was before the call")
        elif not wrong.index and wrong.expected.startswith("input "):
            what = f"{where}: {wrong.expected.split(' as ')[0]} is not what it was before the call"
            yield Fault("inputs_changed", what)
        else:
            yield Fault("second_call" if place else "correctness", where, wrong)
        return
