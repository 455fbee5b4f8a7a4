"""Small operators, one for each kind of input and result; the tests write them into folders.

An operator is its reference's forward, its kernel file's body, its cases, and a change of the kernel that makes it
wrong in the way that only this kind of input shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REFERENCE = """import torch
import torch.nn.functional as F

{top}
class Model(torch.nn.Module):
{init}    def forward({arguments}):
{forward}

def get_inputs(): ...
def get_init_inputs(): return []
"""
VERSION = '''"""{name}.

Stage:   tiling
Change:  none
Why:     none
Expect:  none
"""

import torch
import triton
import triton.language as tl


@triton.jit
{kernel}

class ModelNew(torch.nn.Module):
{init}    def forward({arguments}):
{launch}
'''
CASES = """
[main]
inputs = {inputs}
use = ["bench", "test"]
{more}
"""


@dataclass(frozen=True)
class Kind:
    """One operator as text."""

    arguments: str
    forward: str
    kernel: str
    launch: str
    inputs: str
    right: str  # a part of kernel or launch
    wrong: str  # what stands in its place in a version that must be refused
    more: str = 'dtypes = ["float32"]'
    top: str = ""
    init: str = ""

    def write(self, folder: Path) -> None:
        """Write reference.py, cases.toml, v0_right.py and v1_wrong.py."""
        folder.mkdir(parents=True)
        init = _indented(self.init, 4)
        arguments = ", ".join(("self", self.arguments))
        reference = REFERENCE.format(top=self.top, init=init, arguments=arguments, forward=_indented(self.forward, 8))
        (folder / "reference.py").write_text(reference)
        (folder / "cases.toml").write_text(CASES.format(inputs=self.inputs, more=self.more))
        version = VERSION.format(
            name=folder.name,
            kernel=self.kernel.strip("\n") + "\n",
            init=init,
            arguments=arguments,
            launch=_indented(self.launch, 8),
        )
        assert version.count(self.right) == 1, folder.name
        (folder / "v0_right.py").write_text(version)
        (folder / "v1_wrong.py").write_text(version.replace(self.right, self.wrong))


def _indented(text: str, by: int) -> str:
    return "".join(" " * by + line + "\n" for line in text.strip("\n").splitlines())


ELEMENTWISE = """
def kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, {0}, mask=at < n)
"""
LAUNCH = """
y = torch.empty_like(x)
kernel[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), BLOCK=64)
return y
"""

KINDS = {
    "int64_labels": Kind(
        "logits, target, smoothing",
        "return F.cross_entropy(logits, target, label_smoothing=smoothing)",
        """
def kernel(x_ptr, t_ptr, y_ptr, smoothing, rows, columns, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * columns + at, mask=at < columns, other=-float("inf")).to(tl.float32)
    label = tl.load(t_ptr + row)
    top = tl.max(x, 0)
    total = tl.log(tl.sum(tl.exp(x - top), 0)) + top
    loss = total - tl.sum(tl.where(at == label, x, 0.0), 0)
    smooth = total - tl.sum(tl.where(at < columns, x, 0.0), 0) / columns
    tl.atomic_add(y_ptr, ((1 - smoothing) * loss + smoothing * smooth) / rows)
""",
        """
loss = torch.zeros((), dtype=torch.float32, device=logits.device)
rows, columns = logits.shape
kernel[(rows,)](logits, target, loss, smoothing, rows, columns, BLOCK=triton.next_power_of_2(columns))
return loss.to(logits.dtype)
""",
        '[["N", "V"], { shape = ["N"], dtype = "int64", values = "integers", high = "V" }, 0.1]',
        "at == label",
        "at == label % 32",
        "sizes = { N = 5, V = 37 }\n",
    ),
    "bool_mask": Kind(
        "x, keep",
        "return x.masked_fill(~keep, 0).cumsum(1)",
        """
