"""The base of what sees each operation that torch dispatches; torch's compiler stays unloaded.

torch hides a mode from its compiler, and imports all of that for it at the first operation: a second of every process.
"""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class Seen(TorchDispatchMode):
    """A dispatch mode that torch's compiler would not skip: torch compiles nothing while a mode of this kind lasts."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
