"""A small case of a reference whose sizes are constants of its module: values as small as it still runs with.

`python -m rooflift.worker small` reads problems.json and says a `Small` for each reference. Sizes are halved as often
as the reference takes it on the meta device, where nothing is computed, so that what must divide still divides. Then it
runs once on the CPU.
"""

from __future__ import annotations

import ast
import contextlib
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rooflift.compile.module import assigned, load_module
from rooflift.project.cases import Case
from rooflift.worker import protocol
from rooflift.worker.failure import describe_exception
from rooflift.worker.inputs import make_inputs, tensors
from rooflift.worker.protocol import Small, say
from rooflift.worker.results import leaves
from rooflift.worker.tensors import make_model

FLOORS = (16, 8, 4)  # no size is made smaller than the floor, which sinks while the case is too slow
KEPT = ("kernel", "stride", "pad", "dilation", "group", "head", "layers")  # names of what is no size
ELEMENTS = 2**26  # of inputs, parameters and results together: more is not run on a CPU
BYTES = 6 * 2**30  # that the search may hold
SLOW_S = 0.05  # of processor time for a call; a comparison makes some twenty, in float64 and 16 bits as well


def run(problems: protocol.Problems) -> None:
    """Say what came of every reference."""
    import torch

    torch.set_num_threads(1)  # processor time is the measure, whatever else the machine does
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, resource.RLIM_INFINITY))
    for file in problems.references:
        with _time_limit(problems.time_s):
            say(find_small(Path(file)))


def find_small(file: Path) -> Small:
    """Return constants with which a reference is small, or the sentence that says why there are none."""
    try:
        load_module(file)
        sizes = _sizes(file)
        found: dict[str, Any] = {}
        fault = ""
        for floor in FLOORS:
            found = _shrunk(file, sizes, floor)
            fault, seconds = _run(file, found)
            if not fault and seconds < SLOW_S:
                break
    except _OutOfTimeError:
        return Small(str(file), {}, "the search for one took too long")
    except Exception as error:  # noqa: BLE001  # a reference may raise anything
        return Small(str(file), {}, f"the reference does not run: {describe_exception(error)}")
    return Small(str(file), found, fault)


class _OutOfTimeError(BaseException):
    """A search has taken its time; a reference that catches exceptions does not catch it."""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise _OutOfTimeError

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _sizes(file: Path) -> dict[str, Any]:
    """Return the module constants that are integers, or tuples and lists of them, and are no formula of others."""
    module = load_module(file)
    found: dict[str, Any] = {}
    for statement in ast.parse(file.read_bytes()).body:
        value = getattr(statement, "value", None)
        plain = value is not None and not any(isinstance(node, ast.Name | ast.Call) for node in ast.walk(value))
        for name in assigned(statement):
            found.pop(name, None)
            if plain and not any(kept in name.lower() for kept in KEPT):
                found[name] = getattr(module, name)
    return {name: value for name, value in found.items() if any(size > FLOORS[-1] for size in _integers(value))}


def _integers(value: Any) -> list[int]:
    if isinstance(value, list | tuple):
        return [size for one in value for size in _integers(one)]
    return [value] if type(value) is int else []


def _halved(value: Any, floor: int) -> Any:
    """Return a size halved until another time would take it below the floor; of a tuple each.

    >>> _halved(4096, 16), _halved((3, 224), 16), _halved(2949, 16), _halved(8, 16)
    (16, (3, 28), 23, 8)
    """
    if isinstance(value, list | tuple):
        return type(value)(_halved(one, floor) for one in value)
    if type(value) is int:
        while value // 2 >= floor:
            value //= 2
    return value


def _shrunk(file: Path, sizes: Mapping[str, Any], floor: int) -> dict[str, Any]:
    """Return the constants that can be small: all at once, else those of one value together, else each by itself."""
    everything = {name: _halved(value, floor) for name, value in sizes.items() if _halved(value, floor) != value}
    if not everything or _takes(file, everything):
        return everything
    found: dict[str, Any] = {}
    left = sorted(everything, key=lambda name: -max(_integers(sizes[name])))
    while left:
        name = left.pop(0)
        same = [name, *(other for other in left if sizes[other] == sizes[name])]
        for group in (same, [name]) if len(same) > 1 else ([name],):
            made = _smallest(file, {one: sizes[one] for one in group}, found, floor)
            if made:
                found |= made
                left = [other for other in left if other not in group]
                break
    return found


def _smallest(file: Path, group: Mapping[str, Any], found: Mapping[str, Any], floor: int) -> dict[str, Any]:
    """Return the smallest values of some constants that the reference takes beside those found, {} for none."""
    while True:
        made = {name: _halved(value, floor) for name, value in group.items()}
        if made == group or floor > max(size for value in group.values() for size in _integers(value)):
            return {}
        if _takes(file, {**found, **made}):
            return made
        floor *= 2


def _takes(file: Path, constants: Mapping[str, Any]) -> bool:
    """Whether the reference gives results that are not empty; on the meta device, where nothing is computed.

    One that looks at values has to be run.
    """
    try:
        return _elements(file, constants) > 0
    except Exception as error:  # noqa: BLE001  # a reference may raise anything
        if "meta" not in str(error):
            return False
    try:
        _call(file, constants)
    except Exception:  # noqa: BLE001
        return False
    return True


def _case(constants: Mapping[str, Any]) -> Case:
    return Case("small", None, None, ("float32",), constants=dict(constants))


def _elements(file: Path, constants: Mapping[str, Any]) -> int:
    """Return how many elements inputs, parameters and results have together; 0 where a result has none."""
    import torch

    reference, case = load_module(file, constants=constants), _case(constants)
    with torch.device("meta"), torch.no_grad():
        model = make_model(reference.Model, reference, case, "meta", seed=0)
        inputs = make_inputs(reference, case, "meta", seed=0)
        results = [leaf.value for leaf in leaves(model(*inputs)) if torch.is_tensor(leaf.value)]
    if not results or not all(x.numel() for x in results):
        return 0
    return sum(x.numel() for x in [*tensors(inputs), *model.parameters(), *results])


def _run(file: Path, constants: Mapping[str, Any]) -> tuple[str, float]:
    """Run the reference on the CPU; return why it cannot be run, and the seconds of processor time of a call."""
    try:
        elements = _elements(file, constants)
    except Exception as error:
        if "meta" not in str(error):  # one that looks at values has no meta form
            raise
        elements = 0
    if elements > ELEMENTS:
        return f"the smallest that it takes has {elements:.2g} elements", 0.0
    return "", _call(file, constants)


def _call(file: Path, constants: Mapping[str, Any]) -> float:
    import torch

    reference, case = load_module(file, constants=constants), _case(constants)
    model = make_model(reference.Model, reference, case, "cpu", seed=0)
    inputs = make_inputs(reference, case, "cpu", seed=0)
    begun = time.process_time()
    with torch.no_grad():
        model(*inputs)
    return time.process_time() - begun
