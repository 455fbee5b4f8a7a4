"""Baseline: a tile of 128 by 128 a program, in steps of 32 along K, masked loads.

Stage:   baseline
Change:  the algorithm that the ladder starts from: each program computes one tile by tl.dot, in the order of the
         program number along rows of tiles.
Why:     the shortest correct kernel. A wave of 132 programs lies in four rows of 32 tiles at 4096^3, and a step of 32
         elements is two instructions of 16 along K between two waits. A tile of 128 by 128 reads a byte from shared
         memory for 64 FLOP, one of 128 by 256 for 85.
Expect:  tensor_pct 35..70, sol_pct 35..70, dram_pct < 50
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def product_kernel(
    a_ptr,
    b_ptr,
    c_ptr,
    M,
    N,
    K,
    a_rows,  # elements from one row of a to the next
    a_columns,
    b_rows,
    b_columns,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row, column = tl.program_id(0) // tl.cdiv(N, BN), tl.program_id(0) % tl.cdiv(N, BN)
    m = (row * BM + tl.arange(0, BM)).to(tl.int64)
    n = (column * BN + tl.arange(0, BN)).to(tl.int64)
    k = tl.arange(0, BK)
    a_ptrs = a_ptr + m[:, None] * a_rows + k[None, :] * a_columns
    b_ptrs = b_ptr + k[:, None] * b_rows + n[None, :] * b_columns
    total = tl.zeros([BM, BN], tl.float32)
    for first in range(0, K, BK):
        a = tl.load(a_ptrs, mask=(m[:, None] < M) & (first + k[None, :] < K), other=0.0)
        b = tl.load(b_ptrs, mask=(first + k[:, None] < K) & (n[None, :] < N), other=0.0)
        total = tl.dot(a, b, total)
        a_ptrs += BK * a_columns
        b_ptrs += BK * b_rows
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(c_ptr + m[:, None] * N + n[None, :], total.to(c_ptr.dtype.element_ty), mask=inside)


def matmul(a, b):
    """a (M, K), b (K, N) in float16 or bfloat16, in any layout -> (M, N) in their dtype, row-major."""
    if a.dtype not in (torch.float16, torch.bfloat16) or b.dtype != a.dtype:
        raise TypeError(f"matmul: wants two matrices of float16 or of bfloat16, got {a.dtype} and {b.dtype}")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: wants (M, K) and (K, N), got {tuple(a.shape)} and {tuple(b.shape)}")
    (M, K), N = a.shape, b.shape[1]
    c = torch.empty((M, N), device=a.device, dtype=a.dtype)
    if c.numel() == 0:
        return c
    BM, BN, BK = 128, 128, 32
    product_kernel[(triton.cdiv(M, BM) * triton.cdiv(N, BN),)](
        a,
        b,
        c,
        M,
        N,
        K,
        a.stride(0),
        a.stride(1),
        b.stride(0),
        b.stride(1),
        BM=BM,
        BN=BN,
        BK=BK,
        num_warps=4,
        num_stages=3,
    )
    return c


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return matmul(a, b)
