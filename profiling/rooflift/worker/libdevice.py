"""CUDA's libdevice in Triton's interpreter: the same functions of torch, in float64 and rounded once."""

from __future__ import annotations

from typing import Any

from rooflift.worker.number_formats import handle_of, numbers

# the name in libdevice without its prefix and type, where it is torch's, too
SAME = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh", "erf", "erfc",
    "erfinv", "exp", "exp2", "expm1", "floor", "fmax", "fmin", "fmod", "hypot", "lgamma", "log", "log10", "log1p",
    "log2", "pow", "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "isinf", "isnan", "signbit",
)  # fmt: skip


def interpret_libdevice() -> None:
    """Let kernels call triton.language.extra.libdevice in this process; before kernel files are loaded.

    A function that is not among the known ones raises NotImplementedError with its name. Those that only wait for
    another grid do nothing: the interpreter runs one after the other.
    """
    import triton.language.extra.cuda as cuda
    from triton.language.extra import libdevice
    from triton.runtime.interpreter import InterpreterBuilder, interpreter_semantic

    def interpreted(function: Any) -> Any:
        return lambda *args, **kwargs: function(*args, **kwargs | {"_semantic": interpreter_semantic})

    for name, function in list(vars(cuda.libdevice).items()):
        if getattr(function, "__triton_builtin__", False):
            for module in (cuda.libdevice, libdevice):
                setattr(module, name, interpreted(function))
    for name in ("gdc_wait", "gdc_launch_dependents"):
        if hasattr(cuda, name):
            setattr(cuda, name, lambda **_: None)
    InterpreterBuilder.create_extern_elementwise = _call


def _call(_: Any, library: str, path: str, symbol: str, operands: list[Any], result: Any, pure: bool) -> Any:  # noqa: ARG001
    import torch

    function = _function(symbol)
    if function is None:
        raise NotImplementedError(f"{symbol} of libdevice")
    wide = [torch.from_numpy(numbers(x).copy()) for x in operands]
    return handle_of(function(*(x.double() if x.is_floating_point() else x for x in wide)).numpy(), result.scalar)


def _function(symbol: str) -> Any:
    """Return torch's function for "__nv_tanhf", "__nv_fast_expf", "__nv_fdiv_rn"; None without one."""
    import torch

    name = symbol.removeprefix("__nv_").removeprefix("fast_").removesuffix("_rn")
    known = {one: getattr(torch, one) for one in SAME} | {
        "abs": torch.abs,
        "add": torch.add,
        "div": torch.div,
        "dividef": torch.div,
        "fabs": torch.abs,
        "fma": lambda x, y, z: x * y + z,
        "fsqrt": torch.sqrt,
        "frsqrt": torch.rsqrt,
        "cbrt": lambda x: x.abs().pow(1 / 3).copysign(x),
        "exp10": lambda x: 10**x,
        "mul": torch.mul,
        "powi": torch.pow,
        "rcp": torch.reciprocal,
        "rint": torch.round,
        "round": lambda x: (x.abs() + 0.5).floor().copysign(x),
    }
    names = (name, name.removesuffix("f"), name.removeprefix("f"), name.removeprefix("d"))  # sqrtf, fdiv, ddiv
    return next((known[one] for one in names if one in known), None)
