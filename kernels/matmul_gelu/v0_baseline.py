"""Baseline: the product in tiles of 128 by 256, and a second kernel that adds the bias and takes GELU.

Stage:   baseline
Change:  what the ladder starts from: matmul's tile with masked loads, then one pass over the result.
Why:     the two kernels that one would write apart. The product is 550 GFLOP, 0.7 ms at the rate of cuBLAS; the pass
         reads and writes 134 MB each, some 90 us, and what it reads was rounded to bfloat16.
Expect:  sol_pct 60..85
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def product_kernel(
    x_ptr,
    weight_ptr,  # (N, K), contiguous
    c_ptr,
    M,
    N,
    K,
    x_rows,  # elements from one row of x to the next
    x_columns,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row, column = tl.program_id(0) // tl.cdiv(N, BN), tl.program_id(0) % tl.cdiv(N, BN)
    m = (row * BM + tl.arange(0, BM)).to(tl.int64)
    n = (column * BN + tl.arange(0, BN)).to(tl.int64)
    k = tl.arange(0, BK)
    x_ptrs = x_ptr + m[:, None] * x_rows + k[None, :] * x_columns
    weight_ptrs = weight_ptr + n[None, :] * K + k[:, None]
    total = tl.zeros([BM, BN], tl.float32)
    for first in range(0, K, BK):
        x = tl.load(x_ptrs, mask=(m[:, None] < M) & (first + k[None, :] < K), other=0.0)
        weight = tl.load(weight_ptrs, mask=(first + k[:, None] < K) & (n[None, :] < N), other=0.0)
        total = tl.dot(x, weight, total)
        x_ptrs += BK * x_columns
        weight_ptrs += BK
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(c_ptr + m[:, None] * N + n[None, :], total.to(c_ptr.dtype.element_ty), mask=inside)


@triton.jit
def gelu_kernel(c_ptr, bias_ptr, N, size, BLOCK: tl.constexpr):
    """Add the bias, and put GELU in place of its argument."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.load(c_ptr + place, mask=place < size, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + place % N, mask=place < size, other=0.0).to(tl.float32)
    tl.store(c_ptr + place, gelu(c + bias).to(c_ptr.dtype.element_ty), mask=place < size)


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
    BM, BN, BK = 128, 256, 64
    product_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
        x,
        weight,
        c,
        M,
        N,
        K,
        x.stride(0),
        x.stride(1),
        BM=BM,
        BN=BN,
        BK=BK,
        num_warps=8,
        num_stages=3,
    )
    BLOCK = 2048
    gelu_kernel[(triton.cdiv(c.numel(), BLOCK),)](c, bias, N, c.numel(), BLOCK=BLOCK, num_warps=8)
    return c


class ModelNew(nn.Module):
    def __init__(self, K: int, N: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, K) * K**-0.5)
        self.bias = nn.Parameter(torch.randn(N))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return matmul_gelu(x, self.weight, self.bias)
