"""Baseline: a program owns a group of an image: one loop for mean and variance, another that normalises.

Stage:   baseline
Change:  the algorithm that the ladder starts from: two loops over tiles of 4096 elements, all channels of the group by
         some pixels; strides tell the memory format.
Why:     the shortest correct kernel. The main case's 1024 groups of 512 KB are all resident at once, so that L2 holds
         nothing of them for the second loop: three bytes move where two are compulsory. In channels_last a group is
         pieces of 32 bytes. The latent's 256 and the decoder's 32 groups are too few programs.
Expect:  sol_pct 40..72, excess_traffic 1.40..1.55, main_channels_last/bfloat16: sol_pct 15..65,
         decoder/bfloat16: sol_pct 3..25, latent/bfloat16: sol_pct 25..75
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def group_norm_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    pixels,
    groups,
    group_channels,
    image_stride,
    channel_stride,
    pixel_stride,
    eps,
    CHANNELS: tl.constexpr,  # a power of 2 from group_channels on
    PIXELS: tl.constexpr,
    OFFSET: tl.constexpr,  # tl.int64 once an image has 2^31 elements
):
    image = tl.program_id(0) // groups
    member = tl.arange(0, CHANNELS)
    channel = tl.program_id(0) % groups * group_channels + member
    lane = tl.arange(0, PIXELS)
    start = image.to(tl.int64) * image_stride
    middle = tl.load(x_ptr + start + (tl.program_id(0) % groups * group_channels).to(OFFSET) * channel_stride)
    middle = middle.to(tl.float32)  # some value of the group: sums of differences from it do not cancel
    sums = tl.zeros([CHANNELS, PIXELS], dtype=tl.float32)
    squares = tl.zeros([CHANNELS, PIXELS], dtype=tl.float32)
    for first in range(0, pixels, PIXELS):
        pixel = first + lane
        inside = (member < group_channels)[:, None] & (pixel < pixels)[None, :]
        offset = channel.to(OFFSET)[:, None] * channel_stride + pixel.to(OFFSET)[None, :] * pixel_stride
        x = tl.load(x_ptr + start + offset, mask=inside, other=0.0).to(tl.float32)
        difference = tl.where(inside, x - middle, 0.0)
        sums += difference
        squares += difference * difference
    count = group_channels * pixels
    shift = tl.sum(tl.sum(sums, 1), 0) / count
    mean = middle + shift
    variance = tl.sum(tl.sum(squares, 1), 0) / count - shift * shift
    scale = tl.rsqrt(tl.maximum(variance, 0.0) + eps)

    weight = tl.load(weight_ptr + channel, mask=member < group_channels, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=member < group_channels, other=0.0).to(tl.float32)
    for first in range(0, pixels, PIXELS):  # reads each element a second time
        pixel = first + lane
        inside = (member < group_channels)[:, None] & (pixel < pixels)[None, :]
        offset = channel.to(OFFSET)[:, None] * channel_stride + pixel.to(OFFSET)[None, :] * pixel_stride
        x = tl.load(x_ptr + start + offset, mask=inside, other=0.0).to(tl.float32)
        out = (x - mean) * scale * weight[:, None] + bias[:, None]
        tl.store(out_ptr + start + offset, out.to(out_ptr.dtype.element_ty), mask=inside)


def group_norm(x, groups, weight, bias, eps):
    """x (N, channels, ...), weight and bias (channels,) -> like x, its memory format, too."""
    if x.dim() < 2 or x.shape[1] != len(weight):
        raise ValueError(f"group_norm: wants x of shape (N, {len(weight)}, ...), got {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16) or not x.dtype == weight.dtype == bias.dtype:
        dtypes = f"{x.dtype}, {weight.dtype}, {bias.dtype}"
        raise TypeError(f"group_norm: wants float32, float16 or bfloat16 throughout, got {dtypes}")
    channels = x.shape[1]
    if channels % groups:
        raise ValueError(f"group_norm: wants channels that {groups} groups share evenly, got {channels}")
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    x = x if last else x.contiguous()
    weight, bias = weight.contiguous(), bias.contiguous()
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    images = x.shape[0]
    pixels = x.shape[2:].numel()
    strides = (channels * pixels, 1, channels) if last else (channels * pixels, pixels, 1)
    CHANNELS = triton.next_power_of_2(channels // groups)
    group_norm_kernel[(images * groups,)](
        x,
        weight,
        bias,
        out,
        pixels,
        groups,
        channels // groups,
        strides[0],
        strides[1],
        strides[2],
        eps,
        CHANNELS=CHANNELS,
        PIXELS=min(max(4096 // CHANNELS, 1), triton.next_power_of_2(pixels)),
        OFFSET=tl.int64 if channels * pixels >= 2**31 else tl.int32,
    )
    return out


class ModelNew(nn.Module):
    def __init__(self, groups: int, channels: int, eps: float = 1e-5):
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return group_norm(x, self.groups, self.weight, self.bias, self.eps)
