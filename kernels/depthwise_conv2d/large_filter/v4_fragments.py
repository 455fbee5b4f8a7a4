"""Fragments: rows are loaded as the tensor cores take them and stay in registers under all 7 rows of the filter.

Stage:   algorithm
Change:  for K > 5 in 16 bits one warp works for 16 strips of a channel; a row comes in 32-bit pairs that are already a
         warp's operand of tl.dot, 7 rows stay in registers, and tiles of 8 outputs take 16 inputs instead of 32.
Why:     v1 and v3 pass each row through shared memory into an operand, load half of a row twice for its halo and
         multiply 32 columns for 7 taps. Compiled for sm_90 this needs no shared memory and no exchange: 3100
         instructions for 16 x 14 x 56 outputs, where v2 executed 25700, and 168 registers, so that all 1536 programs
         of k7_56 are on the H100 at once, 24 KB an SM on their way. Expected there: 39 us in float16 and bfloat16,
         88 % of the floor.
Expect:  none
"""

import math

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def operand(left, right):
    """Two (N, 8) -> (N, 16): two columns of the left, two of the right and so on, as a lane of tl.dot holds them."""
    N: tl.constexpr = left.shape[0]
    return tl.reshape(tl.permute(tl.reshape(tl.join(left, right), [N, 4, 2, 2]), (0, 1, 3, 2)), [N, 16])


@triton.jit
def load_fragments(pointers, inside):
    """(LANES, 2 * FRAGMENTS, 8) pointers -> (FRAGMENTS * LANES, 16), the columns in the order of `operand`."""
    x = tl.load(pointers, mask=inside, other=0.0)
    LANES: tl.constexpr = x.shape[0]
    FRAGMENTS: tl.constexpr = x.shape[1] // 2
    x = tl.permute(tl.reshape(x, [LANES, FRAGMENTS, 2, 4, 2]), (1, 0, 3, 2, 4))
    return tl.reshape(x, [FRAGMENTS * LANES, 16])