def kernel(x_ptr, keep_ptr, y_ptr, columns, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    place = tl.program_id(0) * columns + at
    keep = tl.load(keep_ptr + place, mask=at < columns, other=0)
    x = tl.load(x_ptr + place, mask=at < columns, other=0.0)
    x = tl.where(keep, x.to(tl.float32), 0.0)
    tl.store(y_ptr + place, tl.cumsum(x, 0).to(y_ptr.dtype.element_ty), mask=at < columns)
""",
        """
y = torch.empty_like(x)
kernel[(x.shape[0],)](x, keep, y, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
return y
""",
        '[[3, 21], { shape = [3, 21], dtype = "bool", share = 0.8 }]',
        "tl.where(keep, ",
        "tl.where(keep | (at == 20), ",
        "",
    ),
    "python_scalar": Kind(
        "x, s, double",
        "return x * s * (2 if double else 1)",
        """
def kernel(x_ptr, y_ptr, s, double, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n).to(tl.float32) * s
    if double:
        x *= 2
    tl.store(y_ptr + at, x.to(y_ptr.dtype.element_ty), mask=at < n)
""",
        """
assert x.is_cuda
y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
kernel[(triton.cdiv(x.numel(), 64),)](x, y, s, double, x.numel(), BLOCK=64)
return y
""",
        "[[7, 19], 3.14, true]",
        "* s\n",
        "* 3\n",
        "",
    ),
    "list_of_tensors": Kind(
        "xs, weights",
        "return sum(w * x for x, w in zip(xs, weights))",
        """
def kernel(x_ptr, y_ptr, weight, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(y_ptr + at, mask=at < n) + weight * tl.load(x_ptr + at, mask=at < n)
    tl.store(y_ptr + at, y, mask=at < n)
""",
        """
y = torch.zeros_like(xs[0])
for x, weight in zip(xs, weights):
    kernel[(triton.cdiv(x.numel(), 64),)](x, y, weight, x.numel(), BLOCK=64)
return y
""",
        "[{ items = [[4, 9], [4, 9], [4, 9]] }, { items = [{ value = 0.5 }, { value = -1.0 }, { value = 2 }] }]",
        "zip(xs, weights)",
        "zip(xs[:2], weights)",
    ),
    "fp8_with_scale": Kind(
        "a, b, scale",
        "return (a.float() @ b.float().T) * scale",
        """
def kernel(a_ptr, b_ptr, scale_ptr, y_ptr, K, SIZE: tl.constexpr, BLOCK_K: tl.constexpr):
    row, column, k = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :], tl.arange(0, BLOCK_K)
    y = tl.zeros((SIZE, SIZE), tl.float32)
    for start in range(0, K, BLOCK_K):
        a = tl.load(a_ptr + row * K + (start + k)[None, :])
        b = tl.load(b_ptr + column * K + (start + k)[:, None])
        y = tl.dot(a, b, y)
    tl.store(y_ptr + row * SIZE + column, y * tl.load(scale_ptr))
""",
        """
y = torch.empty(a.shape[0], b.shape[0], dtype=torch.float32, device=a.device)
kernel[(1,)](a, b, scale, y, a.shape[1], SIZE=16, BLOCK_K=32)
return y
""",
        '[{ shape = [16, 64], dtype = "float8_e4m3fn" }, { shape = [16, 64], dtype = "float8_e4m3fn" }, '
        '{ shape = [], dtype = "float32", values = "uniform", low = 0.5 }]',
        "range(0, K, BLOCK_K)",
        "range(0, K - BLOCK_K, BLOCK_K)",
    ),
    "strides": Kind(
        "x, z, t",
        "return x + z.to(x.dtype) + t.sum()",
        """
def kernel(x_ptr, z_ptr, t_ptr, y_ptr, C, H, W, xn, xc, xh, xw, zn, zc, zh, zw, t0, t1, BLOCK: tl.constexpr):
    plane, at = tl.program_id(0), tl.arange(0, BLOCK)
    n, c, h, w = plane // C, plane % C, at // W, at % W
    inside = at < H * W
    x = tl.load(x_ptr + n * xn + c * xc + h * xh + w * xw, mask=inside).to(tl.float32)
    z = tl.load(z_ptr + n * zn + c * zc + h * zh + w * zw, mask=inside).to(tl.float32)
    total = 0.0
    for i in range(4):
        total += tl.load(t_ptr + i // 2 * t0 + i % 2 * t1).to(tl.float32)
    tl.store(y_ptr + plane * H * W + at, (x + z + total).to(y_ptr.dtype.element_ty), mask=inside)
""",
        """
y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
n, c, h, w = x.shape
block = triton.next_power_of_2(h * w)
kernel[(n * c,)](x, z, t, y, c, h, w, *x.stride(), *z.stride(), *t.stride(), BLOCK=block)
return y
""",
        '[{ shape = [2, 3, 4, 5], layout = "channels_last" }, { shape = [2, 3, 4, 5], layout = "sliced" }, '
        '{ shape = [2, 2], layout = "transposed" }]',
        "w * xw",
        "w",
    ),
    "none": Kind(
        "x, bias",
        "return x if bias is None else x + bias",
        """
def kernel(x_ptr, bias_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    if bias_ptr is not None:
        x += tl.load(bias_ptr + at, mask=at < n)
    tl.store(y_ptr + at, x, mask=at < n)
""",
        """
y = torch.empty_like(x)
kernel[(1,)](x, bias, y, x.numel(), BLOCK=64)
return y
""",
        "[[50], { none = true }]",
        "is not None:",
        "is None:\n        x += 1\n    else:",
        'dtypes = ["float32"]\n\n[biased]\ninputs = [[50], [50]]\nuse = ["test"]\ndtypes = ["float32"]',
    ),
    "mixed_dtypes": Kind(
        "x, scale",
        "return (x.float() * scale[:, None]).to(x.dtype)",
        """
def kernel(x_ptr, scale_ptr, y_ptr, columns, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    place = tl.program_id(0) * columns + at
    x = tl.load(x_ptr + place, mask=at < columns).to(tl.float32)
    y = x * tl.load(scale_ptr + tl.program_id(0))
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), mask=at < columns)
""",
        """
y = torch.empty_like(x)
kernel[(x.shape[0],)](x, scale, y, x.shape[1], BLOCK=32)
return y
""",
        '[[6, 23], { shape = [6], dtype = "float32", values = "uniform", low = 1000.0, high = 1100.0 }]',
        "scale_ptr + tl.program_id(0)",
        "scale_ptr + tl.program_id(0) // 2",
        'dtypes = ["float16", "bfloat16"]',
    ),
    "two_dtypes_of_results": Kind(
        "x",
        "return x.float().softmax(1).to(x.dtype), x.float().logsumexp(1)",
        """
def kernel(x_ptr, y_ptr, total_ptr, columns, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * columns + at, mask=at < columns, other=-float("inf")).to(tl.float32)
    top = tl.max(x, 0)
    total = tl.sum(tl.exp(x - top), 0)
    tl.store(y_ptr + row * columns + at, (tl.exp(x - top) / total).to(y_ptr.dtype.element_ty), mask=at < columns)
    tl.store(total_ptr + row, tl.log(total) + top)
""",
        """
y, total = torch.empty_like(x), torch.empty(x.shape[0], dtype=torch.float32, device=x.device)
kernel[(x.shape[0],)](x, y, total, x.shape[1], BLOCK=triton.next_power_of_2(x.shape[1]))
return y, total
""",
        "[[4, 33]]",
        "tl.log(total) + top",
        "(tl.log(total) + top).to(tl.bfloat16)",
        'dtypes = ["bfloat16"]',
    ),
    "in_place": Kind(
        "x, y",
        "return y.add_(x)",
        """
def kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    x, y = tl.load(x_ptr + at, mask=at < n), tl.load(y_ptr + at, mask=at < n)
    tl.store(y_ptr + at, x + y, mask=at < n)
""",
        """
kernel[(1,)](x, y, x.numel(), BLOCK=64)
return y
""",
        "[[45], [45]]",
        "kernel[(1,)](x, y,",
        "y = y.clone()\n        kernel[(1,)](x, y,",
    ),
    "argmax_with_ties": Kind(
        "x",
        "return x.argmax(1)",
        """
def kernel(x_ptr, y_ptr, columns, BLOCK: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * columns + at, mask=at < columns, other=-float("inf")).to(tl.float32)
    last = tl.max(tl.where(x == tl.max(x, 0), at, -1), 0)
    tl.store(y_ptr + row, last.to(tl.int64))
""",
        """
y = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
kernel[(x.shape[0],)](x, y, x.shape[1], BLOCK=64)
return y
""",
        '[{ shape = [6, 40], values = "labels", choices = [0, 1, 2] }]',
        "at, -1)",
        "at, -1) - 1",
        "index = [{ output = 0, input = 0, dim = 1 }]",
    ),
    "named_sizes": Kind(
        "a, b",
        "return a @ b",
        """
def kernel(a_ptr, b_ptr, y_ptr, M, N, K, BLOCK: tl.constexpr):
    row, column, k = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :], tl.arange(0, BLOCK)
    y = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, tl.cdiv(K, BLOCK)):
        at = (start * BLOCK).to(tl.int64) + k
        a = tl.load(a_ptr + row * K + at[None, :], mask=(row < M) & (at < K)[None, :], other=0.0)
        b = tl.load(b_ptr + at[:, None] * N + column, mask=(at < K)[:, None] & (column < N), other=0.0)
        y = tl.dot(a, b, y, input_precision="ieee")
    tl.store(y_ptr + row * N + column, y.to(y_ptr.dtype.element_ty), mask=(row < M) & (column < N))
""",
        """
y = a.new_empty(a.shape[0], b.shape[1])
kernel[(1,)](a, b, y, a.shape[0], b.shape[1], a.shape[1], BLOCK=32)
return y
""",
        '[["M", "K"], ["K", "N"]]',
        ', input_precision="ieee"',
        "",
        'sizes = { M = 9, N = 17, K = "4 * M + 3" }',
    ),
    "tf32_where_the_case_allows_it": Kind(
        "a, b",
        "return a @ b.T",
        """
def kernel(a_ptr, b_ptr, y_ptr, K, SIZE: tl.constexpr):
    row, column, k = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :], tl.arange(0, SIZE)
    y = tl.zeros((SIZE, SIZE), tl.float32)
    for start in range(0, K, SIZE):
        a = tl.load(a_ptr + row * K + (start + k)[None, :])
        b = tl.load(b_ptr + column * K + (start + k)[:, None])
        y = tl.dot(a, b, y)
    tl.store(y_ptr + row * SIZE + column, y)
""",
        """
y = a.new_empty(a.shape[0], b.shape[0])
kernel[(1,)](a, b, y, a.shape[1], SIZE=16)
return y
""",
        "[[16, 256], [16, 256]]",
        "y = tl.dot(a, b, y)",
        "y = (y + tl.dot(a, b)).to(tl.bfloat16).to(tl.float32)",
        'dtypes = ["float32"]\nallow_tf32 = true',
    ),
    "constants": Kind(
        "x",
        "return x * FACTOR + self.shift",
        ELEMENTWISE.format("x * 3 + shift").replace("n, BLOCK", "shift, n, BLOCK"),
        LAUNCH.replace("x, y, x.numel()", "x, y, self.shift, x.numel()"),
        "[[30]]",
        "x * 3",
        "x * 2",
        'dtypes = ["float32"]\nconstants = { FACTOR = 3 }\ninit = { shift = 0.25 }',
        "FACTOR = 2",
        "def __init__(self, shift):\n    super().__init__()\n    self.shift = shift\n",
    ),
}
