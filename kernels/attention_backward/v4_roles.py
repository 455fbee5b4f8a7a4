"""Roles: one warpgroup loads, two multiply, each at its own pace on a half of the keys or queries.

Stage:   specialization
Change:  tl.range(..., warp_specialize=True) in both kernels. What the compiler splits (keys and values, or queries and
         gradients, of a program) comes through descriptors that the kernel makes; lse and delta of a program's queries,
         too, for which a kernel writes them in whole tiles.
Why:     compiled for sm_90 triton 3.6 makes a producer and two consumers, with setmaxnreg, 4 warps each. In v3 two
         warpgroups wait for the same barriers: five products and the arithmetic between them are one chain in which the
         tensor cores idle. Here one consumer's arithmetic runs under the other's products. The kernel of queries does
         not spill; that of keys has 27 spills at 168 registers before setmaxnreg. Ordinary loads before the loop are
         refused by the compiler, which is why lse takes TMA.
Expect:  time_x 0.55..0.90, tensor_pct 45..80
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def delta_kernel(grad_ptr, o_ptr, lse_ptr, lse_out_ptr, delta_ptr, S, padded, D: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of grad * o of each query, and lse for powers of 2, in whole tiles: beyond S probabilities become 0."""
    head, m = tl.program_id(1).to(tl.int64), tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    place = (head * S + m[:, None]) * D + tl.arange(0, D)[None, :]
    grad = tl.load(grad_ptr + place, mask=m[:, None] < S, other=0.0).to(tl.float32)
    o = tl.load(o_ptr + place, mask=m[:, None] < S, other=0.0).to(tl.float32)
    lse = tl.load(lse_ptr + head * S + m, mask=m < S, other=float("inf"))
    tl.store(lse_out_ptr + head * padded + m, lse * 1.4426950408889634)
    tl.store(delta_ptr + head * padded + m, tl.sum(grad * o, 1))


@triton.jit
def keys_kernel(
    grad_desc,
    q_desc,
    k_ptr,
    v_ptr,
    lse_ptr,  # times log2(e), as delta in rows of `padded` elements
    delta_ptr,
    dk_ptr,
    dv_ptr,
    scale,  # for powers of 2
    H,
    KV,
    S,
    padded,
    D: tl.constexpr,
    CAUSAL: tl.constexpr,
    BM: tl.constexpr,  # queries of a step
    BN: tl.constexpr,  # keys of a program
):
    """Gradients of BN keys and values: a walk over the queries of all heads that share them."""
    shared, share = tl.program_id(1), H // KV
    start = tl.program_id(0) * BN
    n = start + tl.arange(0, BN)
    whole = shared.to(tl.int64) * S * D  # the compiler splits descriptors that it makes
    k = tl.make_tensor_descriptor(k_ptr + whole, [S, D], [D, 1], [BN, D]).load([start, 0])
    v = tl.make_tensor_descriptor(v_ptr + whole, [S, D], [D, 1], [BN, D]).load([start, 0])
    dk = tl.zeros([BN, D], tl.float32)
    dv = tl.zeros([BN, D], tl.float32)
    first = start // BM if CAUSAL else 0  # queries before it see none of the keys
    count = tl.cdiv(S, BM) - first
    for step in tl.range(0, share * count, warp_specialize=True):
        head, at = shared * share + step // count, (first + step % count) * BM
        m = at + tl.arange(0, BM)
        row = head.to(tl.int64) * padded + m
        lse, delta = tl.load(lse_ptr + row), tl.load(delta_ptr + row)
        q = q_desc.load([head, at, 0]).reshape(BM, D)
        grad = grad_desc.load([head, at, 0]).reshape(BM, D)
        p = tl.exp2(tl.dot(k, q.T) * scale - lse[None, :])
        if CAUSAL:
            p = tl.where(m[None, :] >= n[:, None], p, 0.0)
        dv = tl.dot(p.to(grad.dtype), grad, dv)
        slope = p * (tl.dot(v, grad.T) - delta[None, :])
        dk = tl.dot(slope.to(q.dtype), q, dk)
    places = whole + n[:, None] * D + tl.arange(0, D)[None, :]
    tl.store(dk_ptr + places, (dk * (scale * 0.6931471805599453)).to(dk_ptr.dtype.element_ty), mask=n[:, None] < S)
    tl.store(dv_ptr + places, dv.to(dv_ptr.dtype.element_ty), mask=n[:, None] < S)


