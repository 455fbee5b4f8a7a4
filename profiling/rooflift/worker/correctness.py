"""A version against the reference: fresh inputs, poisoned memory, every element within the error model (`truth`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rooflift.project.cases import Case, Index
from rooflift.schema import CheckRecord
from rooflift.worker.allowed import SLICE
from rooflift.worker.inputs import clones, make_inputs, seed_everything, tensors
from rooflift.worker.poison import poisoned_memory
from rooflift.worker.protocol import FAR, Mismatch
from rooflift.worker.results import Leaf, Result, form, is_float, leaves
from rooflift.worker.stand_in import gpu_stands_in
from rooflift.worker.tensors import make_version
from rooflift.worker.truth import Truth, differ, find_truth, precision

if TYPE_CHECKING:
    import torch

CHANCE = 1000.0  # times outside: of 10^10 elements the probes of one give a thousandth of its scale


def truth_of(reference: ModuleType, case: Case, device: str, seed: int) -> Truth:
    """Return what the reference gives for the parameters and inputs of a seed.

    Inputs of odd seeds are loud at their edges (`make_inputs`).
    """
    inputs = make_inputs(reference, case, device, seed + 1, loud_edges=seed % 2 == 1)
    return find_truth(reference, case, device, seed, inputs, drawn_on=device)


def check_version(
    name: str,
    version: ModuleType,
    reference: ModuleType,
    case: Case,
    device: str,
    seed: int,
    truth: Truth | None = None,
) -> CheckRecord | Mismatch:
    """Run a version on fresh inputs, its uninitialised memory filled with NaN first, and compare; and once more.

    `truth` is the `truth_of` the same case and seed; None computes it. The second call tells whether the same inputs
    give the same bits.
    """
    import torch

    truth = truth or truth_of(reference, case, device, seed)
    with torch.no_grad(), precision(case.allow_tf32):
        model, missing = make_version(version, reference, truth.model, case, device, seed)
    return check_model(name, model, missing, case, device, seed, truth)


def check_model(
    name: str, model: Any, missing: Sequence[str], case: Case, device: str, seed: int, truth: Truth
) -> CheckRecord | Mismatch:
    """Check a module that has the truth's parameters, or what is called like one, as `check_version` says."""
    import torch

    with torch.no_grad(), precision(case.allow_tf32):
        given = clones(truth.inputs)
        got = _call(model, given, seed, device)
        found = compare(got, given, truth, name, case, seed, missing)
        del given  # the second call's take their place
        if isinstance(found, Mismatch):
            return found
        again = _call(model, clones(truth.inputs), seed, device)
        same = all(_same(x.value, y.value) for x, y in zip(got, again, strict=True))
    return CheckRecord(name, case.name, case.dtype, seed, *found, same, truth.note)


def _call(model: Any, inputs: list[Any], seed: int, device: str) -> list[Leaf]:
    seed_everything(seed)
    with poisoned_memory(), gpu_stands_in(device):
        return leaves(model(*inputs))


def _same(one: Any, other: Any) -> bool:
    import torch

    return not differ(one, other) if torch.is_tensor(one) and torch.is_tensor(other) else bool(one == other)


def compare(
    got: Sequence[Leaf],
    inputs: list[Any],
    truth: Truth,
    name: str,
    case: Case,
    seed: int,
    missing: Sequence[str] = (),
) -> tuple[float, float, float] | Mismatch:
    """Compare the results of a call, and its inputs as they are afterwards, with what they must be.

    Returns:
        The largest absolute error, the largest error over what is allowed, and the largest share of the scale that was
        allowed; or the worst element of the first result that is wrong. Where few are, and by no more than a scale can
        be too small by chance, the scales are measured with more probes first.
    """
    found = _compare(got, inputs, truth, name, case, seed, missing)
    chance = isinstance(found, Mismatch) and 2 * found.wrong_elements < found.elements
    if chance and found.error_over_tolerance < CHANCE and truth.look_closer():  # type: ignore[union-attr]
        return _compare(got, inputs, truth, name, case, seed, missing)
    return found


def _compare(
    got: Sequence[Leaf],
    inputs: list[Any],
    truth: Truth,
    name: str,
    case: Case,
    seed: int,
    missing: Sequence[str],
) -> tuple[float, float, float] | Mismatch:
    about = _About(name, case, seed, tuple(missing))
    after = tensors(inputs)
    for number, (before, left) in enumerate(zip(tensors(truth.inputs), after, strict=True)):
        if number not in truth.changed and differ(before, left.to(before.device)):
            return about.of_form(f"input {number} as it was", f"input {number} changed")
    everything = [*got, *(Leaf(f"input {n} afterwards", after[n]) for n in sorted(truth.changed))]
    forms = [_form(result) for result in truth.results]
    if [form(leaf.value) for leaf in everything] != forms:
        return about.of_form(", ".join(forms), ", ".join(form(leaf.value) for leaf in everything) or "nothing")
    indices = {index.output: index for index in case.index}
    worst = (0.0, 0.0, 0.0)
    for number, (leaf, wanted) in enumerate(zip(everything, truth.results, strict=True)):
        index = indices.get(number)
        found = _exact(leaf.value, wanted, about, index, truth) if wanted.scale is None else None
        found = found or _close(leaf.value, wanted, about)
        if isinstance(found, Mismatch):
            return found
        worst = (max(worst[0], found[0]), max(worst[1], found[1]), max(worst[2], wanted.share))
    return worst


