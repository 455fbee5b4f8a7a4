"""What a right result is, and how far from it a result may be: the error model.

The truth is the reference in float64 on the same inputs and parameters. An element's error is measured against the size
of the terms that it is made of, so that neither cancellation nor a neighbour's size decides. That size is

    scale = |truth| + |change of the result for inputs and parameters that change by one part, at random| + a tenth of
            the median of both in the neighbourhood (`BLOCK` elements in memory)

The change is measured: the reference runs `PROBES` more times in float64, every input and parameter multiplied by
1 + or - STEP times 0.5 to 1.5. Of a sum it is the root of the sum of the squared terms, of an elementwise function
|x f'(x)|. All probes of one element in some millions cancel by chance: where a version is outside by little, the change
is measured again with `CLOSER` probes (`Truth.look_closer`).

A result may be off by `share` times the scale, where share is the largest of

- the unit of the result's dtype: one in the last place of 16 and 8 bits, sixteen of float32 and float64;
- sqrt(K) units of float32 for sums of K terms (the root of the length, as rounding errors add up at random: Higham and
  Mary, SIAM J. Sci. Comput. 41(5), 2019), which lets one float32 accumulator pass;
- (K / 32 + sqrt(K)) x 2^-13 for products of K terms whose factors have 8 bits (`allowed.EIGHT_BIT_STEP`);
- twice the reference's own error in the working dtype on the same inputs.

TF32 products are off by 3e-4 of the scale, float16 sums by more: both are outside for float32 up to K of some millions.
An element may always be off by twice what the reference itself is off there, and by the smallest number that its dtype
keeps (of bfloat16 and float32 the smallest normal one: GPUs may flush what is below).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rooflift.project.cases import Case
from rooflift.worker.allowed import SLICE, STEPS, bound, size_of_terms
from rooflift.worker.inputs import clones, seed_everything, tensors
from rooflift.worker.memory import parts, peak_bytes
from rooflift.worker.poison import poisoned_memory
from rooflift.worker.results import Leaf, Result, is_float, leaves
from rooflift.worker.tensors import make_reference
from rooflift.worker.wide import afterwards, run_wide, sliced, spread_of

if TYPE_CHECKING:
    import torch


CLOSER = 16  # probes: the least of 10^8 estimates is a fifth of the truth, with 4 it is a hundredth
LEAST = 1 << 24  # elements of a result below which the memory is not worth asking whether its rows are independent


@dataclass(slots=True)
class Truth:
    """What the reference gives for one case and seed; it serves every version."""

    model: Any  # the reference, in the working dtype
    inputs: list[Any]  # as they are before a call; nobody may change them
    results: list[Result]
    changed: frozenset[int]  # the input tensors that the reference changes itself: they are results, too
    note: str = ""  # what a reader should know: a constant result, random numbers
    measured_again: Callable[[], list[Result]] | None = None  # the results with scales of more probes

    def look_closer(self) -> bool:
        """Measure the scales of the results with more probes, once; tell whether they are other ones now."""
        import torch

        again, self.measured_again = self.measured_again, None
        if again is None:
            return False
        try:
            self.results = again()
        except torch.OutOfMemoryError:  # beside what a version gave
            return False
        return True


def find_truth(
    reference: ModuleType, case: Case, device: str, seed: int, inputs: list[Any], drawn_on: str = "cpu"
) -> Truth:
    """Run the reference in the working dtype, in float64, and in float64 on inputs that are changed a little.

    Its parameters are those of `seed` and of `drawn_on`, as `make_model` says.
    """
    import torch

    with torch.no_grad(), precision(case.allow_tf32):
        model = make_reference(reference, case, device, seed, drawn_on)
        with peak_bytes(device) as peak:
            own, changed, random = _in_working_dtype(model, inputs, seed)
        if own is not None and random:
            return _random_truth(model, inputs, own, changed)
        rows = _independent_rows(model, inputs, own, changed, seed)
        for pieces in parts(case, device, inputs, own or [], peak[0], rows):
            with contextlib.suppress(torch.OutOfMemoryError):
                return _wide_truth(model, inputs, own, seed, changed, case, pieces)
    raise AssertionError  # parts ends with an error


def _wide_truth(
    model: Any,
    inputs: list[Any],
    own: list[Leaf] | None,
    seed: int,
    changed: frozenset[int],
    case: Case,
    pieces: Sequence[range],
) -> Truth:
    """Run the reference in float64, piece by piece."""
    import torch

    true, lengths = run_wide(model, inputs, seed, changed, pieces)

    def results(probes: int | None = None) -> list[Result]:
        found = []
        with torch.no_grad(), precision(case.allow_tf32):
            spread = spread_of(model, inputs, true, seed, changed, pieces, probes)
        for place, leaf in enumerate(true):
            mine = own[place].value if own is not None else None
            result = Result(leaf, _dtype(leaf.value, mine, case), mine)
            if is_float(leaf.value):
                bound(result, spread[place], case, lengths, inputs)
            found.append(result)
        return found

    first = results()
    return Truth(model, inputs, first, changed, _constant(first), partial(results, CLOSER))


def _independent_rows(model: Any, inputs: list[Any], own: list[Leaf] | None, changed: frozenset[int], seed: int) -> int:
    """Return the first dimension of results whose rows come from the same rows of the inputs alone; 1 if they do not.

    It is tried: the reference on the first and on the last rows gives the same to within float32's or its dtype's
    rounding. The statistics of a batch differ by 1 / sqrt(elements), which is more.
    """
    import torch

    values = [leaf.value for leaf in own or []]
    if changed or not values or not all(torch.is_tensor(x) and x.dim() for x in values):
        return 1
    size = len(values[0])
    if max(x.numel() for x in values) < LEAST or any(len(x) != size for x in values):
        return 1
    for part in (range(size // 8 or 1), range(size - (size // 8 or 1), size)):
        seed_everything(seed)
        try:
            with poisoned_memory():
                found = [x for _, x in leaves(model(*clones(sliced(inputs, size, part))))]
        except Exception:  # noqa: BLE001  # a reference may refuse other sizes in any way
            return 1
        pairs = [(some, whole[part.start : part.stop]) for some, whole in zip(found, values, strict=True)]
        if not all(some.shape == whole.shape and _alike(some, whole) for some, whole in pairs):
            return 1
    return size


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    if not is_float(one):
        return torch.equal(one, other)
    step = 64 * torch.finfo(one.dtype).eps
    flat, same = one.reshape(-1), other.reshape(-1)
    size = float(same[:SLICE].float().square().mean().sqrt())
    return all(
        torch.allclose(flat[at : at + SLICE], same[at : at + SLICE], rtol=step, atol=step * size, equal_nan=True)
        for at in range(0, len(flat), SLICE)
    )


@contextlib.contextmanager
def precision(allow_tf32: bool) -> Iterator[None]:
    """Multiply float32 matrices and convolutions on tensor cores (TF32) only where it is allowed."""
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allow_tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _in_working_dtype(model: Any, inputs: list[Any], seed: int) -> tuple[list[Leaf] | None, frozenset[int], bool]:
    """Return the reference's results, the inputs that it changes, and whether it draws random numbers.

    None where torch cannot compute it in this dtype: then its own error is not known.
    """
    import torch

    given = clones(inputs)
    seed_everything(seed)
    before = _generator_states()
    try:
        with poisoned_memory():  # in the mode of a check: cuDNN's deterministic algorithms round otherwise
            found = leaves(model(*given))
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return None, frozenset(), False
    random = any(not torch.equal(x, y) for x, y in zip(before, _generator_states(), strict=True))
    changed = frozenset(n for n, (x, y) in enumerate(zip(tensors(inputs), tensors(given), strict=True)) if differ(x, y))
    return [*found, *afterwards(given, changed)], changed, random


def differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold different bits in any element, NaN included, slice by slice."""
    import torch

    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

    def bits(x: torch.Tensor) -> torch.Tensor:
        return x.contiguous().view(integers[x.element_size()]) if x.is_floating_point() else x

    one, other = one.detach(), other.detach()
    if one.shape != other.shape:
        return True
    if one.dim() == 0:
        return not torch.equal(bits(one.reshape(1)), bits(other.reshape(1)))
    step = max(1, SLICE * len(one) // max(one.numel(), 1))
    return any(
        not torch.equal(bits(one[start : start + step]), bits(other[start : start + step]))
        for start in range(0, len(one), step)
    )


def _generator_states() -> list[torch.Tensor]:
    import torch

    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def _dtype(true: Any, own: Any, case: Case) -> Any:
    import torch

    if not torch.is_tensor(true):
        return None
    if own is not None:
        return own.dtype
    return getattr(torch, case.dtype) if true.is_floating_point() else true.dtype


def _random_truth(model: Any, inputs: list[Any], own: list[Leaf], changed: frozenset[int]) -> Truth:
    """Return the truth of a reference that draws random numbers: itself in the working dtype, under the same seed."""
    import torch

    results = []
    for leaf in own:
        wide = Leaf(leaf.place, leaf.value.double() if is_float(leaf.value) else leaf.value)
        result = Result(wide, leaf.value.dtype if torch.is_tensor(leaf.value) else None)
        if is_float(leaf.value):
            result.scale = size_of_terms(wide.value, None)
            result.share = STEPS * torch.finfo(leaf.value.dtype).eps
        results.append(result)
    note = "the reference draws random numbers: compared with it in its own dtype, under one seed"
    return Truth(model, inputs, results, changed, note)


def _constant(results: Sequence[Result]) -> str:
    """Return a warning for a reference whose every result is one number: what computes nothing agrees with it."""
    import torch

    values = [r.leaf.value for r in results if torch.is_tensor(r.leaf.value) and r.leaf.value.numel() > 1]
    if values and all(bool((x == x.reshape(-1)[0]).all()) for x in values):
        return f"the reference gives {float(values[0].reshape(-1)[0]) + 0.0:g} everywhere: what computes nothing agrees"
    return ""
