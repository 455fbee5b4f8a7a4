"""Tensor descriptors: TMA loads the operands and stores the result.

Stage:   pipelining
Change:  where rows begin at multiples of 16 bytes, operands come by TMA through descriptors made on the host, and the
         result leaves by TMA in two halves; v2's kernel serves the rest. A column-major b is read as its transpose,
         and the matrix instruction transposes it.
Why:     compiled for sm_90 v2 issues a cp.async for each 16 bytes, with its address and its mask: 24 a thread and
         step. One thread asks for a tile by TMA, which also fills edges with zeros. Stores of 128 by 256 in one piece
         would take 64 KB of shared memory; by halves they take 32 KB, and three steps of 48 KB fit beside them.
Expect:  time_x 0.92..1.00, tensor_pct > 75, lsu_pct < 10, k_odd: time_x 0.98..1.02
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def tile_of(number, rows, columns, GROUP: tl.constexpr):
    """Row and column of a tile: GROUP rows of tiles are walked column by column, so that a wave is nearly square."""
    first = number // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    return first + number % (GROUP * columns) % height, number % (GROUP * columns) // height


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
    GROUP: tl.constexpr,
):
    row, column = tile_of(tl.program_id(0), tl.cdiv(M, BM), tl.cdiv(N, BN), GROUP)
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


@triton.jit
def descriptors_kernel(
    a_desc,
    b_desc,  # of (K, N), or of its transpose (N, K)
    c_desc,
    M,
    N,
    K,
    TRANSPOSED: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
):
    row, column = tile_of(tl.program_id(0), tl.cdiv(M, BM), tl.cdiv(N, BN), GROUP)
    total = tl.zeros([BM, BN], tl.float32)
    for first in range(0, K, BK):
        a = a_desc.load([row * BM, first])
        b = b_desc.load([column * BN, first]).T if TRANSPOSED else b_desc.load([first, column * BN])
        total = tl.dot(a, b, total)
    left, right = total.reshape(BM, 2, BN // 2).permute(0, 2, 1).split()
    c_desc.store([row * BM, column * BN], left.to(c_desc.dtype))
    c_desc.store([row * BM, column * BN + BN // 2], right.to(c_desc.dtype))


def aligned(x):
    """Tell whether TMA can read x: rows of adjacent elements, each row at a multiple of 16 bytes."""
    return x.stride(1) == 1 and x.stride(0) >= x.shape[1] and x.stride(0) % 8 == 0 and x.data_ptr() % 16 == 0


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
    BM, BN, BK, GROUP = 128, 256, 64, 8
    tiles = triton.cdiv(M, BM) * triton.cdiv(N, BN)
    transposed = not aligned(b)
    if K > 0 and aligned(a) and aligned(c) and (aligned(b) or aligned(b.T)):
        descriptors_kernel[(tiles,)](
            TensorDescriptor.from_tensor(a, [BM, BK]),
            TensorDescriptor.from_tensor(b.T if transposed else b, [BN, BK] if transposed else [BK, BN]),
            TensorDescriptor.from_tensor(c, [BM, BN // 2]),
            M,
            N,
            K,
            TRANSPOSED=transposed,
            BM=BM,
            BN=BN,
            BK=BK,
            GROUP=GROUP,
            num_warps=8,
            num_stages=3,
        )
        return c
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
        GROUP=GROUP,
        num_warps=8,
        num_stages=3,
    )
    return c


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return matmul(a, b)
