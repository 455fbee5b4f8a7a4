"""What Triton's interpreter lacks and kernels need: a choice for autotune, products of bfloat16 matrices."""

from __future__ import annotations

from typing import Any


def fix_interpreter() -> None:
    """Let this process interpret what a GPU would run; to be called before kernel files are loaded.

    triton.autotune takes its first configuration, since there is no GPU to try the others on. tl.dot multiplies
    bfloat16 in float32, where the products are exact; the interpreter would multiply the bits as integers.
    """
    import triton
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    class FirstConfiguration:
        def __init__(self, kernel: Any, options: dict[str, Any]) -> None:
            self.kernel, self.options = kernel, options

        def __getitem__(self, grid: Any) -> Any:
            return lambda *args, **kwargs: self.kernel[grid](*args, **kwargs, **self.options)

    dot = InterpreterBuilder.create_dot

    def exact_dot(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        a, b = (builder.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b))
        return dot(builder, a, b, *rest)

    triton.autotune = lambda configs, *_, **__: lambda kernel: FirstConfiguration(kernel, configs[0].kwargs)
    InterpreterBuilder.create_dot = exact_dot
