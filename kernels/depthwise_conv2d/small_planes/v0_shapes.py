"""Shapes: v10 of the general ladder, which served small planes before they had a ladder of their own.

Stage:   baseline
Change:  none; kernel and block rules are v10's, line by line.
Why:     the versions of this ladder are measured against what they replaced.
Expect:  none
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
    target = 4 if stride > 1 else 9 if VEC == 8 and K <= 3 else 6
    ROWS = next((rows for rows in (target - 1, target, target + 1) if H_OUT % rows == 0), min(target, H_OUT))
    # small filters ask for all rows first; large ones have no registers for that
    AHEAD = (ROWS - 1) * stride + K if K <= 3 else min(16 // VEC, 4 if K <= 5 else 3)
    CHUNKS = triton.cdiv(W_OUT, VEC)
    LANES = 64 if K > 5 or CHUNKS % 128 == 64 else 128
    SHUFFLE = False
    if max(W, W_OUT) <= 16:  # one warp a program: its loads stay together
        LANES = 32
        ROWS = min(H_OUT, 7)
        SHUFFLE = K <= 5 and VEC * stride == SPAN and SPAN * item_bytes >= 4
    if SHUFFLE:
        AHEAD = (ROWS - 1) * stride + K
        CHUNKS = max(CHUNKS, triton.cdiv(W, SPAN))
    return VEC, SPAN, ROWS, AHEAD, CHUNKS, LANES, SHUFFLE


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
