"""Scaled dot-product attention, causal or over all positions, with grouped heads, in plain PyTorch."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """q (B, H, S, D), k and v (B, KV, S, D) -> (B, H, S, D); H / KV heads of queries share a head of keys."""

    def __init__(self, causal: bool):
        super().__init__()
        self.causal = causal

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if q.dtype != torch.float64:
            return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=True)
        # nothing is fused in float64: one head at a time, for the scores of 32 heads of 16384 positions are 69 GB
        share = q.shape[1] // k.shape[1]
        heads = [
            nn.functional.scaled_dot_product_attention(
                q[:, head : head + 1],
                k[:, head // share : head // share + 1],
                v[:, head // share : head // share + 1],
                is_causal=self.causal,
            )
            for head in range(q.shape[1])
        ]
        return torch.cat(heads, 1)


def get_inputs():
    return [torch.randn(4, 32, 4096, 128) for _ in range(3)]


def get_init_inputs():
    return [True]
