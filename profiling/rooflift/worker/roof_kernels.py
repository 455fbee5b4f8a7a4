"""The Triton kernels whose rates are a GPU's roofs, and the one that streams a case's bytes. None is timed here.

What the compiler makes of them is part of the method, and tests hold it: `copy` and `stream` move 16 bytes an
instruction, the loads of `read` pass L1 by, the loops of `multiply_add` and `tile_product` touch no global memory.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
# ruff: noqa: ANN001, ANN201, N803 -- triton's arguments have no Python types, and its constants are capitals

import triton
import triton.language as tl


@triton.jit
def copy(source_ptr, target_ptr, BLOCK: tl.constexpr):
    """Copy BLOCK int32 elements a program: 8 bytes of traffic an element."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(target_ptr + at, tl.load(source_ptr + at))


@triton.jit
def stream(
    source_ptr, target_ptr, reads, writes, source_words, target_words,
    LANES: tl.constexpr, LOADS: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """Read `reads` and write `writes` int32 words a program, up to the words of source and target in all.

    A lane adds up the words that it reads, LOADS at most. `writes` are at most LANES. Every lane that reads also
    writes (all but some of the last program, where the sizes end), so that the compiler can leave out no load; where
    more lanes read than write, SUM adds up all of them.
    """
    lanes = tl.arange(0, LANES)
    program = tl.program_id(0).to(tl.int64)
    total = lanes
    for load in tl.static_range(LOADS):
        at = load * LANES + lanes
        word = program * reads + at
        total += tl.load(source_ptr + word, mask=(at < reads) & (word < source_words), other=0)
    if SUM:
        total = lanes + tl.sum(total, 0)
    word = program * writes + lanes
    tl.store(target_ptr + word, total, mask=(lanes < writes) & (word < target_words))


@triton.jit(do_not_specialize=["steps"])
def read(source_ptr, sums_ptr, steps, blocks, BLOCK: tl.constexpr, LOADS: tl.constexpr):
    """Add up `steps` x LOADS blocks of BLOCK int32 elements a program, 4 bytes of traffic an element.

    The programs walk the `blocks` of the buffer side by side and begin again at its end, so each SM comes to all of it;
    .cg keeps no line in L1.
    """
    programs = tl.num_programs(0)
    block = tl.program_id(0) % blocks
    total = tl.zeros((BLOCK,), tl.int32)
    for _ in range(steps):
        for _ in tl.static_range(LOADS):
            at = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
            total += tl.load(source_ptr + at, cache_modifier=".cg")
            block = (block + programs) % blocks
    tl.store(sums_ptr + tl.program_id(0), tl.sum(total, 0))


@triton.jit(do_not_specialize=["steps"])
def multiply_add(x_ptr, y_ptr, factor, steps, LANES: tl.constexpr, UNROLL: tl.constexpr):
    """Compute x = factor * x + b `steps` x UNROLL times on LANES values a program: 2 FLOP each, in registers.

    Of the values' type, float32 or float64. A thread's values are chains that do not wait for each other.
    """
    at = tl.program_id(0) * LANES + tl.arange(0, LANES)
    x = tl.load(x_ptr + at)
    b = tl.load(x_ptr + tl.arange(0, LANES))
    for _ in range(steps):
        for _ in tl.static_range(UNROLL):
            x = tl.fma(x, factor, b)
    tl.store(y_ptr + at, x)


@triton.jit(do_not_specialize=["steps"])
def exponentials(x_ptr, y_ptr, steps, LANES: tl.constexpr, UNROLL: tl.constexpr):
    """Compute x = 2^-x `steps` x UNROLL times on LANES float32 a program, one special function each, in registers."""
    at = tl.program_id(0) * LANES + tl.arange(0, LANES)
    x = tl.load(x_ptr + at)
    for _ in range(steps):
        for _ in tl.static_range(UNROLL):
            x = tl.exp2(-x)
    tl.store(y_ptr + at, x)


@triton.jit(do_not_specialize=["steps"])
def tile_product(a_ptr, b_ptr, sums_ptr, steps, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """Add the product of an M x K and a K x N tile `steps` times a program, 2 M N K FLOP each, accumulated in `sums`.

    The tiles stay in shared memory or registers. B lies with K contiguous, as the tensor cores take all but 16 bits.
    The sums are float32, of float64 float64 and of int8 int32.
    """
    rows, columns, inner = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(a_ptr + rows[:, None] * K + inner[None, :])
    b = tl.load(b_ptr + columns[None, :] * K + inner[:, None])
    product = tl.zeros((M, N), sums_ptr.dtype.element_ty)
    for _ in range(steps):
        product = tl.dot(a, b, product, input_precision="tf32", out_dtype=product.dtype)
    tl.store(sums_ptr + tl.program_id(0) * M + rows, tl.sum(product, 1))


@triton.jit
def matrix_product(
    a_ptr, b_ptr, c_ptr, columns, inner, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr
):
    """Multiply two matrices from memory, an M x N tile a program, 2 M N `inner` FLOP each.

    The sums are float32, of int8 int32.

    A, B (transposed) and C are contiguous; their sizes are multiples of the tile's. GROUP rows of tiles go together,
    so that their operands meet in L2.
    """
    tiles = columns // N
    group, place = tl.program_id(0) // (GROUP * tiles), tl.program_id(0) % (GROUP * tiles)
    row = (group * GROUP + place % GROUP) * M + tl.arange(0, M)
    column = place // GROUP * N + tl.arange(0, N)
    depth = tl.arange(0, K)
    a_at = a_ptr + row[:, None].to(tl.int64) * inner + depth[None, :]
    b_at = b_ptr + column[None, :].to(tl.int64) * inner + depth[:, None]
    product = tl.zeros((M, N), tl.int32 if a_ptr.dtype.element_ty == tl.int8 else tl.float32)
    for _ in range(0, inner, K):
        product = tl.dot(tl.load(a_at), tl.load(b_at), product, input_precision="tf32", out_dtype=product.dtype)
        a_at += K
        b_at += K
    tl.store(c_ptr + row[:, None].to(tl.int64) * columns + column[None, :], product.to(c_ptr.dtype.element_ty))
