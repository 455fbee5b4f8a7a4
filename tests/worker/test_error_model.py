"""Two lists: results that a version may give, and results that it may not. All on the CPU, with torch as the kernel."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  # torch's own name for it

from rooflift.project.cases import Case, Index
from rooflift.project.inputs import Entry, Input
from rooflift.schema import CheckRecord
from rooflift.worker.correctness import check_version
from rooflift.worker.protocol import Mismatch


def judge(
    reference: type[nn.Module],
    version: type[nn.Module],
    inputs: list[Entry] | Callable[[], list[Any]],
    dtype: str = "float32",
    seed: int = 0,
    **fields: Any,
) -> CheckRecord | Mismatch:
    """Check a version against a reference on inputs that are described, or made by the reference's own get_inputs."""
    own = callable(inputs)
    case = Case("small", {}, None if own else inputs, (dtype,), **fields)  # type: ignore[arg-type]
    plain = SimpleNamespace(Model=reference, get_inputs=inputs if own else None, get_init_inputs=list)
    return check_version("v1_probe", SimpleNamespace(ModelNew=version), plain, case, "cpu", seed)  # type: ignore[arg-type]


def module(forward: Callable[..., Any]) -> type[nn.Module]:
    class Plain(nn.Module):
        def forward(self, *inputs: Any) -> Any:
            return forward(*inputs)

    return Plain


def passes(*arguments: Any, **named: Any) -> CheckRecord:
    found = judge(*arguments, **named)
    assert isinstance(found, CheckRecord), found
    return found


def fails(*arguments: Any, **named: Any) -> Mismatch:
    found = judge(*arguments, **named)
    assert isinstance(found, Mismatch), found
    return found


