"""A program with three kernels that take time: one of Triton, two of torch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

SIZE = 4096
STEPS = 6


@triton.jit
def scale_rows(x_ptr, y_ptr, factor, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + at, factor * tl.load(x_ptr + at))


def step(x: torch.Tensor) -> torch.Tensor:
    """Run the three once."""
    y = torch.empty_like(x)
    scale_rows[(SIZE * SIZE // 1024,)](x, y, 0.5, BLOCK=1024)
    return torch.softmax(y @ x, dim=1)


def main() -> None:
    """Run some steps."""
    x = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.float16)
    for _ in range(STEPS):
        step(x)
    torch.cuda.synchronize()


if __name__ == "__main__":
    main()
