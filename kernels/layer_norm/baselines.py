"""Layer norm of the libraries of the field; one that is not installed is left out."""


def liger(model, inputs):
    from liger_kernel.ops.layer_norm import LigerLayerNormFunction

    return lambda: LigerLayerNormFunction.apply(*inputs, model.weight, model.bias, model.eps)


def flash_attn(model, inputs):
    from flash_attn.ops.triton.layer_norm import layer_norm_fn

    return lambda: layer_norm_fn(*inputs, model.weight, model.bias, eps=model.eps)


def quack(model, inputs):
    from quack.rmsnorm import layernorm_fwd

    weight, bias = model.weight.float(), model.bias.float()  # it takes no others
    return lambda: layernorm_fwd(*inputs, weight, bias, eps=model.eps)
