"""Algorithm: the bound is the 64th of 256 maxima instead of the smallest of 64.

Stage:   algorithm
Change:  a part is 256 groups of 16 keys; the 64th largest of their maxima, found by sorting 256 numbers of 32 bits, is
         the bound, and 128 candidates the most that are sorted.
Why:     with more and smaller groups the bound comes closer to the 64th value: for random values some 75 of 4096 keys
         are above it instead of 280. A sort of 128 words of 64 bits, one a thread, takes the place of one of 512; one
         of 256 numbers of 32 bits comes in addition.
Expect:  time_x 0.60..1.10, sol_pct 15..60, rows_4096/float32: time_x 0.60..1.10
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
def count_from(key, lowest):
    """How many keys are at least this one."""
    return tl.sum(tl.sum((key >= lowest).to(tl.int32), 1), 0)


@triton.jit
def parts_kernel(
    x_ptr,
    candidate_ptr,  # CAPACITY columns of each part
    word_ptr,  # the best K of each part
    value_ptr,
    index_ptr,
    columns,
    parts,
    k,
    K: tl.constexpr,
    DEPTH: tl.constexpr,
    GROUPS: tl.constexpr,  # of DEPTH keys each; at least K
    CAPACITY: tl.constexpr,  # candidates that are sorted
    ALONE: tl.constexpr,  # a row has one part
):
    row = tl.program_id(0) // parts
    lane = tl.arange(0, DEPTH)[:, None] * GROUPS + tl.arange(0, GROUPS)[None, :]
    column = tl.program_id(0) % parts * (DEPTH * GROUPS) + lane
    inside = column < columns
    x = tl.load(x_ptr + row.to(tl.int64) * columns + column, mask=inside, other=0.0, eviction_policy="evict_first")
    key = tl.where(inside, ordered(x), LOWEST)

    bound = tl.min(tl.topk(tl.max(key, 0), K), 0)  # K groups have a key that is at least this
    count = count_from(key, bound)
    low = bound.to(tl.int64)
    high = tl.full([], 2**31, tl.int64)
    while (count > CAPACITY) & (high - low > 1):  # ties, or most large ones in few groups: halve what is between
        middle = (low + high) >> 1
        found = count_from(key, middle.to(tl.int32))
        enough = found >= K
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle)
        count = tl.where(enough, found, count)
    bound = low.to(tl.int32)

    # those above the bound come first: they are fewer than CAPACITY, whatever the number of equal ones
    above = (key > bound).to(tl.int32)
    equal = (key == bound).to(tl.int32)
    before = tl.reshape(tl.cumsum(tl.reshape(above + (equal << 16), [DEPTH * GROUPS]), 0), [DEPTH, GROUPS])
    all_above = tl.sum(tl.sum(above, 1), 0)
    place = tl.where(above > 0, before & 0xFFFF, all_above + (before >> 16)) - 1
    mine = candidate_ptr + tl.program_id(0).to(tl.int64) * CAPACITY
    tl.store(mine + place, column, mask=(key >= bound) & (place < CAPACITY))
    tl.debug_barrier()  # candidates are read by other threads than those that stored them
    some = tl.arange(0, CAPACITY)
    chosen = tl.load(mine + some, mask=some < count, other=0)
    again = tl.load(x_ptr + row.to(tl.int64) * columns + chosen, mask=(some < count) & (chosen < columns), other=0.0)
    chosen_key = tl.where((some < count) & (chosen < columns), ordered(again), LOWEST)
    best = tl.topk(pack(chosen_key, chosen), K)
    if ALONE:
        store_best(best, value_ptr, index_ptr, row, k, K)
    else:
        tl.store(word_ptr + tl.program_id(0).to(tl.int64) * K + tl.arange(0, K), best)


@triton.jit
def merge_kernel(
    word_ptr,  # the best K of each part
    value_ptr,
    index_ptr,
    words,  # of a row
    k,
    K: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
):
    row = tl.program_id(0)
    start = row.to(tl.int64) * words
    lane = tl.arange(0, BLOCK_SIZE)
    lowest = tl.full([BLOCK_SIZE], LOWEST, tl.int64) << 32
    some = tl.load(word_ptr + start + lane, mask=lane < words, other=0)
    best = tl.topk(tl.where(lane < words, some, lowest), K)
    for first in range(BLOCK_SIZE, words, BLOCK_SIZE):
        inside = first + lane < words
        some = tl.load(word_ptr + start + first + lane, mask=inside, other=0)
        best = better(best, tl.where(inside, some, lowest), K)
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
    GROUPS = 4 * K
    DEPTH = max(min(triton.next_power_of_2(columns), 4096) // GROUPS, 1)
    CAPACITY = 2 * K
    parts = triton.cdiv(columns, DEPTH * GROUPS)
    candidates = torch.empty(rows, parts, CAPACITY, device=x.device, dtype=torch.int32)
    words = torch.empty(rows, parts, K, device=x.device, dtype=torch.int64)
    parts_kernel[(rows * parts,)](
        x,
        candidates,
        words,
        values,
        indices,
        columns,
        parts,
        k,
        K=K,
        DEPTH=DEPTH,
        GROUPS=GROUPS,
        CAPACITY=CAPACITY,
        ALONE=parts == 1,
        num_warps=4,
    )
    if parts > 1:
        BLOCK_SIZE = max(min(triton.next_power_of_2(parts * K), 1024), 2 * K)
        merge_kernel[(rows,)](words, values, indices, parts * K, k, K=K, BLOCK_SIZE=BLOCK_SIZE)
    return values, indices


class ModelNew(nn.Module):
    def __init__(self, k: int = 64):
        super().__init__()
        self.k = k

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return topk(x, self.k)
