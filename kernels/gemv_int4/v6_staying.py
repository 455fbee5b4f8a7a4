"""Persistent programs for one token: x stays in registers, and the words of two tiles of rows are on their way.

Stage:   persistence
Change:  two programs an SM walk over tiles of 4 whole rows (one of 16 warps, tiles of 2, above 8192 columns). x is
         read, converted and raised once a program; a group's products are added before its scale is applied.
Why:     v4 and v5 execute 41 instructions a word of 8 weights where extraction and product need 17: a program converts
         the x of 1024 words for 4 rows, loads a scale of 2 bytes a word, ends and is followed by the next. 60 % of the
         issue slots are busy, 70 % of the samples in `denormal` wait for words and 67 % in the last sum at a barrier,
         nothing being on its way meanwhile. Compiled for sm_90 a tile of the new loop has 26 instructions a word, and
         33,792 bytes of shared memory hold the words of the next two tiles by cp.async; 75 registers.
Expect:  time_x 0.80..0.97, sol_pct 74..92, up/bfloat16: time_x 0.75..0.93, down/bfloat16: time_x 0.70..0.93,
         tokens_16/bfloat16: time_x 0.98..1.02
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

RESIDENT = 528  # programs of several tokens on an H100: four an SM


@triton.jit
def number(words, position: tl.constexpr, like):
    """The weight, from -8 to 7, at a position of 8 in each word, in the dtype of `like`.

    Four bits below the exponent of 2^23 are the float 2^23 + n, exactly: no conversion of integers is needed.
    """
    bits = ((words >> (4 * position)) & 15) | 0x4B000000
    return (bits.to(tl.float32, bitcast=True) - 8388616.0).to(like.dtype)  # 2^23 + 8


@triton.jit
def denormal(words, position: tl.constexpr):
    """The weight + 8 at a position of 8 in each word, times 2^(4 p - 149): a float as it stands there.

    p is the position, or for the last three, which would reach into the exponent, the position - 3, after a shift.
    """
    words = words if position < 5 else words >> 12
    return (words & (15 << (4 * (position if position < 5 else position - 3)))).to(tl.float32, bitcast=True)


@triton.jit
def parts_kernel(
    x_ptr,
    word_ptr,
    scale_ptr,
    sum_ptr,  # of each part: (tokens, rows); in float32 where there are several
    tokens,
    rows,
    words_a_row,  # a multiple of 16, which the compiler sees
    part_groups,  # of each program
    GROUP: tl.constexpr,
    TOKENS: tl.constexpr,  # of a tile: 16, the fewest that the tensor cores multiply
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
):
    WORDS: tl.constexpr = GROUP // 8
    token = tl.program_id(2) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, WORDS)
    x_ptrs = x_ptr + token[:, None] * (words_a_row * 8) + lane[None, :]
    word_ptrs = word_ptr + row.to(tl.int64)[None, :] * words_a_row + lane[:, None]
    sums = tl.zeros([TOKENS, ROWS], dtype=tl.float32)
    begin = tl.program_id(1) * part_groups
    end = tl.minimum(begin + part_groups, words_a_row // WORDS)
    for group in tl.range(begin, end, num_stages=STAGES):
        words = tl.load(word_ptrs + group * WORDS, mask=(row < rows)[None, :], other=0)
        scale = tl.load(scale_ptr + group * rows + row, mask=row < rows, other=0.0).to(tl.float32)
        part = tl.zeros([TOKENS, ROWS], dtype=tl.float32)
        for position in tl.static_range(8):
            x = tl.load(x_ptrs + group * GROUP + position * WORDS, mask=(token < tokens)[:, None], other=0.0)
            part = tl.dot(x, number(words, position, x), part)
        sums += part * scale[None, :]
    out = (tl.program_id(1) * tokens + token).to(tl.int64)
    tl.store(
        sum_ptr + out[:, None] * rows + row[None, :],
        sums.to(sum_ptr.dtype.element_ty),
        mask=(token < tokens)[:, None] & (row < rows)[None, :],
    )


@triton.jit
def add_kernel(sum_ptr, out_ptr, elements, parts, BLOCK_SIZE: tl.constexpr):
    element = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    sums = tl.zeros([BLOCK_SIZE], dtype=tl.float32)
    for part in range(parts):
        sums += tl.load(sum_ptr + tl.cast(part, tl.int64) * elements + element, mask=element < elements, other=0.0)
    tl.store(out_ptr + element, sums.to(out_ptr.dtype.element_ty), mask=element < elements)


@triton.jit
def one_token_kernel(
    x_ptr,
    word_ptr,
    scale_ptr,
    out_ptr,
    rows,
    words_a_row,  # a multiple of 16, which the compiler sees
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,  # words of a row at once
):
    WORDS: tl.constexpr = GROUP // 8
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, BLOCK)
    word_ptrs = word_ptr + row.to(tl.int64)[:, None] * words_a_row
    sums = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for first in range(0, words_a_row, BLOCK):
        word = first + lane
        inside = (row < rows)[:, None] & (word < words_a_row)[None, :]
        words = tl.load(word_ptrs + word[None, :], mask=inside, other=0)
        scale = tl.load(scale_ptr + (word // WORDS)[None, :] * rows + row[:, None], mask=inside, other=0.0)
        column = word // WORDS * GROUP + word % WORDS
        part = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
        total = tl.zeros([BLOCK], dtype=tl.float32)  # of x: the weights are 8 too large
        for position in tl.static_range(8):
            x = tl.load(x_ptr + column + position * WORDS, mask=word < words_a_row, other=0.0).to(tl.float32)
            raised = x * 2.0 ** (56 - 4 * (position if position < 5 else position - 3))  # to 2^-93 in each product
            part += denormal(words, position) * raised[None, :]
            total += x
        sums += (part * 2.0**93 - 8.0 * total[None, :]) * scale.to(tl.float32)
    tl.store(out_ptr + row, tl.sum(sums, 1).to(out_ptr.dtype.element_ty), mask=row < rows)


@triton.jit
def raised(x_ptr, column, there, position: tl.constexpr, WORDS: tl.constexpr):
    """The elements of x for a position of each word, so that a product with `denormal` has 2^-93."""
    x = tl.load(x_ptr + column + position * WORDS, mask=there, other=0.0).to(tl.float32)
    return x * 2.0 ** (56 - 4 * (position if position < 5 else position - 3))


@triton.jit
def staying_kernel(
    x_ptr,
    word_ptr,
    scale_ptr,
    out_ptr,
    rows,
    words_a_row,  # a multiple of 16, which the compiler sees
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,  # of a tile
    BLOCK: tl.constexpr,  # a power of 2 from the words of a row on
    PROGRAMS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Tiles of whole rows, one after another: x stays in registers, the words of two tiles are on their way."""
    WORDS: tl.constexpr = GROUP // 8
    GROUPS: tl.constexpr = BLOCK // WORDS
    word = tl.arange(0, BLOCK)
    column = word // WORDS * GROUP + word % WORDS
    there = word < words_a_row
    x0 = raised(x_ptr, column, there, 0, WORDS)
    x1 = raised(x_ptr, column, there, 1, WORDS)
    x2 = raised(x_ptr, column, there, 2, WORDS)
    x3 = raised(x_ptr, column, there, 3, WORDS)
    x4 = raised(x_ptr, column, there, 4, WORDS)
    x5 = raised(x_ptr, column, there, 5, WORDS)
    x6 = raised(x_ptr, column, there, 6, WORDS)
    x7 = raised(x_ptr, column, there, 7, WORDS)
    total = x0 * 2.0**-56 + x1 * 2.0**-52 + (x2 + x5) * 2.0**-48 + (x3 + x6) * 2.0**-44 + (x4 + x7) * 2.0**-40
    shift = tl.sum(tl.reshape(total, [GROUPS, WORDS]), 1) * 8.0  # the weights are 8 too large
    group = tl.arange(0, GROUPS)
    some = group < words_a_row // WORDS
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, ROWS), PROGRAMS, num_stages=STAGES):
        row = tile * ROWS + tl.arange(0, ROWS)
        at = row.to(tl.int64)[:, None] * words_a_row + word[None, :]
        inside = (row < rows)[:, None] & there[None, :]
        words = tl.load(word_ptr + at, mask=inside, other=0, eviction_policy="evict_first")
        inside = (row < rows)[:, None] & some[None, :]
        scale = tl.load(scale_ptr + group[None, :] * rows + row[:, None], mask=inside, other=0.0)
        part = denormal(words, 0) * x0[None, :] + denormal(words, 1) * x1[None, :]
        part += denormal(words, 2) * x2[None, :]
        part += denormal(words, 3) * x3[None, :]
        part += denormal(words, 4) * x4[None, :]
        part += denormal(words, 5) * x5[None, :]
        part += denormal(words, 6) * x6[None, :]
        part += denormal(words, 7) * x7[None, :]
        sums = tl.sum(tl.reshape(part, [ROWS, GROUPS, WORDS]), 2) * 2.0**93 - shift[None, :]
        out = tl.sum(sums * scale.to(tl.float32), 1)
        tl.store(out_ptr + row, out.to(out_ptr.dtype.element_ty), mask=row < rows)


