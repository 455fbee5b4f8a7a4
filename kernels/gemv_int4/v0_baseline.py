"""Baseline: a matrix product of 64 rows a program, its weights unpacked to 16 bits a group at a time.

Stage:   baseline
Change:  the algorithm that the ladder starts from: for each group of columns, the eight positions of its words are
         eight products on the tensor cores with a sum in float32, which the group's scale multiplies.
Why:     the shortest correct kernel, whatever the number of tokens: they are padded to 16. 8192 rows are 128 programs,
         one for each SM; 4 KB of weights are on their way in each, and a weight costs some five instructions, one of
         them a conversion of an integer, of which an SM does 16 a clock: 18 us for 67 million, where their bytes need
         12.
Expect:  sol_pct 3..25, dram_pct < 30, grid_size 128..128, tokens_16/bfloat16: sol_pct 3..25
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def number(words, position: tl.constexpr, like):
    """The weight, from -8 to 7, at a position of 8 in each word, in the dtype of `like`."""
    return (((words >> (4 * position)) & 15) - 8).to(like.dtype)


@triton.jit
def tokens_kernel(
    x_ptr,
    word_ptr,
    scale_ptr,
    out_ptr,
    tokens,
    rows,
    words_a_row,  # a multiple of 16, which the compiler sees
    GROUP: tl.constexpr,
    TOKENS: tl.constexpr,  # of a tile: 16, the fewest that the tensor cores multiply
    ROWS: tl.constexpr,
    STAGES: tl.constexpr,
):
    WORDS: tl.constexpr = GROUP // 8
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, WORDS)
    x_ptrs = x_ptr + token[:, None] * (words_a_row * 8) + lane[None, :]
    word_ptrs = word_ptr + row.to(tl.int64)[None, :] * words_a_row + lane[:, None]
    sums = tl.zeros([TOKENS, ROWS], dtype=tl.float32)
    for group in tl.range(0, words_a_row // WORDS, num_stages=STAGES):
        words = tl.load(word_ptrs + group * WORDS, mask=(row < rows)[None, :], other=0)
        scale = tl.load(scale_ptr + group * rows + row, mask=row < rows, other=0.0).to(tl.float32)
        part = tl.zeros([TOKENS, ROWS], dtype=tl.float32)
        for position in tl.static_range(8):
            x = tl.load(x_ptrs + group * GROUP + position * WORDS, mask=(token < tokens)[:, None], other=0.0)
            part = tl.dot(x, number(words, position, x), part)
        sums += part * scale[None, :]
    tl.store(
        out_ptr + token.to(tl.int64)[:, None] * rows + row[None, :],
        sums.to(out_ptr.dtype.element_ty),
        mask=(token < tokens)[:, None] & (row < rows)[None, :],
    )


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
    tokens_kernel[(triton.cdiv(rows, 64), triton.cdiv(tokens, 16))](
        x, words, scale, out, tokens, rows, columns // 8, GROUP=group_size, TOKENS=16, ROWS=64, STAGES=1
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, group_size: int = 128):
        super().__init__()
        self.group_size = group_size

    def forward(self, x: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return gemv_int4(x, packed, scale, self.group_size)