@dataclass(frozen=True, slots=True)
class _About:
    """Whose result it is."""

    version: str
    case: Case
    seed: int
    missing: tuple[str, ...]  # parameters of the reference that the version has no place for

    def of_form(self, expected: str, got: str) -> Mismatch:
        return Mismatch(
            self.version, self.case.name, self.case.dtype, self.seed, [], expected, got, FAR, 0, 0, "", self.missing
        )

    def of_element(self, wanted: Result, got: Any, flat: int, error: float, wrong: int) -> Mismatch:
        import torch

        shape = tuple(wanted.leaf.value.shape)
        number = float if is_float(wanted.leaf.value) else int
        return Mismatch(
            self.version,
            self.case.name,
            self.case.dtype,
            self.seed,
            index=[int(i) for i in torch.unravel_index(torch.tensor(flat), shape)],
            expected=f"{number(wanted.leaf.value.reshape(-1)[flat]):.8g}"
            if number is float
            else str(number(wanted.leaf.value.reshape(-1)[flat])),
            got=f"{float(got.reshape(-1)[flat]):.8g}" if number is float else str(int(got.reshape(-1)[flat])),
            error_over_tolerance=min(error, FAR),
            wrong_elements=wrong,
            elements=got.numel(),
            place=wanted.leaf.place,
            missing=self.missing,
        )


def _form(result: Result) -> str:
    value = result.leaf.value
    return form(value) if result.dtype is None else f"{tuple(value.shape)} {str(result.dtype).removeprefix('torch.')}"


def _exact(got: Any, wanted: Result, about: _About, index: Index | None, truth: Truth) -> Any:
    """Compare integers, booleans and plain values: exactly, and positions by the values that they point at."""
    import torch

    true = wanted.leaf.value
    if not torch.is_tensor(true):
        return (0.0, 0.0) if got == true or repr(got) == repr(true) == "nan" else about.of_form(repr(true), repr(got))
    got = got.to(true.device)
    wrong = got != true
    if index is not None:
        wrong = _points_elsewhere(got, true, tensors(truth.inputs)[index.input], index.dim)
    count = int(wrong.sum())
    if not count:
        return (0.0, 0.0)
    return about.of_element(wanted, got, int(wrong.reshape(-1).int().argmax()), FAR, count)


def _points_elsewhere(got: torch.Tensor, true: torch.Tensor, values: torch.Tensor, dim: int) -> torch.Tensor:
    """Return where positions point at another value than the true ones, outside of the input, or twice at one place."""
    shape = got.shape
    if not shape:  # of the whole input
        values, dim = values.reshape(-1), 0
        got, true = got.reshape(1), true.reshape(1)
    elif got.dim() < values.dim():
        got, true = got.unsqueeze(dim), true.unsqueeze(dim)
    size = values.shape[dim]
    wrong = (got < 0) | (got >= size)
    inside = got.clamp(0, size - 1)
    wrong |= values.gather(dim, inside) != values.gather(dim, true)
    order = inside.sort(dim)
    twice = order.values.diff(dim=dim) == 0
    if twice.numel():
        later = order.indices.narrow(dim, 1, twice.shape[dim])
        wrong = wrong.scatter(dim, later, twice | wrong.gather(dim, later))
    return wrong.reshape(shape)


def _close(got: Any, wanted: Result, about: _About) -> tuple[float, float] | Mismatch:
    """Compare floats slice by slice, each element with what its terms allow."""
    import torch

    true = wanted.leaf.value
    limits = torch.finfo(wanted.dtype)
    floor = (
        limits.smallest_normal
        if limits.dtype in ("float32", "bfloat16", "float64")
        else limits.smallest_normal * limits.eps
    )
    flat = [None if x is None else x.reshape(-1) for x in (got, true, wanted.scale, wanted.own)]
    largest, far, worst, wrong = 0.0, 0.0, 0, 0
    for start in range(0, true.numel(), SLICE):
        part, truth, scale, own = (None if x is None else x[start : start + SLICE] for x in flat)
        assert part is not None
        assert truth is not None
        assert scale is not None
        values = part.to(truth.device).double()
        off = (values - truth).abs_()
        allowed = scale.double().mul_(wanted.share).masked_fill_(scale == 0, wanted.zero)
        fine = (values == truth) | (values.isnan() & truth.isnan())
        if own is not None:
            theirs = own.double()
            allowed = torch.maximum(allowed, (theirs - truth).abs_().mul_(2).nan_to_num_(0, 0, 0))
            overflows = ((values == theirs) & values.isinf()) | (values.isnan() & theirs.isnan())
            fine |= overflows  # the reference does so there, too
        fine |= values.isinf() & (truth.abs() > limits.max) & (values.sign() == truth.sign())
        ratio = (off / allowed.add_(floor)).nan_to_num_(float("inf"), float("inf"))
        ratio = torch.where(truth.isfinite(), ratio, float("inf")).masked_fill_(fine, 0)
        top = float(ratio.max())
        if top > far:
            far, worst = top, start + int(ratio.argmax())
        wrong += int((ratio > 1).sum())
        largest = max(largest, float(off.masked_fill_(fine, 0).nan_to_num_(0, 0, 0).max()))
    return about.of_element(wanted, got, worst, far, wrong) if far > 1 else (largest, far)
