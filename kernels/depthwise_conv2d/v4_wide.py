"""Wide: a lane owns as many outputs as 16 bytes hold, so that one load brings 4 (float32) or 8 (16 bits) columns.

Stage:   memory
Change:  VEC = 16 bytes where the row pitch allows it, 2 before; stores as wide as the output's pitch keeps aligned.
Why:     in 16 bits a pair is 4 bytes a lane: too few bytes in flight a warp. Wider loads ask for 4 times as many
         with one instruction. At padding 0 the output's rows are 8 bytes off: its stores go on in pairs.
Expect:  time_x 0.97..1.05, dram_pct > 82, sm_pct < 45, excess_traffic < 1.05
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
def load_columns(pointers, inside, row_inside, MASK_ROWS: tl.constexpr):
    """Load (LANES, N) and hand it out as N tensors (LANES,) in float32, 0 outside the image."""
    if MASK_ROWS:
        inside = inside & row_inside
    return split_columns(tl.load(pointers, mask=inside, other=0.0).to(tl.float32))


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
    STORE: tl.constexpr,  # columns a store takes: as many as the pitch of the output keeps aligned
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once a tensor has 2^31 elements
):
    # neighbours in the grid are neighbours down a plane: the halo rows of one are still in L2 for the next
    ROW_BLOCKS: tl.constexpr = (H_OUT + ROWS - 1) // ROWS
    COL_BLOCKS: tl.constexpr = (W_OUT + VEC * LANES - 1) // (VEC * LANES)
    program = tl.program_id(0)
    first_row = program % ROW_BLOCKS * ROWS
    chunk = program // ROW_BLOCKS % COL_BLOCKS * LANES + tl.arange(0, LANES)  # VEC columns of the output
    plane = program // ROW_BLOCKS // COL_BLOCKS  # one channel of one image
    lane_inside = chunk * VEC < W_OUT
    WHOLE: tl.constexpr = SPAN == VEC * STRIDE and W % SPAN == 0
    MASK_ROWS: tl.constexpr = PADDING > 0 or H_OUT % ROWS != 0
    col = chunk * (VEC * STRIDE)
    corner = (plane.to(OFFSET) * H + (first_row * STRIDE - PADDING)) * W + col
    centre = x_ptr + corner[:, None] + tl.arange(0, SPAN)[None, :]
    centre_inside = columns_inside(lane_inside, col, SPAN, W, WHOLE)
    if LEFT > 0:
        left = x_ptr + (corner - LEFT)[:, None] + tl.arange(0, LEFT)[None, :]
        left_inside = columns_inside(lane_inside, col - LEFT, LEFT, W, WHOLE and LEFT <= SPAN)
    if RIGHT > 0:
        right = x_ptr + (corner + SPAN)[:, None] + tl.arange(0, RIGHT)[None, :]
        right_inside = columns_inside(lane_inside, col + SPAN, RIGHT, W, WHOLE and RIGHT <= SPAN)
    out_corner = (plane.to(OFFSET) * H_OUT + first_row) * W_OUT + chunk * VEC
    out = out_ptr + out_corner[:, None] + tl.arange(0, STORE)[None, :]

    weights = ()
    for tap in tl.static_range(KERNEL_SIZE * KERNEL_SIZE):
        weight = tl.load(weight_ptr + plane % C * (KERNEL_SIZE * KERNEL_SIZE) + tap)
        weights = weights + (weight.to(tl.float32),)
    zero = tl.zeros([LANES], dtype=tl.float32)
    if HAS_BIAS:
        zero += tl.load(bias_ptr + plane % C).to(tl.float32)
    start = ()
    for _ in tl.static_range(VEC):
        start = start + (zero,)

    window = ()  # accumulators of the output rows that the current input row lies under, the uppermost first
    for i in tl.static_range((ROWS - 1) * STRIDE + KERNEL_SIZE):
        row_in = first_row * STRIDE - PADDING + i
        row_inside = (row_in >= 0) & (row_in < H)
        row = load_columns(centre + i * W, centre_inside, row_inside, MASK_ROWS)
        if LEFT > 0:
            row = load_columns(left + i * W, left_inside, row_inside, MASK_ROWS) + row
        if RIGHT > 0:
            row = row + load_columns(right + i * W, right_inside, row_inside, MASK_ROWS)
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
            LEFT - PADDING,
        )
        if i >= KERNEL_SIZE - 1 and (i - KERNEL_SIZE + 1) % STRIDE == 0:  # the uppermost is complete
            row_out = (i - KERNEL_SIZE + 1) // STRIDE
            for v in tl.static_range(0, VEC, STORE):
                tl.store(
                    out + row_out * W_OUT + v,
                    join_columns(window, v, STORE).to(out_ptr.dtype.element_ty),
                    mask=columns_inside(
                        lane_inside & (first_row + row_out < H_OUT), chunk * VEC + v, STORE, W_OUT, W_OUT % STORE == 0
                    ),
                )
            window = window[VEC:]


def power_of_2_from(columns):
    """Return the smallest power of two that holds so many columns, 0 for none."""
    return triton.next_power_of_2(columns) if columns > 0 else 0


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
    VEC = math.gcd(16 // x.element_size(), W // stride) if W % stride == 0 else 1
    SPAN = triton.next_power_of_2(VEC * stride)
    STORE = math.gcd(VEC, W_OUT)
    ROWS, LANES = min(8 if K <= 3 else 4, H_OUT), 64  # larger filters: fewer rows, or they compile for minutes
    programs = triton.cdiv(H_OUT, ROWS) * triton.cdiv(W_OUT, VEC * LANES) * N * C
    depthwise_conv2d_kernel[(programs,)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
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
        LEFT=power_of_2_from(padding),
        SPAN=SPAN,
        RIGHT=power_of_2_from((VEC - 1) * stride + K - padding - SPAN),
        STORE=STORE,
        ROWS=ROWS,
        LANES=LANES,
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
