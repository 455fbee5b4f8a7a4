"""Run in a process of its own: the roofs' kernels in Triton's interpreter, against numpy."""

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch

from rooflift.worker.roof_kernels import copy, exponentials, matrix_product, multiply_add, read, tile_product

torch.manual_seed(0)


def integers(n: int) -> torch.Tensor:
    return torch.randint(-(2**20), 2**20, (n,), dtype=torch.int32)


# copy: every element, once
source = integers(4 * 64)
target = torch.zeros_like(source)
copy[(4,)](source, target, BLOCK=64)
assert torch.equal(target, source)

# read: 5 programs take 6 steps of 2 blocks each, 60 blocks of a buffer of 12: every block five times
source = integers(12 * 64)
sums = torch.zeros(5, dtype=torch.int32)
read[(5,)](source, sums, 6, 12, BLOCK=64, LOADS=2)
everything = 5 * int(source.long().sum())
assert int(sums.long().sum()) == everything

# multiply_add: 3 steps of 4 multiply-adds, each rounded once
x = torch.randn(2 * 32)
y = torch.empty_like(x)
multiply_add[(2,)](x, y, 0.75, 3, LANES=32, UNROLL=4)
wanted, b = x.double(), x[:32].double().repeat(2)
for _ in range(12):
    wanted = 0.75 * wanted + b
torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)
multiply_add[(2,)](x, y, -1.0, 3, LANES=32, UNROLL=4)
torch.testing.assert_close(y, x, rtol=1e-5, atol=1e-5)  # an even number of x = b - x: it never grows

multiply_add[(2,)](x.double(), y64 := torch.empty(64, dtype=torch.float64), 0.75, 3, LANES=32, UNROLL=4)
torch.testing.assert_close(y64, wanted, rtol=1e-12, atol=1e-12)

# exponentials: 3 steps of 4
exponentials[(2,)](x, y, 3, LANES=32, UNROLL=4)
wanted = x.double()
for _ in range(12):
    wanted = torch.exp2(-wanted)
torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-5)

# tile_product: 3 times the product of the tiles that begin the matrices, summed by row, in each of 2 programs
a, b = torch.randn(32 * 16), torch.randn(16 * 16)
sums = torch.zeros(2 * 32)
tile_product[(2,)](a, b, sums, 3, M=32, N=16, K=16)
product = a.double().reshape(32, 16) @ b.double().reshape(16, 16).T
torch.testing.assert_close(sums.double(), 3 * product.sum(1).repeat(2), rtol=1e-5, atol=1e-4)

# matrix_product: 4 x 2 tiles in groups of 2 rows
a, b = torch.randn(128, 64), torch.randn(32, 64)
c = torch.zeros(128, 32)
matrix_product[(8,)](a, b, c, 32, 64, M=32, N=16, K=16, GROUP=2)
torch.testing.assert_close(c.double(), a.double() @ b.double().T, rtol=1e-5, atol=1e-4)

# both in int8, with sums in int32: exact
a, b = (torch.randint(-127, 128, (size, 64), dtype=torch.int8) for size in (128, 32))
c = torch.zeros(128, 32, dtype=torch.int32)
matrix_product[(8,)](a, b, c, 32, 64, M=32, N=16, K=16, GROUP=2)
assert torch.equal(c, a.int() @ b.int().T)
sums = torch.zeros(32, dtype=torch.int32)
tile_product[(1,)](a, b, sums, 2, M=32, N=16, K=16)
tile, other = a.flatten()[: 32 * 16].reshape(32, 16).int(), b.flatten()[: 16 * 16].reshape(16, 16).int()
assert torch.equal(sums, 2 * (tile @ other.T).sum(1).int())
