"""Algorithm: 64 groups of a row hold its 64 largest values; only those groups are read a second time.

Stage:   algorithm
Change:  a program owns a row. Vectors of 16 bytes at a fixed distance are a group, whose maximum a thread keeps while
         it streams the row. The 64 groups with the largest maxima are found by halving, between the smallest and the
         largest, until 64 maxima are at least the bound. Their elements alone are read again, those from the bound on
         are listed and sorted. In 16 bits a word of 32 bits holds a key and its place in the list.
Why:     what is larger than the 64th of the groups' maxima lies in the 64 groups above it. So 25 % of a row of 4096
         and 3 % of one of 131072 are compared, counted and placed; v5 does so with all: 77.8 million instructions of
         warps for 33.5 million elements, 74 for each 32, in 34 % of the issue slots. Its hot lines are the load of a
         loop with few vectors on their way (line 28: 14044 of 26688 samples, stall_long_scoreboard) and the scans of
         each block (lines 77, 191 and 343: barriers between 4 warps). A maximum costs 1 instruction an element in
         float32 and 2 in bfloat16. Compiled for sm_90 a row of 4096 is some 3000 instructions of its only warp, 24
         million of all warps (26 us of the issue slots of 132 SMs); a row of 131072 has 8 warps with 8 vectors a
         thread on their way, 64 KB an SM, and two rows an SM: all 256 are resident at once.
Expect:  time_x 0.20..0.50, sol_pct 42..85, excess_traffic 0.97..1.12, inst_executed_x 0.04..0.25,
         main/bfloat16: time_x 0.11..0.40, rows_4096/float32: time_x 0.22..0.60,
         ragged_50257/float32: time_x 0.13..0.45, one_row/float32: time_x 0.30..1.50
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

LOWEST = tl.constexpr(-(2**31))  # below what any float is ordered as
LARGEST = tl.constexpr(2**31 - 1)  # above
HELD = 8  # vectors of a row that a thread loads at once


@triton.jit
def larger(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def maximum_of_each(x, V: tl.constexpr):
    """The largest of the V elements of each row, in float32."""
    x = x.to(tl.float32)
    HALVES: tl.constexpr = 3 if V == 8 else 2
    for step in tl.static_range(HALVES):
        left, right = tl.split(tl.reshape(x, [x.shape[0], V >> (step + 1), 2]))
        x = larger(left, right)
    return tl.reshape(x, [x.shape[0]])


@triton.jit
def ordered(x):
    """An int32 for each float, in the same order; nan is the largest. Those of 16 bits are made of their own bits."""
    SIGN: tl.constexpr = 0x7FFF if x.dtype.primitive_bitwidth == 16 else 0x7FFFFFFF
    WORD: tl.constexpr = tl.int16 if x.dtype.primitive_bitwidth == 16 else tl.int32
    bits = x.to(WORD, bitcast=True).to(tl.int32)
    return tl.where(x != x, SIGN - 1, tl.where(bits < 0, bits ^ SIGN, bits))


@triton.jit
def value_of(key, kind: tl.constexpr):
    """The float that is ordered as this key."""
    SIGN: tl.constexpr = 0x7FFF if kind.primitive_bitwidth == 16 else 0x7FFFFFFF
    WORD: tl.constexpr = tl.int16 if kind.primitive_bitwidth == 16 else tl.int32
    return tl.where(key < 0, key ^ SIGN, key).to(WORD).to(kind, bitcast=True)


@triton.jit
def between(low, high):
    """Their mean, rounded down; the sum of two int32 may pass 2^31."""
    return (low >> 1) + (high >> 1) + (low & high & 1)


@triton.jit
def chosen(begin_ptr, group, depth, vectors, GROUPS: tl.constexpr, SOME: tl.constexpr, V: tl.constexpr):
    """Keys of SOME vectors of each chosen group, from a depth on, and of each its number among all chosen."""
    K: tl.constexpr = group.shape[0]
    lane = tl.arange(0, K * SOME * V)
    each = tl.reshape(tl.broadcast_to(group[:, None], [K, SOME * V]), [K * SOME * V])
    vector = (depth + lane // V % SOME) * GROUPS + tl.max_constancy(each, V)
    x = tl.load(begin_ptr + vector * V + lane % V, mask=vector < vectors, other=0.0)
    return tl.where(vector < vectors, ordered(x), LOWEST), lane + depth * (K * V)


@triton.jit
def word_of(key, number, WORD: tl.constexpr):
    """A key above the complement of a number: the larger key is the larger, of equal ones the one listed first."""
    SHIFT: tl.constexpr = WORD.primitive_bitwidth // 2
    return (key.to(WORD) << SHIFT) | (number ^ ((1 << (SHIFT - 1)) - 1)).to(WORD)


@triton.jit
def listed(
    begin_ptr,
    word_ptr,
    group,
    vectors,
    low,  # keys from this on
    high,  # and below this
    count,  # of what is in the list already
    GROUPS: tl.constexpr,
    SOME: tl.constexpr,
    V: tl.constexpr,
    CAPACITY: tl.constexpr,
):
    """List the chosen groups' elements with keys in a range, as far as there is room, and return the count of all."""
    for depth in range(0, tl.cdiv(vectors, GROUPS), SOME):
        key, number = chosen(begin_ptr, group, depth, vectors, GROUPS, SOME, V)
        wanted = (key >= low) & (key < high)
        place = count + tl.cumsum(wanted.to(tl.int32), 0) - 1
        word = word_of(key, number, word_ptr.dtype.element_ty)
        tl.store(word_ptr + place, word, mask=wanted & (place < CAPACITY))
        count = tl.max(place, 0) + 1
    return count


