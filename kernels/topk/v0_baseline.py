"""Baseline: a program owns a row and keeps its best 64 while it sorts blocks of 1024.

Stage:   baseline
Change:  the algorithm that the ladder starts from: a value and its column are one int64, whose order is that of the
         values; tl.topk sorts each block bitonically down to 64 and merges them with those so far.
Why:     the shortest correct kernel. Each element takes part in some thirty rounds of compare and swap of 64 bits, a
         dozen instructions each, and blocks follow each other: 128 times a round trip and the latency of 30 exchanges
         between threads, in 256 programs for 132 SMs.
Expect:  sol_pct 0.3..8, dram_pct < 10, excess_traffic 0.95..1.10, rows_4096/float32: sol_pct 1..20
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

LOWEST = tl.constexpr(-(2**31))  # below what any float is ordered as


@triton.jit
def ordered(x):
    """An int32 for each float, in the same order; nan is the largest."""
    bits = x.to(tl.float32).to(tl.int32, bitcast=True)
    return tl.where(x != x, 0x7FFFFFFF, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@triton.jit
def pack(key, column):
    """A key above its column as one int64: the larger value is the larger, of equal ones the first."""
    return (key.to(tl.int64) << 32) | (0x7FFFFFFF - column).to(tl.int64)


@triton.jit
def store_best(words, value_ptr, index_ptr, row, k, K: tl.constexpr):
    """Store what a row's K best words hold: k values, made of their keys again, and their columns."""
    rank = tl.arange(0, K)
    key = (words >> 32).to(tl.int32)
    value = tl.where(key < 0, key ^ 0x7FFFFFFF, key).to(tl.float32, bitcast=True)
    place = row.to(tl.int64) * k + rank
    tl.store(value_ptr + place, value.to(value_ptr.dtype.element_ty), mask=rank < k)
    tl.store(index_ptr + place, 0x7FFFFFFF - (words & 0x7FFFFFFF), mask=rank < k)


@triton.jit
def better(best, words, K: tl.constexpr):
    """The K best of K words and of others."""
    return tl.topk(tl.reshape(tl.join(best, tl.topk(words, K)), [2 * K]), K)


@triton.jit
def topk_kernel(x_ptr, value_ptr, index_ptr, columns, k, K: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    row = tl.program_id(0)
    start = row.to(tl.int64) * columns
    best = tl.full([K], LOWEST, tl.int64) << 32
    for first in range(0, columns, BLOCK_SIZE):
        column = first + tl.arange(0, BLOCK_SIZE)
        x = tl.load(x_ptr + start + column, mask=column < columns, other=0.0)
        best = better(best, pack(tl.where(column < columns, ordered(x), LOWEST), column), K)
    store_best(best, value_ptr, index_ptr, row, k, K)


def topk(x, k):
    """x (..., columns) -> its k largest values in falling order, like x, and their positions, int64, (..., k)."""
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"topk: wants float32, float16 or bfloat16, got {x.dtype}")
    columns = x.shape[-1] if x.dim() else 0
    if not 1 <= k <= min(columns, 128):
        raise ValueError(f"topk: wants k from 1 to 128 and to the number of columns, {columns}, got {k}")
    x = x.contiguous()
    values = torch.empty(*x.shape[:-1], k, device=x.device, dtype=x.dtype)
    indices = torch.empty(*x.shape[:-1], k, device=x.device, dtype=torch.int64)
    rows = x.shape[:-1].numel()
    if rows == 0:
        return values, indices
    K = max(triton.next_power_of_2(k), 2)  # tl.topk takes no 1
    topk_kernel[(rows,)](x, values, indices, columns, k, K=K, BLOCK_SIZE=1024)
    return values, indices


class ModelNew(nn.Module):
    def __init__(self, k: int = 64):
        super().__init__()
        self.k = k

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return topk(x, self.k)
