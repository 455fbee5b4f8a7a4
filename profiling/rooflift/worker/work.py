"""What a case cannot avoid: the bytes of its tensors and the FLOP of its reference, counted or as the case states them.

What nobody can know from the tensors a case must state: an input that the reference leaves unread, or reads in part,
counts whole; products with zeros that a mask or a structure makes count as products.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from rooflift.dtypes import SPECIAL
from rooflift.project.cases import Case
from rooflift.project.stated import bytes_by_direction, flop_by_unit
from rooflift.schema import STATED, TENSORS, ResolvedCase
from rooflift.worker.inputs import make_inputs
from rooflift.worker.tensors import make_model

BUDGET_S = 20.0  # of a count; recurrent networks are walked step by step and take minutes
COUNTED = "torch's FLOP counter"


class Traffic(NamedTuple):
    """The compulsory bytes of a case, each once: inputs, parameters and buffers are read, outputs are written."""

    read_bytes: int
    written_bytes: int


def traffic(inputs: Any, model: Any, outputs: Any) -> Traffic:
    """Return the compulsory bytes by the tensors, wherever they stand in nests of lists, tuples and dicts.

    A tensor that is passed twice counts once, a view no more than what it shows, an expanded dimension as one element.
    Inputs that the reference does not read are not known, and count.
    """
    return Traffic(_nbytes([inputs, [*model.parameters()], [*model.buffers()]]), _nbytes(outputs))


def stated_traffic(case: Case, counted: Traffic) -> tuple[Traffic, str]:
    """Return the compulsory bytes of a case and where they come from: cases.toml, else its tensors.

    Where the case states one number, the outputs are written and the rest is read.
    """
    stated = bytes_by_direction(case.bytes, case.names, case.dtype)
    if not stated:
        return counted, TENSORS
    if "" in stated:
        written = min(counted.written_bytes, stated[""])
        return Traffic(stated[""] - written, written), STATED
    return Traffic(stated["read"], stated["write"]), STATED


def _nbytes(values: Any) -> int:
    import torch
    from torch.utils._pytree import tree_leaves

    views: dict[int, dict[tuple[object, ...], int]] = {}
    held: dict[int, int] = {}
    for x in tree_leaves(values):
        if not torch.is_tensor(x) or x.layout is not torch.strided:  # sparse: too low a bound, not too high
            continue
        storage = x.untyped_storage()
        identity = storage._cdata  # noqa: SLF001  # on the meta device all addresses are 0
        view = (x.storage_offset(), tuple(x.shape), x.stride())
        shown = _shown(zip(x.shape, x.stride(), strict=True)) * x.element_size()
        views.setdefault(identity, {})[view] = shown
        held[identity] = storage.nbytes()
    return sum(min(sum(shown.values()), held[storage]) for storage, shown in views.items())


def _shown(extents: Iterable[tuple[int, int]]) -> int:
    """Return how many elements a view has, each once although an expanded dimension shows it often."""
    count = 1
    for size, stride in extents:
        count *= min(size, 1) if stride == 0 else size
    return count


class Count(NamedTuple):
    """FLOP, or None with the reason why there are none."""

    flop: int | None
    missing: str = ""


class _OutOfTimeError(Exception):
    """A count has taken its time."""


def count_flop(reference: ModuleType, case: Case, budget_s: float = BUDGET_S) -> Count:
    """Count the reference's FLOP by torch's counter, on the meta device: nothing is allocated or computed.

    None where torch's counter knows no formula for what the reference does, where the reference looks at values, or
    breaks in any other way, and where it takes longer than the budget: the times of a run are not lost for its FLOP.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    end = time.monotonic() + budget_s

    class Deadline(TorchDispatchMode):
        """Ends a count that takes too long, at the next operation."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if time.monotonic() > end:
                raise _OutOfTimeError
            return func(*args, **(kwargs or {}))

    try:
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter, Deadline():  # type: ignore[no-untyped-call]
            model = make_model(reference.Model, reference, case, "meta", seed=0)
            model(*make_inputs(reference, case, "meta", seed=0))
    except _OutOfTimeError:
        return Count(None, f"took longer than {budget_s:g} s")
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a reference may raise anything, more so without values
        return Count(None, f"ended with {type(error).__name__} on tensors without values")
    total = counter.get_total_flops()
    return Count(total) if total else Count(None, "knows no operation of it")


class Flop(NamedTuple):
    """The FLOP of a case: in all (None: not known), by unit where the case states them, and where they come from."""

    total: int | None
    by_unit: dict[str, int]
    source: str


def flop_of(reference: ModuleType, case: Case, known: Sequence[ResolvedCase]) -> Flop:
    """Return a case's FLOP: as it states them, from an earlier run of the same reference, or by torch's counter.

    The special functions' results are no FLOP and not among the total. torch's counter takes seconds to import.
    """
    by_unit = flop_by_unit(case.flop, case.names, case.dtype, allow_tf32=case.allow_tf32)
    if by_unit:
        total = [flop for unit, flop in by_unit.items() if unit != SPECIAL]
        return Flop(sum(total) if total else None, by_unit, STATED)
    for resolved in known:
        if (resolved.case, resolved.dtype) == (case.name, case.dtype) and resolved.flop_source != STATED:
            return Flop(resolved.flop, {}, resolved.flop_source)
    counted = count_flop(reference, case)
    if counted.flop is None:
        return Flop(None, {}, f"ncu's instruction counters ({COUNTED} {counted.missing})")
    return Flop(counted.flop, {}, COUNTED)
