"""cuBLASLt's own epilogue: one kernel as well, but the tanh form of GELU, which is off by up to 5e-4."""

import torch


def cublas_tanh_epilogue(model, inputs):
    (x,) = inputs
    rows = x.reshape(-1, x.shape[-1])
    activate = torch._addmm_activation  # noqa: SLF001  # torch has no public name for it
    return lambda: activate(model.bias, rows, model.weight.T, use_gelu=True).view(*x.shape[:-1], -1)
