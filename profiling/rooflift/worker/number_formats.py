"""The numbers behind the bits that Triton's interpreter keeps of bfloat16 and 8-bit floats, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FLOAT32_BITS = 23  # explicit bits of a mantissa
BFLOAT16_BITS = 7
TORCH_NAMES = {"fp8e4nv": "float8_e4m3fn", "fp8e5": "float8_e5m2"}  # of triton's 8-bit floats that NVIDIA has


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Return float32 values rounded to so many explicit bits, to nearest and ties to even.

    >>> import numpy as np
    >>> round_mantissa(np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11], np.float32), 10).tolist()
    [1.0, 1.001953125]
    """
    import numpy as np

    cut = FLOAT32_BITS - bits
    raw = np.asarray(values, np.float32, order="C").view(np.uint32)
    raw = raw + np.uint32((1 << (cut - 1)) - 1) + ((raw >> np.uint32(cut)) & np.uint32(1))
    rounded = (raw & np.uint32(~((1 << cut) - 1) & 0xFFFFFFFF)).view(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), rounded)


def is_kept_as_bits(dtype: Any) -> bool:
    """Whether the interpreter holds numbers of a triton dtype as integers that have to be read."""
    return dtype.name == "bf16" or dtype.name in TORCH_NAMES


def numbers(handle: Any) -> np.ndarray:
    """Return the numbers that the interpreter holds: those that it keeps as bits in float32, exactly."""
    import numpy as np
    import torch

    name, read = handle.dtype.scalar.name, handle.data
    if name == "bf16":
        read = (read.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if name in TORCH_NAMES:
        read = torch.from_numpy(np.array(read)).view(getattr(torch, TORCH_NAMES[name])).float().numpy()
    assert isinstance(read, np.ndarray)
    return read


def handle_of(values: np.ndarray, dtype: Any) -> Any:
    """Return numbers as the interpreter holds them in a triton dtype: rounded to nearest, 8 bits saturated."""
    import numpy as np
    import torch
    from triton.runtime import interpreter

    if dtype.name == "bf16":
        raw = round_mantissa(values.astype(np.float32), BFLOAT16_BITS).view(np.uint32)
        return interpreter.TensorHandle((raw >> np.uint32(16)).astype(np.uint16), dtype)
    if dtype.name in TORCH_NAMES:
        small = getattr(torch, TORCH_NAMES[dtype.name])
        most = torch.finfo(small).max  # cvt.rn.satfinite, to which Triton compiles the cast
        cast = torch.from_numpy(values.astype(np.float32)).clamp(-most, most).to(small)
        return interpreter.TensorHandle(cast.view(torch.uint8).numpy(), dtype)
    return interpreter.TensorHandle(values.astype(interpreter._get_np_dtype(dtype)), dtype)  # noqa: SLF001
