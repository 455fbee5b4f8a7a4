"""Parts of K: few tiles are shared out along K, and a second kernel adds the parts in order.

Stage:   persistence
Change:  where tiles of 128 by 256 are fewer than half of the SMs, tiles of 64 by 128 sum over a part of K each, as
         many parts as give every SM two programs; partial sums are float32. The rest is v5's.
Why:     64 x 8192 x 8192 is 32 tiles of 128 by 256, half of each is beyond M: 100 of 132 SMs have no work, and the 134
         MB of b come at what 32 SMs ask for. 64 tiles of 64 by 128 in 4 parts are 256 programs, 3 steps of 16 KB of b
         on their way each, 12 MB in all. cuBLAS takes 57.2 us, 87 % of a copy's rate (H100 80GB HBM3, measured outside
         of rooflift); the parts are 8 MB that L2 keeps.
Expect:  time_x 0.99..1.01, rows_64/bfloat16: time_x 0.20..0.60, rows_64/bfloat16: sol_pct > 78, rows_64_bt/bfloat16:
         sol_pct > 78
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
def persistent_kernel(
    a_desc,
    b_desc,  # of (K, N), or of its transpose (N, K)
    c_desc,
    c_ptr,
    M,
    N,
    K,
    TRANSPOSED: tl.constexpr,
    BY_TMA: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
    PROGRAMS: tl.constexpr,
):
    rows, columns = tl.cdiv(M, BM), tl.cdiv(N, BN)
    for tile in tl.range(tl.program_id(0), rows * columns, PROGRAMS, flatten=True):
        row, column = tile_of(tile, rows, columns, GROUP)
        total = tl.zeros([BM, BN], tl.float32)
        for first in range(0, K, BK):
            a = a_desc.load([row * BM, first])
            b = b_desc.load([column * BN, first]).T if TRANSPOSED else b_desc.load([first, column * BN])
            total = tl.dot(a, b, total)
        left, right = total.reshape(BM, 2, BN // 2).permute(0, 2, 1).split()
        if BY_TMA:
            c_desc.store([row * BM, column * BN], left.to(c_desc.dtype))
            c_desc.store([row * BM, column * BN + BN // 2], right.to(c_desc.dtype))
        else:
            m = (row * BM + tl.arange(0, BM)).to(tl.int64)[:, None]
            n = column * BN + tl.arange(0, BN // 2)[None, :]
            half = BN // 2
            tl.store(c_ptr + m * N + n, left.to(c_ptr.dtype.element_ty), mask=(m < M) & (n < N))
            tl.store(c_ptr + m * N + half + n, right.to(c_ptr.dtype.element_ty), mask=(m < M) & (half + n < N))


@triton.jit
def part_kernel(
    a_desc,
    b_desc,
    part_ptr,  # (parts, M, N) in float32
    M,
    N,
    steps,  # of a part
    TRANSPOSED: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    row, column, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    total = tl.zeros([BM, BN], tl.float32)
    for step in range(part * steps, (part + 1) * steps):  # beyond K TMA gives zeros
        a = a_desc.load([row * BM, step * BK])
        b = b_desc.load([column * BN, step * BK]).T if TRANSPOSED else b_desc.load([step * BK, column * BN])
        total = tl.dot(a, b, total)
    m = (row * BM + tl.arange(0, BM)).to(tl.int64)[:, None]
    n = column * BN + tl.arange(0, BN)[None, :]
    tl.store(part_ptr + (part.to(tl.int64) * M + m) * N + n, total, mask=(m < M) & (n < N))


@triton.jit
def sum_kernel(part_ptr, c_ptr, size, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for part in tl.static_range(PARTS):
        total += tl.load(part_ptr + part * size + place, mask=place < size, other=0.0)
    tl.store(c_ptr + place, total.to(c_ptr.dtype.element_ty), mask=place < size)


@triton.jit
def copy_kernel(
    x_ptr,
    out_ptr,
    rows,
    columns,
    x_rows,  # elements from one row to the next
    x_columns,
    out_rows,  # a multiple of 8
    WORDS: tl.constexpr,  # of 4 elements, a program
    SHIFTED: tl.constexpr,  # x is read in words, too
):
    """Copy a 16-bit matrix into rows that begin at multiples of 16 bytes; nothing is written between rows."""
    row = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    if SHIFTED:
        # an aligned word of the copy is made of two aligned words of x: 8 bytes a lane instead of 2
        first = row * x_rows
        place = first // 4 + word
        end = ((rows - 1) * x_rows.to(tl.int64) + columns) // 4  # words that lie in x as a whole
        x_words = x_ptr.to(tl.pointer_type(tl.int64))
        low = tl.load(x_words + place, mask=place < end, other=0)
        high = tl.load(x_words + place + 1, mask=place + 1 < end, other=0)
        shift = first % 4 * 16
        upper = tl.where(shift == 0, 0, high << ((64 - shift) % 64))
        kept = ((1 << (64 - shift) % 64) - 1) | tl.where(shift == 0, -1, 0).to(tl.int64)
        result = ((low >> shift) & kept) | upper  # >> of a signed word copies its sign
        out_words = out_ptr.to(tl.pointer_type(tl.int64)) + row * (out_rows // 4)
        known = (place + 1 < end) | ((shift == 0) & (place < end))
        tl.store(out_words + word, result, mask=known & (word * 4 < columns))
        column = columns - 8 + tl.arange(0, 8)  # those of the last row whose words end behind x
        inside = (column >= 0) & (row == rows - 1) & (tl.program_id(1) == 0)
        last = tl.load(x_ptr + first + column, mask=inside, other=0)
        tl.store(out_ptr + row * out_rows + column, last, mask=inside)
    else:
        column = tl.program_id(1) * WORDS * 4 + tl.arange(0, WORDS * 4)
        x = tl.load(x_ptr + row * x_rows + column.to(tl.int64) * x_columns, mask=column < columns, other=0)
        tl.store(out_ptr + row * out_rows + column, x, mask=column < columns)


def aligned(x):
    """Tell whether TMA can read x: rows of adjacent elements, each row at a multiple of 16 bytes."""
    return x.stride(1) == 1 and x.stride(0) >= x.shape[1] and x.stride(0) % 8 == 0 and x.data_ptr() % 16 == 0


def in_aligned_rows(x):
    """x (rows, columns), or a copy of it in rows that TMA can read."""
    if aligned(x):
        return x
    rows, columns = x.shape
    stride = triton.cdiv(columns, 8) * 8
    out = torch.empty((rows, stride), device=x.device, dtype=x.dtype)[:, :columns]
    WORDS = 512
    copy_kernel[(rows, triton.cdiv(columns, 4 * WORDS))](
        x.view(torch.int16),
        out.view(torch.int16),
        rows,
        columns,
        x.stride(0),
        x.stride(1),
        stride,
        WORDS=WORDS,
        SHIFTED=x.stride(1) == 1 and x.stride(0) >= columns and x.data_ptr() % 16 == 0,
        num_warps=4,
    )
    return out


def in_parts(a, b, c, transposed, sms):
    """Compute c in tiles of 64 by 128, the sum over K in parts that are added by a second kernel, in order."""
    (M, K), N = a.shape, c.shape[1]
    BM, BN, BK = 64, 128, 64
    rows, columns, steps = triton.cdiv(M, BM), triton.cdiv(N, BN), triton.cdiv(K, BK)
    parts = min(max(2 * sms // (rows * columns), 1), triton.cdiv(steps, 4), 16)
    parts = triton.cdiv(steps, triton.cdiv(steps, parts))  # none of them empty
    partial = torch.empty((parts, M, N), device=a.device, dtype=torch.float32)
    part_kernel[(rows, columns, parts)](
        TensorDescriptor.from_tensor(a, [BM, BK]),
        TensorDescriptor.from_tensor(b, [BN, BK] if transposed else [BK, BN]),
        partial,
        M,
        N,
        triton.cdiv(steps, parts),
        TRANSPOSED=transposed,
        BM=BM,
        BN=BN,
        BK=BK,
        num_warps=4,
        num_stages=4,
    )
    BLOCK = 1024
    sum_kernel[(triton.cdiv(M * N, BLOCK),)](partial, c, M * N, PARTS=parts, BLOCK=BLOCK, num_warps=4)
    return c


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
    if K == 0:
        return torch.zeros_like(c)
    a = in_aligned_rows(a)
    transposed = not aligned(b) and b.stride(0) == 1
    b = in_aligned_rows(b.T if transposed else b)  # (N, K) where b is column-major
    by_tma = N % 8 == 0
    BM, BN, BK, GROUP = 128, 256, 64, 8
    tiles = triton.cdiv(M, BM) * triton.cdiv(N, BN)
    sms = torch.cuda.get_device_properties(a.device).multi_processor_count
    if 2 * tiles < sms:
        return in_parts(a, b, c, transposed, sms)
    programs = min(tiles, sms)
    persistent_kernel[(programs,)](
        TensorDescriptor.from_tensor(a, [BM, BK]),
        TensorDescriptor.from_tensor(b, [BN, BK] if transposed else [BK, BN]),
        TensorDescriptor.from_tensor(c, [BM, BN // 2]) if by_tma else None,
        c,
        M,
        N,
        K,
        TRANSPOSED=transposed,
        BY_TMA=by_tma,
        BM=BM,
        BN=BN,
        BK=BK,
        GROUP=GROUP,
        PROGRAMS=programs,
        num_warps=8,
        num_stages=4,
    )
    return c


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return matmul(a, b)