@triton.jit
def from_fragment_behind(x, FRAGMENTS: tl.constexpr):
    """(FRAGMENTS * N, 8) -> the same, each fragment's part in the place of the one before. A renaming of registers."""
    if FRAGMENTS == 1:
        return x
    else:
        N: tl.constexpr = x.shape[0] // FRAGMENTS
        first, second = tl.split(tl.permute(tl.reshape(x, [FRAGMENTS // 2, 2, N, 8]), (0, 2, 3, 1)))
        first = from_fragment_behind(tl.reshape(first, [FRAGMENTS // 2 * N, 8]), FRAGMENTS // 2)
        first = tl.reshape(first, [FRAGMENTS // 2, N, 8])
        return tl.reshape(tl.permute(tl.join(second, first), (0, 3, 1, 2)), [FRAGMENTS * N, 8])


@triton.jit
def fragments_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    n_lanes,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    H_OUT: tl.constexpr,
    W_OUT: tl.constexpr,
    KERNEL_SIZE: tl.constexpr,
    PADDING: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    FRAGMENTS: tl.constexpr,  # of 16 columns a row
    BEFORE: tl.constexpr,  # columns left of the outputs, even: a lane's two columns are one word
    ROWS: tl.constexpr,
    AHEAD: tl.constexpr,
    LANES: tl.constexpr,
    OFFSET: tl.constexpr,
):
    # a program works for one channel, whose filter it holds; a lane is a strip of ROWS rows of one image
    STRIPS: tl.constexpr = (H_OUT + ROWS - 1) // ROWS
    TILES: tl.constexpr = (
        2 * FRAGMENTS - 1
    )  # of 8 outputs: an even one's inputs are a fragment, an odd one's lie in two
    COL_BLOCKS: tl.constexpr = (W_OUT + 8 * TILES - 1) // (8 * TILES)
    ROWS_IN: tl.constexpr = ROWS + KERNEL_SIZE - 1
    program = tl.program_id(0)
    first_col = program % COL_BLOCKS * (8 * TILES)
    channel = program // COL_BLOCKS % C
    lane = (program // COL_BLOCKS // C).to(OFFSET) * LANES + tl.arange(0, LANES)
    lane_inside = (lane < n_lanes)[:, None, None]
    plane = lane // STRIPS * C + channel
    first_row = (lane % STRIPS).to(tl.int32) * ROWS
    first_in = first_row - PADDING
    eight = tl.arange(0, 8)
    tile_col = tl.arange(0, 2 * FRAGMENTS)[None, :, None] * 8
    pair_col = tile_col + (eight // 2 * 2)[None, None, :]  # a pair is inside or outside the row as a whole

    corner = (plane * H + first_in) * W + (first_col - BEFORE)
    columns = tl.multiple_of(corner[:, None, None] + eight[None, None, :], (1, 1, 2))
    pointers = x_ptr + tl.max_contiguous(columns, (1, 1, 2)) + tile_col
    inside = lane_inside & (first_col - BEFORE + pair_col >= 0) & (first_col - BEFORE + pair_col < W)
    out_corner = (plane * H_OUT + first_row) * W_OUT + first_col
    out_columns = tl.multiple_of(out_corner[:, None, None] + eight[None, None, :], (1, 1, 2))
    out = out_ptr + tl.max_contiguous(out_columns, (1, 1, 2)) + tile_col
    out_inside = lane_inside & (first_col + pair_col < W_OUT) & (tile_col < 8 * TILES)

    rows = ()
    for i in tl.static_range(KERNEL_SIZE - 1 + AHEAD):
        row_inside = ((first_in + i >= 0) & (first_in + i < H))[:, None, None]
        rows = rows + (load_fragments(pointers + i * W, inside & row_inside),)

    kw = eight[None, :] - eight[:, None] + (PADDING - BEFORE)  # the tap between an output and an input column
    nothing = tl.zeros([8, 8], dtype=x_ptr.dtype.element_ty)
    even, odd, odd_behind = (), (), ()  # (16, 8) a filter row: what a fragment adds to a tile
    for kh in tl.static_range(KERNEL_SIZE):
        taps = weight_ptr + (channel * KERNEL_SIZE + kh) * KERNEL_SIZE + kw
        near = tl.load(taps, mask=(kw >= 0) & (kw < KERNEL_SIZE), other=0.0)
        far = tl.load(taps + 8, mask=(kw + 8 >= 0) & (kw + 8 < KERNEL_SIZE), other=0.0)
        even = even + (tl.trans(operand(near, far)),)
        odd = odd + (tl.trans(operand(nothing, near)),)
        odd_behind = odd_behind + (tl.trans(operand(far, nothing)),)
    zero = tl.zeros([FRAGMENTS * LANES, 8], dtype=tl.float32)
    start = zero
    if HAS_BIAS:
        start += tl.load(bias_ptr + channel).to(tl.float32)

    for i in tl.static_range(ROWS):
        if i + KERNEL_SIZE - 1 + AHEAD < ROWS_IN:
            row_in = first_in + (i + KERNEL_SIZE - 1 + AHEAD)
            row_inside = ((row_in >= 0) & (row_in < H))[:, None, None]
            rows = rows + (load_fragments(pointers + (i + KERNEL_SIZE - 1 + AHEAD) * W, inside & row_inside),)
        even_sums, odd_sums, behind_sums = start, start, zero
        for kh in tl.static_range(KERNEL_SIZE):
            even_sums = tl.dot(rows[kh], even[kh], even_sums)
            odd_sums = tl.dot(rows[kh], odd[kh], odd_sums)
            behind_sums = tl.dot(rows[kh], odd_behind[kh], behind_sums)
        rows = rows[1:]
        odd_sums += from_fragment_behind(behind_sums, FRAGMENTS)
        tiles = tl.reshape(tl.join(even_sums, odd_sums), [FRAGMENTS, LANES, 8, 2])
        tiles = tl.reshape(tl.permute(tiles, (1, 0, 3, 2)), [LANES, 2 * FRAGMENTS, 8])
        tl.store(
            out + i * W_OUT,
            tiles.to(out_ptr.dtype.element_ty),
            mask=out_inside & (first_row + i < H_OUT)[:, None, None],
        )


def by_fragments(x, weight, bias, padding, out):
    """The stride 1 convolution of a 16-bit x by the tensor cores, into out."""
    N, C, H, W = x.shape
    K, (H_OUT, W_OUT) = weight.shape[-1], out.shape[2:]
    FRAGMENTS = 4 if W_OUT > 24 else 2
    ROWS = triton.cdiv(H_OUT, triton.cdiv(H_OUT, 14))
    LANES = 16
    n_lanes = N * triton.cdiv(H_OUT, ROWS)
    fragments_kernel[(triton.cdiv(W_OUT, 16 * FRAGMENTS - 8) * C * triton.cdiv(n_lanes, LANES),)](
        x,
        weight,
        x if bias is None else bias.contiguous(),
        out,
        n_lanes,
        C=C,
        H=H,
        W=W,
        H_OUT=H_OUT,
        W_OUT=W_OUT,
        KERNEL_SIZE=K,
        PADDING=padding,
        HAS_BIAS=bias is not None,
        FRAGMENTS=FRAGMENTS,
        BEFORE=padding + padding % 2,
        ROWS=ROWS,
        AHEAD=0 if FRAGMENTS == 4 else min(ROWS, 4),
        LANES=LANES,
        OFFSET=tl.int64 if max(x.numel(), out.numel()) + ROWS * (W + W_OUT) >= 2**31 else tl.int32,
        num_warps=1,
        maxnreg=168,  # 12 programs an SM
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
    pairs = W % 2 == 0 and W_OUT % 2 == 0
    serves = x.element_size() == 2 and stride == 1 and pairs and 5 < K <= 9 - padding % 2  # 8 outputs within 16 inputs
    if not serves:
        raise ValueError(
            "depthwise_conv2d: serves 16 bits at stride 1, even rows, K > 5, "
            f"got {x.dtype}, {K}x{K}, stride {stride}, padding {padding}, {H}x{W}"
        )
    return by_fragments(x, weight, bias, padding, out)


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
