"""Whole lines: padded rows of operands and result begin at multiples of 128 bytes, and words are packed.

Stage:   memory
Change:  copies of operands and the padded result have rows of a multiple of 64 elements; the result is packed in words
         of 8 bytes, each made of two aligned ones.
Why:     v8 takes 425 us for 4095 x 4097 x 4099 where 4096 x 4096 x 4096 takes 178. Five waves of tiles in place of four
         are 45 of it and three copies of 67 MB 70; 130 remain. Rows of 4104 elements begin at any sixteenth byte of a
         line: each row of 128 bytes that TMA reads lies in two lines and five sectors, and the aligned product already
         takes 1.6 GB in 178 us from L2. In k_odd a third of the traffic is of such rows, and 20 us remain.
Expect:  all_odd/bfloat16: time_x 0.62..0.85, k_odd/bfloat16: time_x 0.86..0.98, time_x 0.99..1.01
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


@triton.autotune(
    [triton.Config({"GROUP": group}, num_warps=8, num_stages=4) for group in (8, 16, 4)],
    key=["M", "N", "K", "TRANSPOSED"],
)
@triton.jit
def persistent_kernel(
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
    PROGRAMS: tl.constexpr,
    GROUP: tl.constexpr,
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
        c_desc.store([row * BM, column * BN], left.to(c_desc.dtype))
        c_desc.store([row * BM, column * BN + BN // 2], right.to(c_desc.dtype))


@triton.jit
def column_kernel(
    a_desc,
    b_desc,
    c_desc,
    K,
    TRANSPOSED: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """A tile of a few rows and columns with its whole sum: bound by the bytes of b that are on their way."""
    row, column = tl.program_id(1), tl.program_id(0)
    total = tl.zeros([BM, BN], tl.float32)
    for first in range(0, K, BK):
        a = a_desc.load([row * BM, first])
        b = b_desc.load([column * BN, first]).T if TRANSPOSED else b_desc.load([first, column * BN])
        total = tl.dot(a, b, total)
    c_desc.store([row * BM, column * BN], total.to(c_desc.dtype))


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
def joined(low, high, shift):
    """The word that begins `shift` bits, a multiple of 16, behind the lowest of two words of 64 bits."""
    upper = tl.where(shift == 0, 0, high << ((64 - shift) % 64))
    kept = ((1 << (64 - shift) % 64) - 1) | tl.where(shift == 0, -1, 0).to(tl.int64)
    return ((low >> shift) & kept) | upper  # >> of a signed word copies its sign


@triton.jit
def copy_kernel(
    x_ptr,
    out_ptr,
    rows,
    columns,
    x_rows,  # elements from one row to the next
    x_columns,
    out_rows,  # a multiple of 64
    WORDS: tl.constexpr,  # of 4 elements, a program
    SHIFTED: tl.constexpr,  # x is read in words, too
):
    """Copy a 16-bit matrix into rows that begin at whole lines; nothing is written between rows."""
    row = tl.program_id(0).to(tl.int64)
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    if SHIFTED:
        # an aligned word of the copy is made of two aligned words of x: 8 bytes a lane instead of 2
        first = row * x_rows
        place = first // 4 + word
        end = (tl.full([], rows - 1, tl.int64) * x_rows + columns) // 4  # words that lie in x as a whole
        x_words = x_ptr.to(tl.pointer_type(tl.int64))
        low = tl.load(x_words + place, mask=place < end, other=0)
        high = tl.load(x_words + place + 1, mask=place + 1 < end, other=0)
        shift = first % 4 * 16
        out_words = out_ptr.to(tl.pointer_type(tl.int64)) + row * (out_rows // 4)
        known = (place + 1 < end) | ((shift == 0) & (place < end))
        tl.store(out_words + word, joined(low, high, shift), mask=known & (word * 4 < columns))
        column = columns - 8 + tl.arange(0, 8)  # those of the last row whose words end behind x
        inside = (column >= 0) & (row == rows - 1) & (tl.program_id(1) == 0)
        last = tl.load(x_ptr + first + column, mask=inside, other=0)
        tl.store(out_ptr + row * out_rows + column, last, mask=inside)
    else:
        column = tl.program_id(1) * WORDS * 4 + tl.arange(0, WORDS * 4)
        x = tl.load(x_ptr + row * x_rows + column.to(tl.int64) * x_columns, mask=column < columns, other=0)
        tl.store(out_ptr + row * out_rows + column, x, mask=column < columns)


@triton.jit
def pack_kernel(x_ptr, out_ptr, columns, x_rows, WORDS: tl.constexpr):
    """Copy a 16-bit matrix whose rows begin at whole lines to rows without gaps, in words of 4 elements."""
    row = tl.program_id(0).to(tl.int64)
    begin = row * columns
    first = (begin + 3) // 4  # the words that lie in the row as a whole
    skipped = (first * 4 - begin).to(tl.int32)  # elements before them
    words = (columns - skipped) // 4
    word = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    x_words = x_ptr.to(tl.pointer_type(tl.int64)) + row * (x_rows // 4)
    low = tl.load(x_words + word, mask=word < words, other=0)
    high = tl.load(x_words + word + 1, mask=(word < words) & (skipped > 0), other=0)
    result = joined(low, high, (skipped * 16).to(tl.int64))
    tl.store(out_ptr.to(tl.pointer_type(tl.int64)) + first + word, result, mask=word < words)
    lane = tl.arange(0, 8)  # fewer than 4 elements before and behind them
    column = tl.where(lane < 4, lane, skipped + words * 4 + lane - 4)
    inside = (column < tl.where(lane < 4, skipped, columns)) & (tl.program_id(1) == 0)
    x = tl.load(x_ptr + row * x_rows + column, mask=inside, other=0)
    tl.store(out_ptr + begin + column, x, mask=inside)


def in_lines(rows, columns, like):
    """An empty matrix whose rows begin at multiples of 128 bytes."""
    return torch.empty((rows, triton.cdiv(columns, 64) * 64), device=like.device, dtype=like.dtype)[:, :columns]


def aligned(x):
    """Tell whether TMA can read x: rows of adjacent elements, each row at a multiple of 16 bytes."""
    return x.stride(1) == 1 and x.stride(0) >= x.shape[1] and x.stride(0) % 8 == 0 and x.data_ptr() % 16 == 0


def in_aligned_rows(x):
    """x (rows, columns), or a copy of it in rows that TMA can read."""
    if aligned(x):
        return x
    rows, columns = x.shape
    out = in_lines(rows, columns, x)
    WORDS = 512
    copy_kernel[(rows, triton.cdiv(columns, 4 * WORDS))](
        x.view(torch.int16),
        out.view(torch.int16),
        rows,
        columns,
        x.stride(0),
        x.stride(1),
        out.stride(0),
        WORDS=WORDS,
        SHIFTED=x.stride(1) == 1 and x.stride(0) >= columns >= 8 and x.data_ptr() % 16 == 0,
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


def in_columns(a, b, c, transposed):
    """Compute c in tiles of 64 by 64, each with its whole sum."""
    (M, K), N = a.shape, c.shape[1]
    BM, BN, BK = 64, 64, 128
    column_kernel[(triton.cdiv(N, BN), triton.cdiv(M, BM))](
        TensorDescriptor.from_tensor(a, [BM, BK]),
        TensorDescriptor.from_tensor(b, [BN, BK] if transposed else [BK, BN]),
        TensorDescriptor.from_tensor(c, [BM, BN]),
        K,
        TRANSPOSED=transposed,
        BM=BM,
        BN=BN,
        BK=BK,
        num_warps=4,
        num_stages=6,
    )
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
    sms = torch.cuda.get_device_properties(a.device).multi_processor_count
    if 2 * triton.cdiv(M, 128) * triton.cdiv(N, 256) < sms:
        tiles = triton.cdiv(M, 64) * triton.cdiv(N, 64)
        if N % 8 == 0 and (0.9 * sms <= tiles <= sms or (tiles <= sms and K <= 512)):
            return in_columns(a, b, c, transposed)
        return in_parts(a, b, c, transposed, sms)
    BM, BN, BK = 128, 256, 64
    padded = c if N % 8 == 0 else in_lines(M, N, c)
    programs = min(triton.cdiv(M, BM) * triton.cdiv(N, BN), sms)
    persistent_kernel[lambda META: (programs,)](
        TensorDescriptor.from_tensor(a, [BM, BK]),
        TensorDescriptor.from_tensor(b, [BN, BK] if transposed else [BK, BN]),
        TensorDescriptor.from_tensor(padded, [BM, BN // 2]),
        M,
        N,
        K,
        TRANSPOSED=transposed,
        BM=BM,
        BN=BN,
        BK=BK,
        PROGRAMS=programs,
    )
    if padded is not c:
        WORDS = 512
        pack_kernel[(M, triton.cdiv(N, 4 * WORDS))](
            padded.view(torch.int16), c.view(torch.int16), N, padded.stride(0), WORDS=WORDS, num_warps=4
        )
    return c


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return matmul(a, b)
