"""Fused residual add and RMS norm of the libraries of the field; one that is not installed is left out."""


def liger(model, inputs):
    from liger_kernel.ops.fused_add_rms_norm import LigerFusedAddRMSNormFunction

    return lambda: LigerFusedAddRMSNormFunction.apply(*inputs, model.weight, model.eps, 0.0, "llama", False)


def flash_attn(model, inputs):
    from flash_attn.ops.triton.layer_norm import rms_norm_fn

    x, residual = inputs
    return lambda: rms_norm_fn(x, model.weight, None, residual=residual, eps=model.eps, prenorm=True)


def quack(model, inputs):
    from quack.rmsnorm import rmsnorm

    x, residual = inputs
    return lambda: rmsnorm(x, model.weight, residual=residual, eps=model.eps, prenorm=True)