def one_accumulator(x: torch.Tensor, w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return x @ w of one row, term after term in one accumulator of a dtype."""
    terms = (x.double() * w.double().T).numpy().astype(torch.zeros((), dtype=dtype).numpy().dtype)
    return torch.from_numpy(terms.cumsum(axis=-1, dtype=terms.dtype)[..., -1:])


def tf32(x: torch.Tensor) -> torch.Tensor:
    """Round float32 to TF32: 10 bits behind the point, to nearest."""
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


matmul = module(torch.matmul)
attention = module(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))


def flash(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention as kernels compute it: scores and sums in float32, probabilities rounded for the second product."""
    scores = (q.float() @ k.float().mT) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    p = (scores - scores.amax(-1, keepdim=True)).exp()
    return ((p.to(q.dtype).float() @ v.float()) / p.sum(-1, keepdim=True)).to(q.dtype)


# --- what must pass -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("length", [33, 300])
def test_flash_attention_with_16_bit_probabilities_passes(length: int, dtype: str, seed: int) -> None:
    passes(attention, module(flash), [[1, 2, length, 64]] * 3, dtype, seed)


@pytest.mark.parametrize("length", [4096, pytest.param(1_048_576, marks=pytest.mark.slow)])
def test_a_long_product_in_one_float32_accumulator_passes(length: int) -> None:
    version = module(lambda x, w: one_accumulator(x, w, torch.float32))
    for seed in (0, 1):
        passes(matmul, version, [[4, length], [length, 1]], seed=seed)


def test_a_long_product_of_positive_numbers_in_one_float32_accumulator_passes() -> None:
    """KernelBench's product with K of 524288, whose inputs are uniform."""
    version = module(lambda x, w: one_accumulator(x, w, torch.float32))
    passes(matmul, version, lambda: [torch.rand(8, 524_288), torch.rand(524_288, 1)])


def two_equal_maxima() -> list[torch.Tensor]:
    x = torch.randn(256, 4096)
    x[:, :2] = 70.0
    return [x]


def test_exponentials_whose_argument_is_rounded_pass_where_the_row_has_two_equal_maxima() -> None:
    """A GPU's exp is exp2 of a rounded product, off by the rounding of an argument of 100."""

    def softmax(x: torch.Tensor) -> torch.Tensor:
        e = torch.exp2((x - x.amax(-1, keepdim=True)) * torch.tensor(math.log2(math.e)))
        return e / e.sum(-1, keepdim=True)

    passes(module(lambda x: x.softmax(-1)), module(softmax), two_equal_maxima)


def test_a_sum_that_cancels_is_held_to_its_terms_however_small_they_are() -> None:
    """The square of 1e-25 is below what float32 holds."""
    reference = module(lambda x: (x * 1e-25).sum(-1))
    passes(reference, module(lambda x: (x.flip(-1) * 1e-25).cumsum(-1)[:, -1]), [[65_536, 64]])
    fails(reference, module(lambda x: (x[:, 1:] * 1e-25).sum(-1)), [[64, 64]])


@pytest.mark.parametrize("length", [4096, 65_536])
def test_a_softmax_whose_sum_is_one_float32_accumulator_passes(length: int) -> None:
    def softmax(x: torch.Tensor) -> torch.Tensor:
        e = (x - x.amax(-1, keepdim=True)).exp()
        return e / torch.from_numpy(e.numpy().cumsum(axis=-1, dtype="float32")[..., -1:])

    passes(module(lambda x: x.softmax(-1)), module(softmax), [[8, length]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_softmax_over_a_long_row_that_is_rounded_once_passes(dtype: str) -> None:
    """In float16 most of its results lie below the smallest normal number."""
    softmax = module(lambda x: x.softmax(-1))
    version = module(lambda x: x.double().softmax(-1).to(x.dtype))
    passes(softmax, version, [[2, 393_216]], dtype)


def test_nan_where_the_reference_overflows_in_its_own_dtype_passes() -> None:
    """In float16 its inf - inf is nan; a version is held to what the reference gives in the dtype."""
    overflowing = module(lambda x: (x * 1e4).cumsum(-1) - (x * 1e4).cumsum(-1).roll(1, -1))
    version = module(lambda x: (x * 1e4).cumsum(-1) - (x * 1e4).cumsum(-1).roll(1, -1))
    passes(overflowing, version, lambda: [torch.rand(4, 64) + 1], "float16")
    fails(overflowing, module(lambda x: torch.full_like(x, math.nan)), lambda: [torch.rand(4, 64) + 1], "float16")


def test_a_sum_that_float16_cannot_hold_may_be_infinite() -> None:
    total = module(lambda x: x.sum(-1))
    passes(total, module(lambda x: x.float().sum(-1).half()), lambda: [torch.rand(4, 300_000)], "float16")


def test_nan_where_the_reference_has_nan_passes() -> None:
    masked = module(lambda x: x.masked_fill(torch.tensor([True, False]).view(2, 1), -math.inf).softmax(-1))
    passes(masked, masked, [[2, 5]])


def test_a_rounding_error_for_a_result_of_zero_passes() -> None:
    """The cross entropy of a single class is 0; log(exp(x)) - x is so but for rounding."""
    passes(module(lambda x: x.logsumexp(-1) - x[:, 0]), module(lambda x: 0.0 * x[:, 0] + 3e-8), [[7, 1]])


def test_results_of_a_dtype_of_their_own_pass() -> None:
    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.softmax(-1), x.float().logsumexp(-1)

    passes(module(forward), module(forward), [[4, 50]], "bfloat16")
    found = fails(module(forward), module(lambda x: (x.softmax(-1), x.logsumexp(-1))), [[4, 50]], "bfloat16")
    assert found.expected == "(4, 50) bfloat16, (4,) float32"


def test_results_of_8_bits_are_compared_in_their_own_steps() -> None:
    reference = module(lambda x: (x * 2).to(torch.float8_e4m3fn))
    passes(reference, module(lambda x: (x.float() * 2).to(torch.float8_e4m3fn)), [[640]], "bfloat16")
    fails(reference, module(lambda x: (x.float() * 2.6).to(torch.float8_e4m3fn)), [[640]], "bfloat16")
    fails(reference, module(lambda x: x * 2), [[640]], "bfloat16")


def test_complex_results_are_compared_as_floats() -> None:
    passes(module(torch.fft.fft), module(lambda x: torch.fft.fft(x.double()).to(torch.complex64)), [[64]])
    fails(module(torch.fft.fft), module(lambda x: torch.fft.fft(x).conj()), [[64]])
    fails(module(torch.fft.fft), module(lambda x: torch.fft.fft(x).real), [[64]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_reference_that_makes_its_own_state_passes(dtype: str) -> None:
    """An LSTM in the form of KernelBench: its first state is made in forward."""

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 16, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> Any:
            state = torch.zeros(2, x.shape[0], 16, dtype=x.dtype)
            return self.lstm(x, (state, state))

    passes(Lstm, Lstm, [[3, 5, 8]], dtype)


def test_a_reference_that_holds_a_function_of_its_own_layers_passes() -> None:
    """A block whose feed-forward part is a lambda: a copy of the block must not call the layers of the first one."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({"up": nn.Linear(8, 32), "down": nn.Linear(32, 8)})
            parts = self.parts
            self.feed = lambda x: parts.down(parts.up(x).relu())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.feed(x)

    passes(Block, Block, [[16, 8]])
    passes(Block, Block, [[16, 8]], "bfloat16")


def test_the_inputs_of_one_run_in_float64_are_gone_when_the_next_begins() -> None:
    """On a GPU they are the largest tensors of a comparison."""
    held: list[weakref.ref[torch.Tensor]] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float64:
            assert [ref() for ref in held] == [None] * len(held)
            held.append(weakref.ref(x))
        return 2 * x

    passes(module(forward), module(lambda x: 2 * x), [[8, 8]])
    assert len(held) >= 3


def test_a_reference_that_sets_constants_by_name_passes() -> None:
    class Set(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias, self.scale = (nn.Parameter(torch.empty(8)) for _ in range(3))
            nn.init.constant_(tensor=self.weight, val=1.0)
            nn.init.zeros_(tensor=self.bias)
            nn.init.constant_(self.scale, val=0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.weight + self.bias) * self.scale

    passes(Set, Set, [[16, 8]])
    fails(Set, module(lambda x: 0.5 * x), [[16, 8]])


def test_dicts_scalars_and_none_are_results() -> None:
    forward = module(lambda x: {"y": 2 * x, "more": [None, 3, 0.5, "sum"]})
    passes(forward, forward, [[4]])
    found = fails(forward, module(lambda x: {"y": 2 * x, "more": [None, 4, 0.5, "sum"]}), [[4]])
    assert (found.expected, found.got) == ("3", "4")


def test_an_update_in_place_that_the_reference_makes_passes_and_has_to_be_made() -> None:
    def forward(cache: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        cache[:2] = x
        return cache.sum(-1)

    inputs: list[Entry] = [[5, 8], [2, 8]]
    passes(module(forward), module(forward), inputs)
    found = fails(module(forward), module(lambda cache, x: torch.cat([x, cache[2:]]).sum(-1)), inputs)
    assert found.place == "input 0 afterwards"


@pytest.mark.parametrize("position", ["first", "last"])
def test_either_position_of_equal_values_passes_where_the_case_says_so(position: str) -> None:
    inputs: list[Entry] = [Input((6, 40), dtype="float32", values="labels", choices=(0.0, 1.0))]
    argmax = module(lambda x: x.argmax(-1))

    def pick(x: torch.Tensor) -> torch.Tensor:
        return x.argmax(-1) if position == "first" else 39 - x.flip(-1).argmax(-1)

    passes(argmax, module(pick), inputs, index=(Index(0, 0),))
    fails(argmax, module(lambda x: x.argmin(-1)), inputs, index=(Index(0, 0),))
    if position == "last":
        fails(argmax, module(pick), inputs)


def test_the_largest_elements_pass_in_any_order_of_equal_ones_but_not_one_of_them_twice() -> None:
    inputs: list[Entry] = [Input((4, 20), dtype="float32", values="labels", choices=(0.0, 1.0, 2.0))]
    top = module(lambda x: x.topk(3))
    index = (Index(1, 0),)

    def other(x: torch.Tensor) -> Any:
        values, places = x.flip(-1).topk(3)
        return values, 19 - places

    passes(top, module(other), inputs, index=index)
    fails(top, module(lambda x: (x.topk(3).values, x.topk(3).indices[:, :1].expand(-1, 3))), inputs, index=index)


def test_dropout_under_the_same_seed_passes() -> None:
    class Drop(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x, 0.5, self.training)

    found = passes(Drop, Drop, [[64, 64]])
    assert "random numbers" in found.note
    fails(Drop, module(lambda x: x), [[64, 64]])


def test_tf32_passes_where_the_case_allows_it() -> None:
    version = module(lambda x, w: tf32(x) @ tf32(w))
    passes(matmul, version, [[64, 512], [512, 64]], allow_tf32=True)


def hopper(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a b^T as Hopper adds products of 8-bit floats: 32 at a time, cut off at 2^-13 of the largest number.

    The sum so far is among what is aligned, and never promoted: torch._scaled_mm with fast accumulation.
    """

    def exponent(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x == 0, -100, torch.frexp(x).exponent - 1)

    def cut(x: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        unit = torch.ldexp(torch.ones(largest.shape), largest - 13)
        return (x / unit).trunc() * unit

    total = torch.zeros(len(a), len(b))
    for first in range(0, a.shape[1], 32):
        one, other = a[:, None, first : first + 32].float(), b[None, :, first : first + 32].float()
        largest = torch.maximum((exponent(one) + exponent(other)).amax(-1), exponent(total))
        total = cut(one * other, largest[..., None]).sum(-1) + cut(total, largest)
        total = cut(total, exponent(total))
    return total


def scaled_product(out: torch.dtype, product: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> type[nn.Module]:
    return module(lambda a, b, scale: (product(a, b) * scale[:, None]).to(out))


def plain_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.float() @ b.float().T


def eight_bit(rows: int, columns: int, terms: int) -> list[Entry]:
    return [[rows, terms], [columns, terms], Input((rows,), dtype="float32", values="uniform", low=0.5, high=1.5)]


@pytest.mark.parametrize(
    ("rows", "terms", "out", "seed"),
    [
        (256, 32, torch.float32, 0),
        (64, 500, torch.float32, 1),
        (32, 4096, torch.float32, 0),
        (32, 4096, torch.bfloat16, 1),
    ],
)
def test_an_fp8_product_of_hoppers_tensor_cores_passes(rows: int, terms: int, out: torch.dtype, seed: int) -> None:
    reference, version = scaled_product(out, plain_product), scaled_product(out, hopper)
    passes(reference, version, eight_bit(rows, rows, terms), "float8_e4m3fn", seed)


def test_a_product_that_is_rounded_before_its_bias_is_added_passes() -> None:
    """As eager torch does in 16 bits. Both cancel here, and among 2^20 elements all four probes of some do as well."""

    def inputs() -> list[torch.Tensor]:
        x, w = torch.randn(1024, 8), torch.randn(8, 1024)
        return [x, w, -(x.bfloat16().float() @ w.bfloat16().float()) * (1 + 2**-8 * torch.rand(1024, 1024))]

    reference = module(lambda x, w, b: (x.float() @ w.float() + b.float()).to(x.dtype))
    passes(reference, module(lambda x, w, b: (x.float() @ w.float()).to(x.dtype) + b), inputs, "bfloat16")


# --- what must fail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [64, 4096, pytest.param(1_048_576, marks=pytest.mark.slow)])
def test_tf32_in_a_float32_product_fails(length: int) -> None:
    found = fails(matmul, module(lambda x, w: tf32(x) @ tf32(w)), [[32, length], [length, 8]])
    assert found.error_over_tolerance > 3


@pytest.mark.parametrize("length", [64, 4096])
def test_float16_accumulation_in_a_float32_product_fails(length: int) -> None:
    fails(matmul, module(lambda x, w: one_accumulator(x, w, torch.float16).float()), [[16, length], [length, 1]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_zeros_where_results_are_small_fail(dtype: str) -> None:
    softmax = module(lambda x: x.softmax(-1))
    version = module(lambda x: torch.where(x.softmax(-1) < 2e-5, 0, x.softmax(-1)))
    fails(softmax, version, [[2, 100_000]], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("reduce", ["sum", "mean", "norm", "softmax"])
def test_a_dropped_tail_of_a_long_reduction_fails(reduce: str, dtype: str) -> None:
    """The last 37 of 100003 terms: nothing of the sum where all are alike, but edges are loud on every second seed."""
    forwards: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sum": lambda x: x.sum(-1),
        "mean": lambda x: x.abs().mean(-1),
        "norm": lambda x: x.float().square().mean(-1).sqrt().to(x.dtype),
        "softmax": lambda x: x.logsumexp(-1),
    }
    forward = forwards[reduce]
    found = [judge(module(forward), module(lambda x: forward(x[:, :-37])), [[4, 1003]], dtype, s) for s in (0, 1)]
    assert any(isinstance(one, Mismatch) for one in found)


def test_an_fp8_product_with_a_dropped_tail_or_a_wrong_scale_or_element_fails() -> None:
    out = torch.bfloat16

    def one_wrong(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        c = plain_product(a, b)
        largest = int(c.abs().argmax())
        c.view(-1)[largest] *= 1.1
        return c

    reference, inputs = scaled_product(out, plain_product), eight_bit(32, 32, 4096)
    versions = {
        "tail": scaled_product(out, lambda a, b: plain_product(a[:, :-37], b[:, :-37])),
        "scale": scaled_product(out, lambda a, b: 1.1 * plain_product(a, b)),
        "no scale": module(lambda a, b, scale: plain_product(a, b).to(out)),
        "element": scaled_product(out, one_wrong),
    }
    for name, version in versions.items():
        found = [judge(reference, version, inputs, "float8_e4m3fn", seed) for seed in (0, 1)]
        assert any(isinstance(one, Mismatch) for one in found), name


def test_one_wrong_element_among_many_fails() -> None:
    def version(x: torch.Tensor) -> torch.Tensor:
        y = 2 * x
        y.view(-1)[1_234_567] *= 1 + 1e-4
        return y

    found = fails(module(lambda x: 2 * x), module(version), [[2_000_000]])
    assert (found.index, found.wrong_elements) == ([1_234_567], 1)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_errors_beside_an_outlier_fail(dtype: str) -> None:
    size = 1e6 if dtype != "float16" else 6e4

    def inputs() -> list[torch.Tensor]:
        x = torch.randn(64, 64)
        x[3, 5] = size
        return [x]

    def version(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.abs() < 100, x * 1.3, x)

    found = fails(module(lambda x: 1 * x), module(version), inputs, dtype)
    assert found.wrong_elements > 4000


class Norm(nn.Module):
    """Layer norm as torch has it: weight 1 and bias 0 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


@pytest.mark.parametrize("left_out", ["weight", "bias", "both"])
def test_a_layer_norm_without_its_weight_or_bias_fails(left_out: str) -> None:
    class Without(Norm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = None if left_out in ("weight", "both") else self.norm.weight
            return F.layer_norm(x, (64,), weight, None if left_out in ("bias", "both") else self.norm.bias)

    passes(Norm, Norm, [[16, 64]])
    fails(Norm, Without, [[16, 64]])
    found = fails(Norm, module(lambda x: F.layer_norm(x, (64,))), [[16, 64]])
    assert set(found.missing) == {"norm.weight", "norm.bias"}


class BatchNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


def test_a_batch_norm_that_does_nothing_fails_and_an_honest_one_passes() -> None:
    """In the mode that a module has as constructed, training, the statistics are those of the batch."""

    class Honest(BatchNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
            scale, shift = self.norm.weight.view(1, -1, 1, 1), self.norm.bias.view(1, -1, 1, 1)
            return (x - mean) * torch.rsqrt(var + self.norm.eps) * scale + shift

    passes(BatchNorm, Honest, [[4, 8, 9, 9]])
    fails(BatchNorm, module(lambda x: 0.999995 * x), [[4, 8, 9, 9]])


def test_large_integers_that_differ_by_one_fail() -> None:
    integers: list[Entry] = [Input((4,), dtype="int64", values="integers", high=3)]
    fails(module(lambda x: x + 2**60), module(lambda x: x + 2**60 + 1), integers)


def test_a_changed_input_fails() -> None:
    found = fails(module(torch.relu), module(lambda x: x.relu_()), [[64]])
    assert found.got == "input 0 changed"


def test_a_reference_whose_result_is_constant_is_told() -> None:
    assert "gives 0 everywhere" in passes(module(lambda x: 0 * x), module(torch.zeros_like), [[8, 8]]).note


def test_a_version_that_gives_other_bits_each_time_is_told() -> None:
    calls: list[int] = []

    def drifts(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x * (1 + 2e-7 * len(calls))

    assert passes(module(lambda x: x), module(drifts), [[64]]).deterministic is False
    assert passes(module(lambda x: x), module(lambda x: x.clone()), [[64]]).deterministic is True
