"""Parts of K for few rows: a program sums over a part for 128 rows of b, a second kernel adds the parts in order.

Stage:   persistence
Change:  up to 64 rows of a are computed as the transpose, b times a^T, in parts of K that give each SM three programs;
         partial sums are float32. Other shapes are v3's.
Why:     16 x 8192 x 8192 is 32 tiles of 128 by 256, 7 of 8 rows are beyond M, and 100 of 132 SMs have no work. The
         instruction has 64 rows and from 8 columns on: with b's rows first nothing is wasted. 64 x 6 programs of 72 KB
         of shared memory have 54 KB of b on their way each, 21 MB in all. b is 67 MB, 22 us at the rate of a copy;
         torch takes 60.3 us (H100 80GB HBM3, measured outside of rooflift). The parts are 3 MB that L2 keeps.
Expect:  time_x 0.99..1.01, tokens_16/float8_e4m3fn: time_x 0.15..0.50, tokens_16/float8_e4m3fn: sol_pct > 55,
         rows_tokens_16/float8_e4m3fn: time_x 0.15..0.50
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def scaled(total, scale_a_ptr, scale_b_ptr, m, n, M, N, ROWS_A: tl.constexpr, ROWS_B: tl.constexpr):
    """Multiply sums by the scales: one of a matrix, or one of each row of it."""
    scale_a = tl.load(scale_a_ptr + m, mask=m < M, other=0.0)[:, None] if ROWS_A else tl.load(scale_a_ptr)
    scale_b = tl.load(scale_b_ptr + n, mask=n < N, other=0.0)[None, :] if ROWS_B else tl.load(scale_b_ptr)
    return total * scale_a * scale_b


@triton.jit
def tile_of(number, rows, columns, GROUP: tl.constexpr):
    """Row and column of a tile: GROUP rows of tiles are walked column by column, so that a wave is nearly square."""
    first = number // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    return first + number % (GROUP * columns) % height, number % (GROUP * columns) // height


@triton.jit
def product_kernel(
    a_desc,
    b_desc,
    scale_a_ptr,
    scale_b_ptr,
    c_desc,
    M,
    N,
    K,
    ROWS_A: tl.constexpr,  # a scale for each row
    ROWS_B: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
):
    rows, columns = tl.cdiv(M, BM), tl.cdiv(N, BN)
    for tile in tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), flatten=True):
        row, column = tile_of(tile, rows, columns, GROUP)
        total = tl.zeros([BM, BN], tl.float32)
        for first in range(0, K, BK):
            total = tl.dot(a_desc.load([row * BM, first]), b_desc.load([column * BN, first]).T, total)
        m = row * BM + tl.arange(0, BM)
        left, right = total.reshape(BM, 2, BN // 2).permute(0, 2, 1).split()
        for half in tl.static_range(2):
            n = column * BN + half * (BN // 2) + tl.arange(0, BN // 2)
            sums = left if half == 0 else right
            out = scaled(sums, scale_a_ptr, scale_b_ptr, m, n, M, N, ROWS_A, ROWS_B)
            c_desc.store([row * BM, column * BN + half * (BN // 2)], out.to(tl.bfloat16))


@triton.jit
def part_kernel(
    a_desc,
    b_desc,
    part_ptr,  # (parts, M, N) in float32
    M,
    N,
    steps,  # of a part
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    column, part = tl.program_id(0), tl.program_id(1)
    total = tl.zeros([BN, BM], tl.float32)  # the transpose: the rows of b are the instruction's 64
    for step in range(part * steps, (part + 1) * steps):  # beyond K TMA gives zeros
        total = tl.dot(b_desc.load([column * BN, step * BK]), a_desc.load([0, step * BK]).T, total)
    m = tl.arange(0, BM)[None, :]
    n = (column * BN + tl.arange(0, BN))[:, None]
    tl.store(part_ptr + (part.to(tl.int64) * M + m) * N + n, total, mask=(m < M) & (n < N))


@triton.jit
def sum_kernel(
    part_ptr,
    scale_a_ptr,
    scale_b_ptr,
    c_ptr,
    M,
    N,
    ROWS_A: tl.constexpr,
    ROWS_B: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    m, n = tl.program_id(1) + tl.arange(0, 1), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([1, BLOCK], tl.float32)
    for part in tl.static_range(PARTS):
        place = (part * M + m[:, None]).to(tl.int64) * N + n[None, :]
        total += tl.load(part_ptr + place, mask=n[None, :] < N, other=0.0)
    out = scaled(total, scale_a_ptr, scale_b_ptr, m, n, M, N, ROWS_A, ROWS_B).to(tl.bfloat16)
    tl.store(c_ptr + m[:, None].to(tl.int64) * N + n[None, :], out, mask=n[None, :] < N)


def in_aligned_rows(x):
    """x (rows, columns), or a copy of it in rows that TMA can read: each begins at a multiple of 16 bytes."""
    if x.stride(1) == 1 and x.stride(0) >= x.shape[1] and x.stride(0) % 16 == 0 and x.data_ptr() % 16 == 0:
        return x
    return empty_in_aligned_rows(*x.shape, x).copy_(x)


def empty_in_aligned_rows(rows, columns, like):
    whole = triton.cdiv(max(columns, 1), 16) * 16
    return torch.empty((rows, whole), device=like.device, dtype=like.dtype)[:, :columns]


def in_parts(a, b, scale_a, scale_b, c, sms):
    """Compute c of up to 64 rows, the sum over K in parts that are added by a second kernel, in order."""
    (M, K), N = a.shape, len(b)
    BM, BN, BK = max(triton.next_power_of_2(M), 16), 128, 128
    columns, steps = triton.cdiv(N, BN), max(triton.cdiv(K, BK), 1)
    parts = min(max(3 * sms // columns, 1), triton.cdiv(steps, 4), 16)
    parts = triton.cdiv(steps, triton.cdiv(steps, parts))  # none of them empty
    partial = torch.empty((parts, M, N), device=a.device, dtype=torch.float32)
    part_kernel[(columns, parts)](
        TensorDescriptor.from_tensor(a, [BM, BK]),
        TensorDescriptor.from_tensor(b, [BN, BK]),
        partial,
        M,
        N,
        triton.cdiv(steps, parts),
        BM=BM,
        BN=BN,
        BK=BK,
        num_warps=4,
        num_stages=4,
    )
    BLOCK = 1024
    sum_kernel[(triton.cdiv(N, BLOCK), M)](
        partial,
        scale_a,
        scale_b,
        c,
        M,
        N,
        ROWS_A=len(scale_a) > 1,
        ROWS_B=len(scale_b) > 1,
        PARTS=parts,
        BLOCK=BLOCK,
        num_warps=4,
    )
    return c


def matmul_fp8(a, b, scale_a, scale_b):
    """a (M, K), b (N, K) in float8_e4m3fn, scales (M,), (N,) or (1,) in float32 -> (M, N) in bfloat16."""
    if not a.dtype == b.dtype == torch.float8_e4m3fn or not scale_a.dtype == scale_b.dtype == torch.float32:
        dtypes = f"{a.dtype}, {b.dtype}, {scale_a.dtype} and {scale_b.dtype}"
        raise TypeError(f"matmul_fp8: wants float8_e4m3fn with scales of float32, got {dtypes}")
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"matmul_fp8: wants (M, K) and (N, K), got {tuple(a.shape)} and {tuple(b.shape)}")
    (M, K), N = a.shape, len(b)
    if scale_a.shape not in ((M,), (1,)) or scale_b.shape not in ((N,), (1,)):
        shapes = f"{tuple(scale_a.shape)} and {tuple(scale_b.shape)}"
        raise ValueError(f"matmul_fp8: wants scales ({M},) or (1,) and ({N},) or (1,), got {shapes}")
    c = torch.empty((M, N), device=a.device, dtype=torch.bfloat16)
    if c.numel() == 0:
        return c
    scale_a, scale_b = scale_a.contiguous(), scale_b.contiguous()
    if K == 0:
        return torch.zeros_like(c)
    a, b = in_aligned_rows(a), in_aligned_rows(b)
    sms = torch.cuda.get_device_properties(a.device).multi_processor_count
    if M <= 64:
        return in_parts(a, b, scale_a, scale_b, c, sms)
    BM, BN, BK, GROUP = 128, 256, 128, 8
    rows = c if N % 8 == 0 else empty_in_aligned_rows(M, N, c)
    programs = min(triton.cdiv(M, BM) * triton.cdiv(N, BN), sms)
    product_kernel[(programs,)](
        TensorDescriptor.from_tensor(a, [BM, BK]),
        TensorDescriptor.from_tensor(b, [BN, BK]),
        scale_a,
        scale_b,
        TensorDescriptor.from_tensor(rows, [BM, BN // 2]),
        M,
        N,
        K,
        ROWS_A=len(scale_a) > 1,
        ROWS_B=len(scale_b) > 1,
        BM=BM,
        BN=BN,
        BK=BK,
        GROUP=GROUP,
        num_warps=8,
        num_stages=4,
    )
    return c if rows is c else c.copy_(rows)


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor) -> torch.Tensor:
        return matmul_fp8(a, b, scale_a, scale_b)
