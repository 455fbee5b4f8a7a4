"""Persistent programs: one an SM, whose producer loads the next tile's queries and keys during this one's end.

Stage:   persistence
Change:  as many programs as SMs walk over pairs of tiles of a head, the longest with the shortest, the second longest
         with the second shortest; the roles are those of the outer loop.
Why:     a program of v6 begins with a descriptor, queries and keys to wait for, and ends with a store: 2 to 3 us of
         some 30 at S = 4096 and of 8 at S = 1024, and no second program of the SM fills them. Here the producer runs on
         into the next tile (213,288 bytes of shared memory hold two of queries), and the descriptor is made once.
         Tiles are not dealt out to who is free, so they come in pairs that are equally long: 2048 for 132 SMs in each
         case, 16 rounds for 15.5 rounds' work.
Expect:  time_x 0.90..1.02, causal_1024/bfloat16: time_x 0.75..0.97, sol_pct 55..85
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def exponentials(scores, largest, scale):
    """Exponentials of scaled scores less the largest of each row so far; what earlier sums shrink by; the largest."""
    higher = tl.maximum(largest, tl.max(scores, 1) * scale)  # finite: key 0 comes first, and every query sees it
    return tl.exp2(scores * scale - higher[:, None]), tl.exp2(largest - higher), higher


@triton.jit
def attention_kernel(
    q_ptr,  # (B, H, S, D), contiguous, as is o
    k_desc,
    v_desc,
    o_ptr,
    scale,  # of scores, for powers of 2
    heads,  # B * H
    H,
    KV,
    S,
    last,  # the number of a head's last tile
    D: tl.constexpr,
    CAUSAL: tl.constexpr,
    EDGE: tl.constexpr,  # the last tile of keys is not full
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    pairs = last // 2 + 1  # of the tiles i and last - i of a head, whose keys are as many as those of any other pair
    turns = 2 * tl.cdiv(heads * pairs - tl.program_id(0), tl.num_programs(0))
    q_desc = tl.make_tensor_descriptor(q_ptr, [heads * S, D], [D, 1], [BM, D])  # rows beyond S are the next head's
    for turn in tl.range(0, turns, warp_specialize=True):
        pair = tl.program_id(0) + turn // 2 * tl.num_programs(0)
        block = tl.where(turn % 2 == 0, last - pair % pairs, pair % pairs)  # that in the middle comes twice
        row, batch, head = pair // pairs * S, pair // pairs // H, pair // pairs % H
        shared = head // (H // KV)  # the head of keys and values
        rows = block * BM + tl.arange(0, BM)
        q = q_desc.load([row + block * BM, 0])
        total = tl.zeros([BM, D], tl.float32)
        largest = tl.full([BM], float("-inf"), tl.float32)
        weight = tl.zeros([BM], tl.float32)  # the sum of the exponentials
        for first in tl.range(0, ((block if CAUSAL else last) + 1) * BM, BN):  # BM is BN
            k = k_desc.load([batch, shared, first, 0]).reshape(BN, D)
            scores = tl.dot(q, k.T)
            columns = first + tl.arange(0, BN)
            if CAUSAL:
                scores = tl.where(columns[None, :] <= rows[:, None], scores, float("-inf"))
            elif EDGE:
                scores = tl.where(columns[None, :] < S, scores, float("-inf"))
            p, shrink, largest = exponentials(scores, largest, scale)
            weight = weight * shrink + tl.sum(p, 1)
            v = v_desc.load([batch, shared, first, 0]).reshape(BN, D)
            total = tl.dot(p.to(v.dtype), v, total * shrink[:, None])
        out = (total / weight[:, None]).to(o_ptr.dtype.element_ty)
        places = (row + rows).to(tl.int64)[:, None] * D + tl.arange(0, D)[None, :]
        tl.store(o_ptr + places, out, mask=rows[:, None] < S)


def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes."""
    return torch.empty(size, dtype=torch.int8, device="cuda")


def contiguous(x):
    """x, or a copy of it without gaps, whose rows TMA can read."""
    return x if x.is_contiguous() and x.data_ptr() % 16 == 0 else x.clone(memory_format=torch.contiguous_format)


def readable(x):
    """x, or a copy of it that TMA can read: rows of adjacent elements, each at a multiple of 16 bytes."""
    fine = x.stride(3) == 1 and all(step > 0 and step % 8 == 0 for step in x.stride()[:3]) and x.data_ptr() % 16 == 0
    return x if fine else x.clone(memory_format=torch.contiguous_format)


def attention(q, k, v, causal):
    """q (B, H, S, D), k and v (B, KV, S, D) in float16 or bfloat16, in any layout -> (B, H, S, D) in their dtype."""
    if q.dtype not in (torch.float16, torch.bfloat16) or not q.dtype == k.dtype == v.dtype:
        raise TypeError(f"attention: wants float16 or bfloat16 throughout, got {q.dtype}, {k.dtype} and {v.dtype}")
    if q.dim() != 4 or k.shape != v.shape or k.shape != (q.shape[0], *k.shape[1:2], *q.shape[2:]):
        shapes = f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        raise ValueError(f"attention: wants q (B, H, S, D), k and v (B, KV, S, D), got {shapes}")
    (B, H, S, D), KV = q.shape, k.shape[1]
    if D not in (16, 32, 64, 128) or KV == 0 or H % KV:
        raise ValueError(f"attention: wants D of 16, 32, 64 or 128 and H a multiple of KV, got {D}, {H} and {KV}")
    o = torch.empty((B, H, S, D), device=q.device, dtype=q.dtype)
    if o.numel() == 0:
        return o
    BM, BN = 128, 128
    last = triton.cdiv(S, BM) - 1
    triton.set_allocator(scratch)
    sms = torch.cuda.get_device_properties(q.device).multi_processor_count
    programs = min((last // 2 + 1) * B * H, sms)
    attention_kernel[(programs,)](
        contiguous(q),
        TensorDescriptor.from_tensor(readable(k), [1, 1, BN, D]),
        TensorDescriptor.from_tensor(readable(v), [1, 1, BN, D]),
        o,
        D**-0.5 * 1.4426950408889634,
        B * H,
        H,
        KV,
        S,
        last,
        D=D,
        CAUSAL=causal,
        EDGE=S % BN > 0,
        BM=BM,
        BN=BN,
        num_warps=4,  # of a warpgroup; the compiler adds two
        num_stages=2,
    )
    return o


class ModelNew(nn.Module):
    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attention(q, k, v, self.causal)
