"""Fused: bias and GELU are computed from the accumulators.

Stage:   epilogue
Change:  one kernel; the pass over the result is gone.
Why:     268 MB less of DRAM, 90 us of some 850. Compiled for sm_90 libdevice's erf is two branches of some ten products
         each, computed for 128 accumulators a thread: 4400 instructions a tile and thread that nothing overlaps, beside
         64 steps of the product, and 22 spills.
Expect:  time_x 0.88..1.00, dram_write_bytes < 150000000
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
    bias_ptr,
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
    bias = tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(c_ptr + m[:, None] * N + n[None, :], gelu(total + bias[None, :]).to(c_ptr.dtype.element_ty), mask=inside)


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
        bias,
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
    return c


class ModelNew(nn.Module):
    def __init__(self, K: int, N: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, K) * K**-0.5)
        self.bias = nn.Parameter(torch.randn(N))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return matmul_gelu(x, self.weight, self.bias)
