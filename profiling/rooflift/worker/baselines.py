"""The baselines that take memory or seconds to prepare: torch in channels_last, and torch.compile."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import Any

from rooflift.project.cases import Case
from rooflift.worker import protocol
from rooflift.worker.protocol import say
from rooflift.worker.tensors import in_channels_last


def slow_baselines(case: Case, eager: Any, inputs: list[Any]) -> dict[str, Any]:
    """Return a warm call of each baseline that takes memory or seconds to prepare; one that fails is left out."""
    import torch

    def channels_last() -> Any:
        turned = in_channels_last(eager, inputs)
        return partial(turned[0], *turned[1]) if turned else None

    def compiled() -> Any:
        torch.compiler.reset()  # after some cases of one class torch would stop compiling, and run it as it stands
        return partial(torch.compile(eager, dynamic=False), *inputs)

    calls = {}
    for provider, prepare in (("torch_channels_last", channels_last), ("torch_compile", compiled)):
        try:
            call = prepare()
            if call is None:
                continue
            call()
            torch.cuda.synchronize()
            calls[provider] = call
        except Exception as error:  # noqa: BLE001  # the compiler may raise anything
            say(protocol.Doing(f"{provider} is left out: {textwrap.shorten(str(error), 200)}"))
            say(protocol.LeftOut(provider, case.name, case.dtype, type(error).__name__))
    return calls
