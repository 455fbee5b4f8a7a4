"""The kernels that torch has for attention, each by itself: without them torch takes the first that it may.

One that does not take a case, as efficient attention refuses grouped heads, is left out there.
"""

from torch.nn.attention import SDPBackend, sdpa_kernel


def cudnn(model, inputs):
    return _alone(SDPBackend.CUDNN_ATTENTION, model, inputs)


def flash_attention_2(model, inputs):
    return _alone(SDPBackend.FLASH_ATTENTION, model, inputs)


def efficient_attention(model, inputs):
    return _alone(SDPBackend.EFFICIENT_ATTENTION, model, inputs)


def _alone(backend, model, inputs):
    def call():
        with sdpa_kernel(backend):
            return model(*inputs)

    return call