@triton.jit
def rows_kernel(
    x_ptr,
    group_ptr,  # K groups of each row
    word_ptr,  # CAPACITY candidates of each row
    value_ptr,
    index_ptr,
    columns,
    k,
    K: tl.constexpr,
    GROUPS: tl.constexpr,
    CAPACITY: tl.constexpr,  # of the list: a power of 2, at least K + 2 V
    SOME: tl.constexpr,  # vectors of a chosen group that are read at once
    V: tl.constexpr,  # elements of 16 bytes
    EDGES: tl.constexpr,  # rows may begin between two vectors
):
    row = tl.program_id(0).to(tl.int64)
    start = row * columns
    begin_ptr = x_ptr + start
    head = 0
    vectors = columns // V
    if EDGES:  # the row's whole vectors, from the first multiple of V elements on
        first = (start + V - 1) // V * V
        begin_ptr = x_ptr + first
        head = tl.minimum((first - start).to(tl.int32), columns)  # elements before them
        vectors = (columns - head) // V
    group = tl.arange(0, GROUPS)
    column = group[:, None] * V + tl.arange(0, V)[None, :]
    maxima = tl.full([GROUPS], float("-inf"), tl.float32)
    for depth in range(vectors // GROUPS):
        x = tl.load(begin_ptr + depth * (GROUPS * V) + column)
        maxima = larger(maxima, maximum_of_each(x, V))
    depth = vectors // GROUPS
    rest = vectors - depth * GROUPS
    if rest > 0:
        x = tl.load(begin_ptr + depth * (GROUPS * V) + column, mask=(group < rest)[:, None], other=float("-inf"))
        maxima = larger(maxima, maximum_of_each(x, V))
    key = tl.where(group < vectors, ordered(maxima.to(x_ptr.dtype.element_ty)), LOWEST)

    # k maxima are at least `low`, fewer than k are at least `high`
    low = tl.min(key, 0)
    high = tl.max(key, 0) + 1
    found = GROUPS
    middle = between(low, high)
    while (middle > low) & (found != k):
        count = tl.sum((key >= middle).to(tl.int32), 0)
        found = tl.where(count >= k, count, found)
        low = tl.where(count >= k, middle, low)
        high = tl.where(count >= k, high, middle)
        middle = between(low, high)
    above = (key > low).to(tl.int32)
    equal = (key == low).to(tl.int32)
    before = tl.cumsum(above + (equal << 16), 0)
    place = tl.where(above > 0, before & 0xFFFF, tl.sum(above, 0) + (before >> 16)) - 1
    tl.store(group_ptr + row * K + place, group, mask=(key >= low) & (place < k))
    tl.debug_barrier()  # groups are read by other threads than those that stored them
    rank = tl.arange(0, K)
    some_groups = tl.load(group_ptr + row * K + rank, mask=rank < k, other=0)
    some_groups = tl.where(rank < k, some_groups, vectors)  # a group without a vector
    low = tl.maximum(low, LOWEST + 1)  # where fewer than k groups have one

    own_ptr = word_ptr + row * CAPACITY
    WORD: tl.constexpr = word_ptr.dtype.element_ty
    SHIFT: tl.constexpr = WORD.primitive_bitwidth // 2
    LAST: tl.constexpr = (1 << (SHIFT - 1)) - 1  # number of an element
    edges = 0
    if EDGES:  # the fewer than V elements before and behind the vectors are candidates, whatever they are
        lane = tl.arange(0, 2 * V)
        edge = tl.where(lane < V, lane, head + vectors * V + lane - V)
        outside = tl.where(lane < V, lane < head, edge < columns)
        edge_key = ordered(tl.load(x_ptr + start + edge, mask=outside, other=0.0))
        edge_place = tl.where(lane < V, lane, head + lane - V)
        tl.store(own_ptr + edge_place, word_of(edge_key, edge_place ^ LAST, WORD), mask=outside)
        edges = columns - vectors * V
    count = listed(begin_ptr, own_ptr, some_groups, vectors, low, LARGEST, edges, GROUPS, SOME, V, CAPACITY)
    if count > CAPACITY:  # ties, or most large values in few groups: raise the bound as far as k elements allow
        high = tl.max(key, 0) + 1
        middle = between(low, high)
        while (middle > low) & (count > CAPACITY):
            found = 0
            for depth in range(0, tl.cdiv(vectors, GROUPS), SOME):
                some_key, _ = chosen(begin_ptr, some_groups, depth, vectors, GROUPS, SOME, V)
                found += tl.sum((some_key >= middle).to(tl.int32), 0)
            count = tl.where(found >= k, found + edges, count)
            low = tl.where(found >= k, middle, low)
            high = tl.where(found >= k, high, middle)
            middle = between(low, high)
        tl.debug_barrier()  # the list is written anew
        count = listed(begin_ptr, own_ptr, some_groups, vectors, low + 1, LARGEST, edges, GROUPS, SOME, V, CAPACITY)
        count = listed(begin_ptr, own_ptr, some_groups, vectors, low, low + 1, count, GROUPS, SOME, V, CAPACITY)
    tl.debug_barrier()  # and so are candidates

    candidate = tl.arange(0, CAPACITY)
    words = tl.load(own_ptr + candidate, mask=candidate < count, other=0)
    words = tl.topk(tl.where(candidate < count, words, tl.full([CAPACITY], LOWEST, WORD) << (SHIFT - 16) * 2), K)
    number = (words & LAST).to(tl.int32) ^ LAST
    inside = rank < k
    its_group = tl.load(group_ptr + row * K + number // (SOME * V) % K, mask=inside, other=0)
    depth = number // (K * SOME * V) * SOME + number // V % SOME
    index = head + (depth * GROUPS + its_group) * V + number % V
    if EDGES:
        edge_place = number ^ LAST
        index = tl.where(edge_place < edges, edge_place + tl.where(edge_place < head, 0, vectors * V), index)
    at = row * k + rank
    tl.store(value_ptr + at, value_of((words >> SHIFT).to(tl.int32), value_ptr.dtype.element_ty), mask=inside)
    tl.store(index_ptr + at, index.to(tl.int64), mask=inside)


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
    V = 16 // x.element_size()
    K = max(triton.next_power_of_2(k), 2)  # tl.topk takes no 1
    CAPACITY = max(2 * K, 64)
    warps = min(max(triton.next_power_of_2(columns) // 16384, 1), 8)
    GROUPS = HELD * 32 * warps
    vectors = triton.next_power_of_2(triton.cdiv(columns // V, GROUPS))  # of a group
    SOME = min(max(512 * warps // (K * V), 1), max(vectors, 1))
    groups = torch.empty(rows, K, device=x.device, dtype=torch.int32)
    # numbers of a row's elements in 64 groups, and those of its edges, fit 15 bits below a key of 16
    WORD = torch.int32 if V == 8 and K * (vectors * V) + 2 * V < 2**15 else torch.int64
    words = torch.empty(rows, CAPACITY, device=x.device, dtype=WORD)
    rows_kernel[(rows,)](
        x,
        groups,
        words,
        values,
        indices,
        columns,
        k,
        K=K,
        GROUPS=GROUPS,
        CAPACITY=CAPACITY,
        SOME=SOME,
        V=V,
        EDGES=columns % V != 0,
        num_warps=warps,
        maxnreg=96 if warps == 1 else 128,  # 21 rows an SM, or two of 8 warps
    )
    return values, indices


class ModelNew(nn.Module):
    def __init__(self, k: int = 64):
        super().__init__()
        self.k = k

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return topk(x, self.k)