def gemv_int4(x, packed, scale, group_size):
    """x (..., columns), packed (rows, columns / 2), scale (columns / group_size, rows) -> (..., rows) like x."""
    if x.dtype not in (torch.float16, torch.bfloat16) or x.dtype != scale.dtype or packed.dtype != torch.uint8:
        dtypes = f"{x.dtype}, {packed.dtype}, {scale.dtype}"
        raise TypeError(f"gemv_int4: wants float16 or bfloat16, with packed weights of uint8, got {dtypes}")
    if group_size < 128 or group_size & (group_size - 1):
        raise ValueError(f"gemv_int4: wants groups of a power of 2 from 128 columns on, got {group_size}")
    columns = x.shape[-1] if x.dim() else 0
    rows = packed.shape[0] if packed.dim() else 0
    if (
        columns % group_size
        or tuple(packed.shape) != (rows, columns // 2)
        or tuple(scale.shape) != (columns // group_size, rows)
    ):
        shapes = f"{tuple(x.shape)}, {tuple(packed.shape)}, {tuple(scale.shape)}"
        raise ValueError(f"gemv_int4: wants x (..., C), packed (R, C / 2), scale (C / {group_size}, R), got {shapes}")
    x, scale = x.contiguous(), scale.contiguous()
    words = packed.contiguous().view(torch.int32)
    tokens = x.shape[:-1].numel()
    make = torch.empty if columns else torch.zeros  # sums of nothing
    out = make(*x.shape[:-1], rows, device=x.device, dtype=x.dtype)
    if out.numel() == 0 or columns == 0:
        return out
    if tokens == 1 and columns <= 32768:
        BLOCK = triton.next_power_of_2(columns // 8)
        ROWS, most, warps = (4, 2, 8) if BLOCK <= 1024 else (2, 1, 16)
        sms = torch.cuda.get_device_properties(x.device).multi_processor_count
        programs = min(triton.cdiv(rows, ROWS), most * sms)
        staying_kernel[(programs,)](
            x,
            words,
            scale,
            out,
            rows,
            columns // 8,
            GROUP=group_size,
            ROWS=ROWS,
            BLOCK=BLOCK,
            PROGRAMS=programs,
            STAGES=3,
            num_warps=min(max(BLOCK // 128, 1), warps),
        )
        return out
    if tokens == 1:
        one_token_kernel[(triton.cdiv(rows, 2),)](
            x, words, scale, out, rows, columns // 8, GROUP=group_size, ROWS=2, BLOCK=512
        )
        return out

    tiles = triton.cdiv(rows, 64) * triton.cdiv(tokens, 16)
    groups = columns // group_size
    part_groups = triton.cdiv(groups, min(max(RESIDENT // tiles, 1), triton.cdiv(groups, 8)))
    parts = triton.cdiv(groups, part_groups)
    sums = torch.empty(parts, *out.shape, device=x.device, dtype=torch.float32) if parts > 1 else out
    parts_kernel[(triton.cdiv(rows, 64), parts, triton.cdiv(tokens, 16))](
        x, words, scale, sums, tokens, rows, columns // 8, part_groups, GROUP=group_size, TOKENS=16, ROWS=64, STAGES=4
    )
    if parts > 1:
        add_kernel[(triton.cdiv(out.numel(), 512),)](sums, out, out.numel(), parts, BLOCK_SIZE=512)
    return out


class ModelNew(nn.Module):
    def __init__(self, group_size: int = 128):
        super().__init__()
        self.group_size = group_size

    def forward(self, x: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return gemv_int4(x, packed, scale, self.group_size)
