"""SiLU and product of the libraries of the field; one that is not installed is left out."""


def liger(model, inputs):
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    gate, values = (half.contiguous() for half in inputs[0].chunk(2, -1))  # it takes two tensors
    return lambda: LigerSiLUMulFunction.apply(gate, values)


def flashinfer(model, inputs):
    from flashinfer.activation import silu_and_mul

    return lambda: silu_and_mul(inputs[0])
