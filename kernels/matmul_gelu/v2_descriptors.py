"""Tensor descriptors and grouped tiles: TMA loads and stores, 8 rows of tiles are walked column by column.

Stage:   pipelining
Change:  operands and result go through descriptors made on the host, GELU and the store by halves of a tile; the order
         of the tiles is grouped. Rows that TMA cannot read are copied first.
Why:     what took matmul from 200.5 us to 184.2 at 4096^3 on an H100 80GB HBM3 (v1 to v3 there). Halves need no spill:
         186 registers in place of 255.
Expect:  time_x 0.82..0.97, tensor_pct > 65
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def tile_of(number, rows, columns, GROUP: tl.constexpr):
    """Row and column of a tile: GROUP rows of tiles are walked column by column, so that a wave is nearly square."""
    first = number // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    return first + number % (GROUP * columns) % height, number % (GROUP * columns) // height


@triton.jit
def product_kernel(
    x_desc,
    weight_desc,  # of (N, K)
    c_desc,
    bias_ptr,
    M,
    N,
    K,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
):
    rows, columns = tl.cdiv(M, BM), tl.cdiv(N, BN)
    row, column = tile_of(tl.program_id(0), rows, columns, GROUP)
    total = tl.zeros([BM, BN], tl.float32)
    for first in range(0, K, BK):
        total = tl.dot(x_desc.load([row * BM, first]), weight_desc.load([column * BN, first]).T, total)
    left, right = total.reshape(BM, 2, BN // 2).permute(0, 2, 1).split()
    for half in tl.static_range(2):
        n = column * BN + half * (BN // 2) + tl.arange(0, BN // 2)
        bias = tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
        sums = (left if half == 0 else right) + bias[None, :]
        c_desc.store([row * BM, column * BN + half * (BN // 2)], gelu(sums).to(c_desc.dtype))


def in_aligned_rows(x):
    """x (rows, columns), or a copy of it in rows that TMA can read: each begins at a multiple of 16 bytes."""
    if x.stride(1) == 1 and x.stride(0) >= x.shape[1] and x.stride(0) % 8 == 0 and x.data_ptr() % 16 == 0:
        return x
    return empty_in_aligned_rows(*x.shape, x).copy_(x)


def empty_in_aligned_rows(rows, columns, like):
    return torch.empty((rows, triton.cdiv(columns, 8) * 8), device=like.device, dtype=like.dtype)[:, :columns]


def matmul_gelu(x, weight, bias):
    """x (..., K), weight (N, K), bias (N,) in float16 or bfloat16 -> GELU of x weight^T + bias, (..., N)."""
    if x.dtype not in (torch.float16, torch.bfloat16) or weight.dtype != x.dtype:
        raise TypeError(f"matmul_gelu: wants float16 or bfloat16 throughout, got {x.dtype} and {weight.dtype}")
    N, K = weight.shape
    if x.dim() == 0 or x.shape[-1] != K:
        raise ValueError(f"matmul_gelu: wants x (..., {K}), got {tuple(x.shape)}")
    c = torch.empty((*x.shape[:-1], N), device=x.device, dtype=x.dtype)
    if c.numel() == 0:
        return c
    x = x.reshape(-1, K)
    M = len(x)
    BM, BN, BK, GROUP = 128, 256, 64, 8
    rows = c.view(M, N) if N % 8 == 0 else empty_in_aligned_rows(M, N, c)
    product_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
        TensorDescriptor.from_tensor(in_aligned_rows(x), [BM, BK]),
        TensorDescriptor.from_tensor(in_aligned_rows(weight), [BN, BK]),
        TensorDescriptor.from_tensor(rows, [BM, BN // 2]),
        bias,
        M,
        N,
        K,
        BM=BM,
        BN=BN,
        BK=BK,
        GROUP=GROUP,
        num_warps=8,
        num_stages=3,
    )
    return c if N % 8 == 0 else c.copy_(rows.view(c.shape))


class ModelNew(nn.Module):
    def __init__(self, K: int, N: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, K) * K**-0.5)
        self.bias = nn.Parameter(torch.randn(N))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return matmul_gelu(x, self.weight, self.bias)
