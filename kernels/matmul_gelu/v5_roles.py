"""Roles: one warpgroup loads, two multiply halves of the tile and take GELU, each at its own pace.

Stage:   specialization
Change:  tl.range(..., warp_specialize=True) for the loop over tiles; the kernel makes the descriptors of x and of the
         result, which the compiler splits. 3 steps in flight, since the result's 64 KB of shared memory stay taken.
Why:     in v4 all warps take GELU at the same time. Here a consumer may be up to 3 steps ahead of the other, so that a
         part of its GELU runs under the other's products; the producer fills the buffers meanwhile. But a consumer
         waits for each step's products before it releases the buffer, where v4 has the next in flight: the other
         consumer has to fill that gap.
Expect:  time_x 0.93..1.08
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def gelu(x):
    """x times the normal CDF, off by 3.4e-5 at most: 0.5 and an odd polynomial in x up to 4.5, where it is 0.5."""
    y = tl.minimum(tl.maximum(x, -4.5), 4.5)
    z = y * y
    p = 3.00001411e-11
    p = p * z - 3.28391356e-09
    p = p * z + 1.58025551e-07
    p = p * z - 4.43167651e-06
    p = p * z + 8.12095556e-05
    p = p * z - 1.03625178e-03
    p = p * z + 9.58064614e-03
    p = p * z - 6.59772549e-02
    p = p * z + 3.98708568e-01
    return x * (p * y + 0.5)


@triton.jit
def tile_of(number, rows, columns, GROUP: tl.constexpr):
    """Row and column of a tile: GROUP rows of tiles are walked column by column, so that a wave is nearly square."""
    first = number // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    return first + number % (GROUP * columns) % height, number % (GROUP * columns) // height


@triton.jit(do_not_specialize=["K"])  # a loop of one step, as K of 1 makes it, ends the roles
def product_kernel(
    x_ptr,
    x_rows,  # elements from one row of x to the next
    weight_desc,  # of (N, K)
    c_ptr,
    c_rows,
    bias_ptr,
    M,
    N,
    K,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    GROUP: tl.constexpr,
):
    rows, columns = tl.cdiv(M, BM), tl.cdiv(N, BN)
    x_desc = tl.make_tensor_descriptor(x_ptr, [M, K], [x_rows, 1], [BM, BK])  # the compiler splits what it makes
    c_desc = tl.make_tensor_descriptor(c_ptr, [M, N], [c_rows, 1], [BM, BN])
    for tile in tl.range(tl.program_id(0), rows * columns, tl.num_programs(0), warp_specialize=True):
        row, column = tile_of(tile, rows, columns, GROUP)
        total = tl.zeros([BM, BN], tl.float32)
        for first in range(0, K, BK):
            total = tl.dot(x_desc.load([row * BM, first]), weight_desc.load([column * BN, first]).T, total)
        n = column * BN + tl.arange(0, BN)
        bias = tl.load(bias_ptr + n, mask=n < N, other=0.0).to(tl.float32)
        c_desc.store([row * BM, column * BN], gelu(total + bias[None, :]).to(c_ptr.dtype.element_ty))


def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes."""
    return torch.empty(size, dtype=torch.int8, device="cuda")


def in_aligned_rows(x):
    """x (rows, columns), or a copy of it in rows that TMA can read: each begins at a multiple of 16 bytes."""
    if x.stride(1) == 1 and x.stride(0) >= x.shape[1] and x.stride(0) % 8 == 0 and x.data_ptr() % 16 == 0:
        return x
    return empty_in_aligned_rows(*x.shape, x).copy_(x)


def empty_in_aligned_rows(rows, columns, like):
    return torch.empty((rows, triton.cdiv(columns, 8) * 8), device=like.device, dtype=like.dtype)[:, :columns]


def matmul_gelu(x, weight, bias):
    """x (..., K), weight (N, K), bias (N,) in float16 or bfloat16 -> GELU of x weight^T + bias, (..., N)."""
    if x.dtype not in (torch.float16, torch.bfloat16) or weight.dtype != x.dtype:
        raise TypeError(f"matmul_gelu: wants float16 or bfloat16 throughout, got {x.dtype} and {weight.dtype}")
    N, K = weight.shape
    if x.dim() == 0 or x.shape[-1] != K:
        raise ValueError(f"matmul_gelu: wants x (..., {K}), got {tuple(x.shape)}")
    c = torch.empty((*x.shape[:-1], N), device=x.device, dtype=x.dtype)
    if c.numel() == 0:
        return c
    x = x.reshape(-1, K)
    M = len(x)
    BM, BN, BK, GROUP = 128, 256, 64, 8
    rows = c.view(M, N) if N % 8 == 0 else empty_in_aligned_rows(M, N, c)
    x = in_aligned_rows(x)
    triton.set_allocator(scratch)
    sms = torch.cuda.get_device_properties(x.device).multi_processor_count
    programs = min(triton.cdiv(M, BM) * triton.cdiv(N, BN), sms)
    product_kernel[(programs,)](
        x,
        x.stride(0),
        TensorDescriptor.from_tensor(in_aligned_rows(weight), [BN, BK]),
        rows,
        rows.stride(0),
        bias,
        M,
        N,
        K,
        BM=BM,
        BN=BN,
        BK=BK,
        GROUP=GROUP,
        num_warps=4,  # of a warpgroup; the compiler adds two
        num_stages=3,
    )
    return c if N % 8 == 0 else c.copy_(rows.view(c.shape))


class ModelNew(nn.Module):
    def __init__(self, K: int, N: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, K) * K**-0.5)
        self.bias = nn.Parameter(torch.randn(N))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return matmul_gelu(x, self.weight, self.bias)
