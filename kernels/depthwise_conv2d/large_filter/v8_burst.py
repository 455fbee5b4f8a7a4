"""Burst: a plane's first 64 rows are one load and one exchange, so that nothing waits between its requests.

Stage:   memory
Change:  v17 with row steps 0 to 7 of all strips as one (64, 64) tile; the filters are asked for before it.
Why:     v17 on the H100, k7_56: 46 us; v18, which overlaps images, 55 us. Both still wait for memory in 60 % of their
         time, and both are as slow a program with 12 as with 16 an SM: 13 us, far above one trip to DRAM. The compiled
         code tells why: the compiler puts each row's exchange right behind its load, so that v17 makes seven trips one
         after the other. One tile is 32 loads in a row before the first wait (compiled for sm_90, 140 registers, 14
         programs an SM). Expected there: 38 us. The main case keeps v10's path.
Expect:  time_x 0.99..1.01, dram_pct > 88, excess_traffic < 1.05
"""

import math

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def split_columns(x):
    """(LANES, N) -> N tensors (LANES,), in order; N a power of two. A renaming of registers."""
    LANES: tl.constexpr = x.shape[0]
    N: tl.constexpr = x.shape[1]
    if N == 1:
        return (tl.reshape(x, [LANES]),)
    else:
        left, right = tl.split(tl.permute(tl.reshape(x, [LANES, 2, N // 2]), (0, 2, 1)))
        return split_columns(left) + split_columns(right)


@triton.jit
def join_columns(columns, first: tl.constexpr, N: tl.constexpr):
    """Tensors first, ..., first + N - 1 of (LANES,) -> (LANES, N)."""
    LANES: tl.constexpr = columns[first].shape[0]
    if N == 1:
        return tl.reshape(columns[first], [LANES, 1])
    else:
        left = join_columns(columns, first, N // 2)
        right = join_columns(columns, first + N // 2, N // 2)
        return tl.reshape(tl.permute(tl.join(left, right), (0, 2, 1)), [LANES, N])


@triton.jit
def columns_inside(lane_inside, first, N: tl.constexpr, W: tl.constexpr, WHOLE: tl.constexpr):
    """Which of columns first, ..., first + N - 1 a row has; WHOLE: all or none, which keeps the access one vector."""
    if WHOLE:
        return (lane_inside & (first >= 0) & (first < W))[:, None]
    else:
        cols = first[:, None] + tl.arange(0, N)[None, :]
        return lane_inside[:, None] & (cols >= 0) & (cols < W)


@triton.jit
def load_row(pointers, insides, offset, row_in, H: tl.constexpr, MASK_ROWS: tl.constexpr):
    """Load one input row as it lies in memory, 0 outside the image: a tuple of (LANES, N), from left to right."""
    row = ()
    for piece in tl.static_range(len(pointers)):
        inside = insides[piece]
        if MASK_ROWS:
            inside = inside & ((row_in >= 0) & (row_in < H))
        row = row + (tl.load(pointers[piece] + offset, mask=inside, other=0.0),)
    return row


@triton.jit
def row_columns(loaded, PIECES: tl.constexpr):
    """Hand out the first loaded row as columns (LANES,) in float32, from left to right."""
    columns = ()
    for piece in tl.static_range(PIECES):
        columns = columns + split_columns(loaded[piece].to(tl.float32))
    return columns


@triton.jit
def column_of(own, chunk, e: tl.constexpr, SPAN: tl.constexpr, CHUNKS: tl.constexpr):
    """Column e counted from the lane's first own one: its own, or by a warp shuffle that of a lane beside it."""
    if e >= 0 and e < SPAN:
        return own[e]
    else:
        return from_lane_beside(own[e % SPAN], chunk, e // SPAN, CHUNKS)


@triton.jit
def from_lane_beside(column, chunk, by: tl.constexpr, CHUNKS: tl.constexpr):
    """The column of the lane `by` further on, 0 beyond the row's ends."""
    lanes = tl.arange(0, column.shape[0])
    beside = tl.gather(column, (lanes + by) % column.shape[0], 0)
    return tl.where((chunk + by >= 0) & (chunk + by < CHUNKS), beside, 0.0)


@triton.jit
def row_by_shuffle(own, chunk, PADDING: tl.constexpr, COLUMNS: tl.constexpr, SPAN: tl.constexpr, CHUNKS: tl.constexpr):
    """The COLUMNS columns under the filters of a lane's outputs, of which it has loaded SPAN."""
    row = ()
    for e in tl.static_range(COLUMNS):
        row = row + (column_of(own, chunk, e - PADDING, SPAN, CHUNKS),)
    return row


@triton.jit
def add_row(
    window,
    row,
    weights,
    i: tl.constexpr,
    first: tl.constexpr,
    K: tl.constexpr,
    STRIDE: tl.constexpr,
    VEC: tl.constexpr,
    BEGIN: tl.constexpr,
):
    """Add input row i to the accumulators of output rows first, first + 1, ..., VEC columns each.

    row[BEGIN] is the column under the filter's left edge for the first of the VEC outputs.
    """
    updated = ()
    for j in tl.static_range(len(window) // VEC):
        for v in tl.static_range(VEC):
            acc = window[j * VEC + v]
            for kw in tl.static_range(K):
                acc = tl.fma(row[BEGIN + v * STRIDE + kw], weights[(i - (first + j) * STRIDE) * K + kw], acc)
            updated = updated + (acc,)
    return updated


@triton.jit
def depthwise_conv2d_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    n_planes,
    C: tl.constexpr,
    H: tl.constexpr,  # constexpr shapes prove the alignment of rows and drop tests that always hold
    W: tl.constexpr,
    H_OUT: tl.constexpr,
    W_OUT: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    VEC: tl.constexpr,  # adjacent outputs a lane owns
    LEFT: tl.constexpr,  # columns a lane loads: LEFT of its own, its own VEC * STRIDE in SPAN, RIGHT beyond
    SPAN: tl.constexpr,
    RIGHT: tl.constexpr,
    ROWS: tl.constexpr,
    AHEAD: tl.constexpr,  # rows loaded before the one that is used
    CHUNKS: tl.constexpr,  # of VEC outputs or SPAN inputs a row
    LANES: tl.constexpr,
    SHUFFLE: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once a tensor has 2^31 elements
):
    ROW_BLOCKS: tl.constexpr = (H_OUT + ROWS - 1) // ROWS
    program = tl.program_id(0)
    first_row = program % ROW_BLOCKS * ROWS  # neighbours in the grid go down a plane: halo rows are still in L2
    block = (program // ROW_BLOCKS).to(OFFSET)
    lane = tl.arange(0, LANES)
    if SHUFFLE:  # whole rows in a warp: the last lanes that hold no row are idle
        PLANES: tl.constexpr = LANES // CHUNKS
        plane = block * PLANES + lane // CHUNKS
        chunk = lane % CHUNKS
        lane_inside = (lane < PLANES * CHUNKS) & (plane < n_planes)
    else:  # lanes run on from plane to plane: none is idle
        plane = (block * LANES + lane) // CHUNKS
        chunk = (block * LANES + lane) % CHUNKS
        lane_inside = plane < n_planes
    WHOLE: tl.constexpr = SPAN == VEC * STRIDE and W % SPAN == 0
    ROWS_IN: tl.constexpr = (ROWS - 1) * STRIDE + KERNEL_SIZE
    MASK_ROWS: tl.constexpr = PADDING > 0 or H_OUT % ROWS != 0
    col = chunk * (VEC * STRIDE)  # first of the lane's own columns
    first_in = first_row * STRIDE - PADDING
    corner = x_ptr + (plane.to(OFFSET) * H + first_in) * W + col
    pointers = (corner[:, None] + tl.arange(0, SPAN)[None, :],)
    insides = (columns_inside(lane_inside, col, SPAN, W, WHOLE),)
    if LEFT > 0:
        pointers = ((corner - LEFT)[:, None] + tl.arange(0, LEFT)[None, :],) + pointers
        insides = (columns_inside(lane_inside, col - LEFT, LEFT, W, WHOLE and LEFT <= SPAN),) + insides
    if RIGHT > 0:
        pointers = pointers + ((corner + SPAN)[:, None] + tl.arange(0, RIGHT)[None, :],)
        insides = insides + (columns_inside(lane_inside, col + SPAN, RIGHT, W, WHOLE and RIGHT <= SPAN),)
    out_corner = (plane.to(OFFSET) * H_OUT + first_row) * W_OUT + chunk * VEC
    out = out_ptr + out_corner[:, None] + tl.arange(0, VEC)[None, :]

    loaded = ()  # rows on their way, the next to be used first
    for i in tl.static_range(AHEAD):
        loaded = loaded + load_row(pointers, insides, i * W, first_in + i, H, MASK_ROWS)
    channel = plane % C
    weights = ()
    for tap in tl.static_range(KERNEL_SIZE * KERNEL_SIZE):
        weight = tl.load(weight_ptr + channel * (KERNEL_SIZE * KERNEL_SIZE) + tap, mask=lane_inside, other=0.0)
        weights = weights + (weight.to(tl.float32),)
    if HAS_BIAS:
        zero = tl.load(bias_ptr + channel, mask=lane_inside, other=0.0).to(tl.float32)
    else:
        zero = tl.zeros([LANES], dtype=tl.float32)
    start = ()
    for _ in tl.static_range(VEC):
        start = start + (zero,)

    window = ()  # accumulators of the output rows that the current input row lies under, the uppermost first
    for i in tl.static_range(ROWS_IN):
        if i + AHEAD < ROWS_IN:
            loaded = loaded + load_row(pointers, insides, (i + AHEAD) * W, first_in + i + AHEAD, H, MASK_ROWS)
        row = row_columns(loaded, len(pointers))
        loaded = loaded[len(pointers) :]
        if SHUFFLE:
            row = row_by_shuffle(row, chunk, PADDING, (VEC - 1) * STRIDE + KERNEL_SIZE, SPAN, CHUNKS)
        if i % STRIDE == 0 and i // STRIDE < ROWS:
            window = window + start
        window = add_row(
            window,
            row,
            weights,
            i,
            (i - KERNEL_SIZE) // STRIDE + 1 if i >= KERNEL_SIZE else 0,
            KERNEL_SIZE,
            STRIDE,
            VEC,
            0 if SHUFFLE else LEFT - PADDING,
        )
        if i >= KERNEL_SIZE - 1 and (i - KERNEL_SIZE + 1) % STRIDE == 0:  # the uppermost is complete
            row_out = (i - KERNEL_SIZE + 1) // STRIDE
            tl.store(
                out + row_out * W_OUT,
                join_columns(window, 0, VEC).to(out_ptr.dtype.element_ty),
                mask=columns_inside(
                    lane_inside & (first_row + row_out < H_OUT), chunk * VEC, VEC, W_OUT, W_OUT % VEC == 0
                ),
            )
            window = window[VEC:]


@triton.jit
def load_step(pointers, inside, first_in, i: tl.constexpr, H: tl.constexpr, W: tl.constexpr):
    """Row i of every lane's strip as it lies in memory, 0 outside the image: (8, 16 * FRAGMENTS)."""
    return tl.load(pointers + i * W, mask=inside & (first_in + i >= 0) & (first_in + i < H), other=0.0)


@triton.jit
def fragments_of(x, FRAGMENTS: tl.constexpr):
    """(8, 16 * FRAGMENTS) -> (8 * FRAGMENTS, 16), one fragment behind the other.

    The 16 rows of an operand of the tensor cores are two fragments of 8 lanes, since ldmatrix reads those at once.
    """
    return tl.reshape(tl.permute(tl.reshape(x, [8, FRAGMENTS, 16]), (1, 0, 2)), [8 * FRAGMENTS, 16])


@triton.jit
def by_fragment(x, FRAGMENTS: tl.constexpr):
    """(8 * FRAGMENTS, 8) -> (FRAGMENTS, 8, 8)."""
    return tl.reshape(x, [FRAGMENTS, 8, 8])


@triton.jit
def from_behind(x):
    """(FRAGMENTS, 8, 8) -> the same, each fragment's part in the place of the one before. A renaming of registers."""
    FRAGMENTS: tl.constexpr = x.shape[0]
    if FRAGMENTS == 1:
        return x
    else:
        first, second = tl.split(tl.permute(tl.reshape(x, [FRAGMENTS // 2, 2, 8, 8]), (0, 2, 3, 1)))
        return tl.reshape(tl.permute(tl.join(second, from_behind(first)), (0, 3, 1, 2)), [FRAGMENTS, 8, 8])


@triton.jit
def load_taps(filter_row, kw, K: tl.constexpr):
    """Taps kw (1, 4, 1, 8) of a filter row, 0 where there is none, for all of a lane's columns: (2, 4, 2, 8)."""
    return tl.broadcast_to(tl.load(filter_row + kw, mask=(kw >= 0) & (kw < K), other=0.0), [2, 4, 2, 8])


@triton.jit
def band(left, right):
    """A lane's (even, odd) columns of both halves of a fragment -> (16, 8), what they add to 8 outputs."""
    half = tl.arange(0, 2)[:, None, None, None]
    parity = tl.arange(0, 2)[None, None, :, None]
    taps = tl.where(half == 0, tl.where(parity == 0, left[0], left[1]), tl.where(parity == 0, right[0], right[1]))
    return tl.reshape(taps, [16, 8])


@triton.jit
def split_steps(x):
    """(L, 16, N) -> N tensors (L, 16), in order. A renaming of registers."""
    L: tl.constexpr = x.shape[0]
    N: tl.constexpr = x.shape[2]
    if N == 1:
        return (tl.reshape(x, [L, 16]),)
    else:
        left, right = tl.split(tl.permute(tl.reshape(x, [L, 16, 2, N // 2]), (0, 1, 3, 2)))
        return split_steps(left) + split_steps(right)


@triton.jit
def load_steps(pointers, inside, row_in, H: tl.constexpr, FRAGMENTS: tl.constexpr):
    """Rows 0 to 7 of every lane's strip, (8 lanes x 8 rows, 16 * FRAGMENTS) pointers: 8 tensors of `fragments_of`."""
    x = tl.load(pointers, mask=inside & (row_in >= 0) & (row_in < H), other=0.0)
    x = tl.permute(tl.reshape(x, [8, 8, FRAGMENTS, 16]), (2, 0, 3, 1))
    return split_steps(tl.reshape(x, [8 * FRAGMENTS, 16, 8]))


@triton.jit
def fragments_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    H_OUT: tl.constexpr,
    W_OUT: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    PADDING: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FRAGMENTS: tl.constexpr,  # of 16 columns a row
    BEFORE: tl.constexpr,  # columns left of the outputs
    GROUP: tl.constexpr,  # columns that are inside or outside a row together, which keeps a load one vector
    OUT_GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    OFFSET: tl.constexpr,
):
    # a program works on one plane, 8 strips of ROWS rows of it; a strip is a lane
    TILES: tl.constexpr = 2 * FRAGMENTS - 1  # of 8 outputs; an even one's inputs are a fragment, an odd one's in two
    COL_BLOCKS: tl.constexpr = (W_OUT + 8 * TILES - 1) // (8 * TILES)
    ROW_BLOCKS: tl.constexpr = (H_OUT + 8 * ROWS - 1) // (8 * ROWS)
    program = tl.program_id(0)
    first_col = program % COL_BLOCKS * (8 * TILES)
    first_row = program // COL_BLOCKS % ROW_BLOCKS * (8 * ROWS)
    channel = program // (COL_BLOCKS * ROW_BLOCKS) % C
    plane = (program // (COL_BLOCKS * ROW_BLOCKS)).to(OFFSET)
    strip = tl.arange(0, 8)[:, None] * ROWS
    col = tl.arange(0, 16 * FRAGMENTS)[None, :]

    corner = x_ptr + ((plane * H + first_row - PADDING) * W + (first_col - BEFORE))
    pointers = corner + (strip * W + col)
    group_col = first_col - BEFORE + col // GROUP * GROUP
    inside = (group_col >= 0) & (group_col < W)
    first_in = first_row - PADDING + strip
    out_corner = out_ptr + ((plane * H_OUT + first_row) * W_OUT + first_col)
    out = out_corner + (strip * W_OUT + col)
    out_group = col // OUT_GROUP * OUT_GROUP
    out_inside = (out_group < 8 * TILES) & (first_col + out_group < W_OUT)

    pair, col_out = tl.arange(0, 4)[None, :, None, None], tl.arange(0, 8)[None, None, None, :]
    kw = pair * 2 - col_out + (PADDING - BEFORE)  # the tap between an output and an input column
    zero = tl.zeros([2, 4, 2, 8], dtype=x_ptr.dtype.element_ty)
    nothing = (zero, zero)
    even, odd, odd_behind = (), (), ()  # a filter row each: what a fragment adds to a tile
    for kh in tl.static_range(KERNEL_SIZE):
        filter_row = weight_ptr + (channel * KERNEL_SIZE + kh) * KERNEL_SIZE
        near = (load_taps(filter_row, kw, KERNEL_SIZE), load_taps(filter_row, kw + 1, KERNEL_SIZE))
        far = (load_taps(filter_row, kw + 8, KERNEL_SIZE), load_taps(filter_row, kw + 9, KERNEL_SIZE))
        even = even + (band(near, far),)
        odd = odd + (band(nothing, near),)
        odd_behind = odd_behind + (band(far, nothing),)
    tile_row = tl.arange(0, 64)[:, None]
    tile_row = tile_row // 8 * ROWS + tile_row % 8
    rows = load_steps(corner + (tile_row * W + col), inside, first_row - PADDING + tile_row, H, FRAGMENTS)
    nought = tl.zeros([8 * FRAGMENTS, 8], dtype=tl.float32)
    start = nought
    if HAS_BIAS:
        start += tl.load(bias_ptr + channel).to(tl.float32)

    for i in tl.static_range(ROWS):
        if i + 1 < ROWS and i + KERNEL_SIZE >= 8:
            newest = load_step(pointers, inside, first_in, i + KERNEL_SIZE, H, W)
        even_sums, odd_sums, behind_sums = start, start, nought
        for kh in tl.static_range(KERNEL_SIZE):
            even_sums = tl.dot(rows[kh], even[kh], even_sums)
            odd_sums = tl.dot(rows[kh], odd[kh], odd_sums)
            behind_sums = tl.dot(rows[kh], odd_behind[kh], behind_sums)
        odd_tiles = by_fragment(odd_sums, FRAGMENTS) + from_behind(by_fragment(behind_sums, FRAGMENTS))
        tiles = tl.permute(tl.join(by_fragment(even_sums, FRAGMENTS), odd_tiles), (1, 0, 3, 2))
        tl.store(
            out + i * W_OUT,
            tl.reshape(tiles, [8, 16 * FRAGMENTS]).to(out_ptr.dtype.element_ty),
            mask=out_inside & (first_row + strip + i < H_OUT),
        )
        rows = rows[1:]
        if i + 1 < ROWS and i + KERNEL_SIZE >= 8:
            rows = rows + (fragments_of(newest, FRAGMENTS),)


@triton.jit
def output_at(
    columns, weights, start, top: tl.constexpr, left: tl.constexpr, H: tl.constexpr, W: tl.constexpr, K: tl.constexpr
):
    """The output of every lane's plane whose filter begins at a place known to the compiler: no tap beyond an edge."""
    acc = start
    for kh in tl.static_range(K):
        for kw in tl.static_range(K):
            if top + kh >= 0 and top + kh < H and left + kw >= 0 and left + kw < W:
                acc = tl.fma(columns[(top + kh) * W + left + kw].to(tl.float32), weights[kh * K + kw], acc)
    return acc


@triton.jit
def planes_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    n_planes,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    H_OUT: tl.constexpr,
    W_OUT: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    COLUMNS: tl.constexpr,  # the power of two from H * W
    COLUMNS_OUT: tl.constexpr,
    LANES: tl.constexpr,
    OFFSET: tl.constexpr,
):
    plane = tl.program_id(0).to(OFFSET) * LANES + tl.arange(0, LANES)
    lane_inside = plane < n_planes
    column = tl.arange(0, COLUMNS)
    offsets = plane[:, None] * (H * W) + column[None, :]
    loaded = tl.load(x_ptr + offsets, mask=lane_inside[:, None] & (column < H * W)[None, :], other=0.0)
    channel = (plane % C).to(tl.int32)
    weights = ()
    for tap in tl.static_range(KERNEL_SIZE * KERNEL_SIZE):
        weight = tl.load(weight_ptr + channel * (KERNEL_SIZE * KERNEL_SIZE) + tap, mask=lane_inside, other=0.0)
        weights = weights + (weight.to(tl.float32),)
    start = tl.zeros([LANES], dtype=tl.float32)
    if HAS_BIAS:
        start += tl.load(bias_ptr + channel, mask=lane_inside, other=0.0).to(tl.float32)
    columns = split_columns(loaded)
    results = ()
    for row in tl.static_range(H_OUT):
        for col in tl.static_range(W_OUT):
            result = output_at(
                columns, weights, start, row * STRIDE - PADDING, col * STRIDE - PADDING, H, W, KERNEL_SIZE
            )
            results = results + (result.to(out_ptr.dtype.element_ty),)
    for _ in tl.static_range(COLUMNS_OUT - H_OUT * W_OUT):
        results = results + (results[0],)  # never stored
    column_out = tl.arange(0, COLUMNS_OUT)
    tl.store(
        out_ptr + plane[:, None] * (H_OUT * W_OUT) + column_out[None, :],
        join_columns(results, 0, COLUMNS_OUT),
        mask=lane_inside[:, None] & (column_out < H_OUT * W_OUT)[None, :],
    )


def power_of_2_from(columns):
    """Return the smallest power of two that holds so many columns, 0 for none."""
    return triton.next_power_of_2(columns) if columns > 0 else 0


def blocks_for(item_bytes, H_OUT, W, W_OUT, K, stride):
    """Choose VEC, SPAN, ROWS, AHEAD, CHUNKS, LANES and SHUFFLE by rules that hold for any shape."""
    # one load of 16 bytes a lane where the input's pitch keeps it aligned
    VEC = math.gcd(16 // item_bytes, W // stride) if W % stride == 0 else 1
    if W_OUT % VEC != 0 or K > 5:  # stores go through an exchange, or K * VEC sums and K * K weights fill the registers
        VEC = min(VEC, 4)
    SPAN = triton.next_power_of_2(VEC * stride)
    # more rows share the halo, fewer leave registers for loads in flight; an even share of the height if there is one
    target = 4 if stride > 1 else 6 if VEC < 8 else 9 if K <= 3 else 8
    ROWS = next((rows for rows in (target - 1, target, target + 1) if H_OUT % rows == 0), min(target, H_OUT))
    # small filters ask for all rows first; large ones have no registers for that
    AHEAD = (ROWS - 1) * stride + K if K <= 3 else min(24 // VEC, 4 if K <= 5 else 3)
    CHUNKS = triton.cdiv(W_OUT, VEC)
    LANES = 32 if K > 5 else 64 if CHUNKS % 128 == 64 else 128
    SHUFFLE = False
    if max(W, W_OUT) <= 16:  # one warp a program: its loads stay together
        LANES = 32
        ROWS = min(H_OUT, 7)
        SHUFFLE = K <= 5 and VEC * stride == SPAN and SPAN * item_bytes >= 4
    if SHUFFLE:
        AHEAD = (ROWS - 1) * stride + K
        CHUNKS = max(CHUNKS, triton.cdiv(W, SPAN))
    return VEC, SPAN, ROWS, AHEAD, CHUNKS, LANES, SHUFFLE


def by_fragments(x, weight, bias, padding, BEFORE, out):
    """The stride 1 convolution of a 16-bit x by the tensor cores, into out."""
    N, C, H, W = x.shape
    H_OUT, W_OUT = out.shape[2:]
    FRAGMENTS = 4
    ROWS = triton.cdiv(H_OUT, 8 * triton.cdiv(H_OUT, 56))
    fragments_kernel[(triton.cdiv(W_OUT, 16 * FRAGMENTS - 8) * triton.cdiv(H_OUT, 8 * ROWS) * C * N,)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
        C=C,
        H=H,
        W=W,
        H_OUT=H_OUT,
        W_OUT=W_OUT,
        KERNEL_SIZE=weight.shape[-1],
        PADDING=padding,
        HAS_BIAS=bias is not None,
        FRAGMENTS=FRAGMENTS,
        BEFORE=BEFORE,
        GROUP=math.gcd(8, W, BEFORE),
        OUT_GROUP=math.gcd(8, W_OUT),
        ROWS=ROWS,
        OFFSET=tl.int64 if max(x.numel(), out.numel()) + 64 * (W + W_OUT) >= 2**31 else tl.int32,
        num_warps=1,
    )
    return out


def by_planes(x, weight, bias, stride, padding, out):
    """The convolution of planes of at most 64 elements, into out."""
    N, C, H, W = x.shape
    H_OUT, W_OUT = out.shape[2:]
    LANES = 32
    planes_kernel[(triton.cdiv(N * C, LANES),)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
        N * C,
        C=C,
        H=H,
        W=W,
        H_OUT=H_OUT,
        W_OUT=W_OUT,
        KERNEL_SIZE=weight.shape[-1],
        STRIDE=stride,
        PADDING=padding,
        HAS_BIAS=bias is not None,
        COLUMNS=power_of_2_from(H * W),
        COLUMNS_OUT=power_of_2_from(H_OUT * W_OUT),
        LANES=LANES,
        OFFSET=tl.int64 if max(x.numel(), out.numel()) + 64 * LANES >= 2**31 else tl.int32,
        num_warps=1,
    )
    return out


def depthwise_conv2d(x, weight, bias, stride, padding):
    """x (N, C, H, W), weight (C, 1, K, K), bias (C,) or None -> (N, C, H_out, W_out) in x's dtype."""
    if x.dim() != 4 or x.shape[1] != weight.shape[0]:
        raise ValueError(f"depthwise_conv2d: wants x of shape (N, {weight.shape[0]}, H, W), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or x.dtype != weight.dtype:
        raise TypeError(
            f"depthwise_conv2d: wants float32, float16 or bfloat16 throughout, got {x.dtype}, {weight.dtype}"
        )
    x, weight = x.contiguous(), weight.contiguous()
    N, C, H, W = x.shape
    K = weight.shape[-1]
    H_OUT = (H + 2 * padding - K) // stride + 1
    W_OUT = (W + 2 * padding - K) // stride + 1
    if H_OUT <= 0 or W_OUT <= 0:
        raise ValueError(f"depthwise_conv2d: a {K}x{K} filter does not fit into {H}x{W} with padding {padding}")

    out = torch.empty((N, C, H_OUT, W_OUT), device=x.device, dtype=x.dtype)
    if out.numel() == 0:
        return out
    if max(H * W, H_OUT * W_OUT) <= 64 and K <= 5:
        return by_planes(x, weight, bias, stride, padding, out)
    BEFORE = triton.cdiv(padding, math.gcd(4, W)) * math.gcd(4, W)  # keeps the rows' loads aligned
    # the inputs of 8 outputs are within 16, and a plane has the width for several fragments
    if x.element_size() == 2 and stride == 1 and 5 < K <= 9 - (BEFORE - padding) and W_OUT > 24:
        return by_fragments(x, weight, bias, padding, BEFORE, out)
    VEC, SPAN, ROWS, AHEAD, CHUNKS, LANES, SHUFFLE = blocks_for(x.element_size(), H_OUT, W, W_OUT, K, stride)
    programs = triton.cdiv(N * C, LANES // CHUNKS) if SHUFFLE else triton.cdiv(N * C * CHUNKS, LANES)
    depthwise_conv2d_kernel[(triton.cdiv(H_OUT, ROWS) * programs,)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
        N * C,
        C=C,
        H=H,
        W=W,
        H_OUT=H_OUT,
        W_OUT=W_OUT,
        KERNEL_SIZE=K,
        STRIDE=stride,
        PADDING=padding,
        HAS_BIAS=bias is not None,
        VEC=VEC,
        SPAN=SPAN,
        ROWS=ROWS,
        AHEAD=AHEAD,
        CHUNKS=CHUNKS,
        LANES=LANES,
        SHUFFLE=SHUFFLE,
        LEFT=0 if SHUFFLE else power_of_2_from(padding),
        RIGHT=0 if SHUFFLE else power_of_2_from((VEC - 1) * stride + K - padding - SPAN),
        OFFSET=tl.int64 if max(x.numel(), out.numel()) + ROWS * (W + W_OUT) >= 2**31 else tl.int32,
        num_warps=LANES // 32,
        maxnreg=128 if K > 5 else None,  # more warps an SM hide what its long chains of sums wait for
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, in_channels: int, kernel_size: int, stride: int = 1, padding: int = 0, bias: bool = False):
        super().__init__()
        self.stride = stride
        self.padding = padding
        # the draws of nn.Conv2d in its order, so that one seed gives one set of parameters
        self.weight = nn.Parameter(torch.empty(in_channels, 1, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.bias = nn.Parameter(torch.empty(in_channels)) if bias else None
        if self.bias is not None:
            bound = 1 / math.sqrt(kernel_size * kernel_size)
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return depthwise_conv2d(x, self.weight, self.bias, self.stride, self.padding)
