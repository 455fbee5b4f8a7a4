"""Torch's backward kernels for attention, on the result and the sums of their own forward pass."""

import torch

aten = torch.ops.aten


def flash_attention_2(model, inputs):
    grad, q, k, v, _o, _lse = inputs
    forward = aten._scaled_dot_product_flash_attention(q, k, v, 0.0, model.causal)  # noqa: SLF001  # no public name
    out, lse, cum_q, cum_k, max_q, max_k, seed, offset, _mask = forward
    backward = aten._scaled_dot_product_flash_attention_backward  # noqa: SLF001  # the same
    rest = (out, lse, cum_q, cum_k, max_q, max_k, 0.0, model.causal, seed, offset)
    return lambda: backward(grad, q, k, v, *rest)


def cudnn(model, inputs):
    grad, q, k, v, _o, _lse = inputs
    forward = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, model.causal)  # noqa: SLF001  # the same
    out, lse, cum_q, cum_k, max_q, max_k, seed, offset, _mask = forward
    backward = aten._scaled_dot_product_cudnn_attention_backward  # noqa: SLF001  # the same
    rest = (out, lse, seed, offset, None, cum_q, cum_k, max_q, max_k, 0.0, model.causal)
    return lambda: backward(grad, q, k, v, *rest)
