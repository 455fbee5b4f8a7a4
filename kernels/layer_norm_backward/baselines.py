"""Layer norm's backward in torch's own kernels."""

import torch


def aten(model, inputs):
    x, grad, mean, rstd = inputs
    shape, bias = model.weight.shape, torch.zeros_like(model.weight)
    mean, rstd = mean.unsqueeze(-1), rstd.unsqueeze(-1)
    every = [True, True, True]
    return lambda: torch.ops.aten.native_layer_norm_backward(grad, x, shape, mean, rstd, model.weight, bias, every)
