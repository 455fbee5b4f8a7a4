"""Backward of scaled dot-product attention: the gradients of queries, keys and values, in plain PyTorch.

The result and the logarithm of the sum of the exponentials of each query come from the forward pass, as torch keeps
them. torch's own kernels are among the baselines.
"""

import torch
import torch.nn as nn


class Model(nn.Module):
    """grad, q, o (B, H, S, D), k, v (B, KV, S, D), lse (B, H, S) in float32 -> gradients of q, k and v."""

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
        scale, share = q.shape[-1] ** -0.5, q.shape[1] // k.shape[1]
        found = tuple(torch.zeros_like(x.float()) for x in (q, k, v))
        for head in range(q.shape[1]):  # one at a time: the probabilities of all take gigabytes
            own, shared = (slice(None), head), (slice(None), head // share)
            queries, keys, values, upper = q[own].float(), k[shared].float(), v[shared].float(), grad[own].float()
            p = (queries @ keys.mT * scale - lse[own].float().unsqueeze(-1)).exp()
            p = p.tril() if self.causal else p
            delta = (o[own].float() * upper).sum(-1, keepdim=True)
            slope = p * (upper @ values.mT - delta) * scale
            found[0][own] = slope @ keys
            found[1][shared] += slope.mT @ queries
            found[2][shared] += p.mT @ upper
        return tuple(x.to(q.dtype) for x in found)


def get_inputs():
    return [torch.randn(4, 32, 4096, 128) for _ in range(5)] + [torch.rand(4, 32, 4096) + 8]


def get_init_inputs():
    return [True]
