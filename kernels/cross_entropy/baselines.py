"""Liger's kernel, which writes the gradient over the logits, and the formula compiled as one graph.

torch.compile breaks the reference where it asks for the gradient; the formula needs no autograd.
"""

import torch


def liger_kernel(model, inputs):
    from liger_kernel.transformers.functional import liger_cross_entropy

    logits, targets = inputs
    logits = logits.clone().requires_grad_()  # overwritten by each call: the later ones see gradients

    def call():
        with torch.enable_grad():
            loss = liger_cross_entropy(logits, targets, ignore_index=model.ignore_index)
            loss = loss[0] if isinstance(loss, tuple) else loss
            (gradient,) = torch.autograd.grad(loss, logits)
        return loss.detach(), gradient

    return call


def compiled_formula(model, inputs):
    compiled = torch.compile(_formula, dynamic=False)
    return lambda: compiled(*inputs, model.ignore_index)


def _formula(logits, targets, ignore_index):
    x = logits.float()
    counts = targets != ignore_index
    valid = counts.sum()
    logarithm = x.logsumexp(1)
    own = x.gather(1, targets.where(counts, 0)[:, None])[:, 0]
    loss = (logarithm - own).where(counts, 0).sum() / valid
    is_target = torch.arange(x.shape[1], device=x.device) == targets[:, None]
    gradient = ((x - logarithm[:, None]).exp() - is_target.float()) * (1 / valid).where(counts, 0)[:, None]
    return loss.to(logits.dtype), gradient.to(logits.dtype)
