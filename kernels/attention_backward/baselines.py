"""Torch's backward kernels for attention, each by itself, on the result and the sums of their own forward pass."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def flash_attention_2(model, inputs):
    return _alone(SDPBackend.FLASH_ATTENTION, model, inputs)


def cudnn(model, inputs):
    return _alone(SDPBackend.CUDNN_ATTENTION, model, inputs)


def _alone(backend, model, inputs):
    grad, *leaves = inputs[:4]
    leaves = [x.clone().requires_grad_() for x in leaves]
    attention = torch.nn.functional.scaled_dot_product_attention
    with torch.enable_grad(), sdpa_kernel(backend):
        out = attention(*leaves, is_causal=model.causal, enable_gqa=True)
    return lambda: torch.autograd.grad(out, leaves, grad, retain_graph=True)