@triton.jit
def queries_kernel(
    grad_ptr,
    q_ptr,
    k_desc,
    v_desc,
    lse_ptr,  # times log2(e), as delta in rows of `padded` elements
    delta_ptr,
    dq_ptr,
    scale,  # for powers of 2
    H,
    KV,
    S,
    padded,
    D: tl.constexpr,
    CAUSAL: tl.constexpr,
    BM: tl.constexpr,  # queries of a program
    BN: tl.constexpr,  # keys of a step
):
    """Gradients of BM queries: a walk over their keys, with the probabilities once more."""
    head, start = tl.program_id(1), tl.program_id(0) * BM
    shared = head // (H // KV)
    m = start + tl.arange(0, BM)
    whole = head.to(tl.int64) * S * D
    q = tl.make_tensor_descriptor(q_ptr + whole, [S, D], [D, 1], [BM, D]).load([start, 0])
    grad = tl.make_tensor_descriptor(grad_ptr + whole, [S, D], [D, 1], [BM, D]).load([start, 0])
    row = head.to(tl.int64) * padded
    lse = tl.make_tensor_descriptor(lse_ptr + row, [padded], [1], [BM]).load([start])
    delta = tl.make_tensor_descriptor(delta_ptr + row, [padded], [1], [BM]).load([start])
    dq = tl.zeros([BM, D], tl.float32)
    for first in tl.range(0, min(start + BM, S) if CAUSAL else S, BN, warp_specialize=True):
        k = k_desc.load([shared, first, 0]).reshape(BN, D)  # zeros beyond S add nothing
        v = v_desc.load([shared, first, 0]).reshape(BN, D)
        p = tl.exp2(tl.dot(q, k.T) * scale - lse[:, None])
        if CAUSAL:
            p = tl.where(first + tl.arange(0, BN)[None, :] <= m[:, None], p, 0.0)
        slope = p * (tl.dot(grad, v.T) - delta[:, None])
        dq = tl.dot(slope.to(k.dtype), k, dq)
    places = whole + m[:, None] * D + tl.arange(0, D)[None, :]
    tl.store(dq_ptr + places, (dq * (scale * 0.6931471805599453)).to(dq_ptr.dtype.element_ty), mask=m[:, None] < S)


def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes."""
    return torch.empty(size, dtype=torch.int8, device="cuda")


def contiguous(x):
    """x, or a copy of it without gaps, whose rows TMA can read."""
    return x if x.is_contiguous() and x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)


def tiles(x, rows):
    """A descriptor of tiles of so many rows of one head: x is (B, heads, S, D)."""
    return TensorDescriptor.from_tensor(x.view(-1, *x.shape[2:]), [1, rows, x.shape[3]])


def attention_backward(grad, q, k, v, o, lse, causal):
    """Gradients of q (B, H, S, D), k and v (B, KV, S, D) in float16 or bfloat16; lse (B, H, S) in float32."""
    halves = (grad, q, k, v, o)
    if q.dtype not in (torch.float16, torch.bfloat16) or any(x.dtype != q.dtype for x in halves):
        dtypes = ", ".join(str(x.dtype) for x in halves)
        raise TypeError(f"attention_backward: wants float16 or bfloat16 throughout, got {dtypes}")
    if q.dim() != 4 or not grad.shape == q.shape == o.shape or lse.shape != q.shape[:3] or lse.dtype != torch.float32:
        shapes = ", ".join(str(tuple(x.shape)) for x in (grad, q, o, lse))
        raise ValueError(f"attention_backward: wants grad, q, o (B, H, S, D) and lse (B, H, S), float32, got {shapes}")
    (B, H, S, D), KV = q.shape, k.shape[1]
    if k.shape != v.shape or k.shape != (B, KV, S, D) or D not in (16, 32, 64, 128) or KV == 0 or H % KV:
        shapes = f"{tuple(k.shape)} and {tuple(v.shape)} for {tuple(q.shape)}"
        raise ValueError(
            f"attention_backward: wants k, v (B, KV, S, D), H a multiple of KV, D of 16 to 128, got {shapes}"
        )
    dq, dk, dv = (torch.empty(x.shape, device=q.device, dtype=q.dtype) for x in (q, k, v))
    if q.numel() == 0:
        return dq, dk, dv
    grad, q, k, v, o, lse = (contiguous(x) for x in (*halves, lse))
    BLOCK, padded = 64, triton.cdiv(S, 128) * 128
    powers, delta = (torch.empty((B, H, padded), device=q.device, dtype=torch.float32) for _ in range(2))
    delta_kernel[(padded // BLOCK, B * H)](grad, o, lse, powers, delta, S, padded, D=D, BLOCK=BLOCK, num_warps=4)
    triton.set_allocator(scratch)
    rest, sizes = (powers, delta), (D**-0.5 * 1.4426950408889634, H, KV, S, padded)
    BM, BN = 64, 128
    keys_kernel[(triton.cdiv(S, BN), B * KV)](
        tiles(grad, BM),
        tiles(q, BM),
        k,
        v,
        *rest,
        dk,
        dv,
        *sizes,
        D=D,
        CAUSAL=causal,
        BM=BM,
        BN=BN,
        num_warps=4,  # of a warpgroup; the compiler adds two
        num_stages=2,
    )
    BM, BN = 128, 64
    queries_kernel[(triton.cdiv(S, BM), B * H)](
        grad,
        q,
        tiles(k, BN),
        tiles(v, BN),
        *rest,
        dq,
        *sizes,
        D=D,
        CAUSAL=causal,
        BM=BM,
        BN=BN,
        num_warps=4,
        num_stages=2,
    )
    return dq, dk, dv


class ModelNew(nn.Module):
    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal

    def forward(
        self,
        grad: torch.Tensor,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        o: torch.Tensor,
        lse: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return attention_backward(grad, q, k, v, o, lse, self.causal)
