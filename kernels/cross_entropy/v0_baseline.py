"""Baseline: one kernel leaves each row's maximum and sum of exponentials, another reads again and writes.

Stage:   baseline
Change:  the algorithm that the ladder starts from: a program walks a row in blocks of 1024 columns with a running
         maximum and sum; then a program a block writes the gradient. Two kernels of one program count the targets and
         add the losses.
Why:     the shortest correct kernels. The main case's 2.1 GB of logits are far more than L2 holds, so the second kernel
         asks DRAM again: two reads and a write where one and one are compulsory. What torch.compile makes of the
         operator took 2982 us on an H100, 48 % of a copy's rate for the compulsory bytes.
Expect:  excess_traffic 1.45..1.55, sol_pct 45..62, l2_hit_pct < 40, dram_pct > 60
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def count_kernel(target_ptr, valid_ptr, rows, ignore_index, BLOCK_SIZE: tl.constexpr):
    valid = tl.zeros([BLOCK_SIZE], tl.int32)
    for first in range(0, rows, BLOCK_SIZE):
        row = first + tl.arange(0, BLOCK_SIZE)
        target = tl.load(target_ptr + row, mask=row < rows, other=0)
        valid += ((row < rows) & (target != ignore_index)).to(tl.int32)
    tl.store(valid_ptr, tl.sum(valid, 0).to(tl.float32))


@triton.jit
def sums_kernel(
    x_ptr,
    target_ptr,
    peak_ptr,
    total_ptr,
    row_loss_ptr,
    columns,
    ignore_index,
    BLOCK_SIZE: tl.constexpr,
):
    row = tl.program_id(0)
    start = row.to(tl.int64) * columns
    peak = float("-inf")
    total = 0.0
    for first in range(0, columns, BLOCK_SIZE):
        column = first + tl.arange(0, BLOCK_SIZE)
        x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(peak, tl.max(x, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
        total = total * tl.exp(peak - base) + tl.sum(tl.exp(x - base), 0)
        peak = higher
    target = tl.load(target_ptr + row)
    counts = target != ignore_index
    known = (target >= 0) & (target < columns)
    own = tl.load(x_ptr + start + target, mask=known, other=float("nan")).to(tl.float32)
    tl.store(peak_ptr + row, peak)
    tl.store(total_ptr + row, total)
    tl.store(row_loss_ptr + row, tl.where(counts, peak - own + tl.log(total), 0.0))


@triton.jit
def gradient_kernel(
    x_ptr,
    target_ptr,
    peak_ptr,
    total_ptr,
    valid_ptr,
    gradient_ptr,
    columns,
    blocks,  # of a row
    ignore_index,
    BLOCK_SIZE: tl.constexpr,
):
    program = tl.program_id(0)
    row = program // blocks
    start = row.to(tl.int64) * columns
    column = program % blocks * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = column < columns
    target = tl.load(target_ptr + row)
    weight = tl.where(target == ignore_index, 0.0, 1.0 / tl.load(valid_ptr))
    x = tl.load(x_ptr + start + column, mask=inside, other=float("-inf")).to(tl.float32)
    gradient = tl.exp(x - tl.load(peak_ptr + row)) * (weight / tl.load(total_ptr + row))
    gradient = tl.where(column == target.to(tl.int32), gradient - weight, gradient)
    tl.store(gradient_ptr + start + column, gradient.to(gradient_ptr.dtype.element_ty), mask=inside)


@triton.jit
def mean_kernel(row_loss_ptr, valid_ptr, loss_ptr, rows, BLOCK_SIZE: tl.constexpr):
    total = tl.zeros([BLOCK_SIZE], tl.float32)
    for first in range(0, rows, BLOCK_SIZE):
        row = first + tl.arange(0, BLOCK_SIZE)
        total += tl.load(row_loss_ptr + row, mask=row < rows, other=0.0)
    loss = tl.sum(total, 0) / tl.load(valid_ptr)
    tl.store(loss_ptr, loss.to(loss_ptr.dtype.element_ty))


def cross_entropy(logits, targets, ignore_index):
    """logits (N, C), targets (N) of int64 -> mean loss and its gradient (N, C), in the dtype of the logits."""
    if logits.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"cross_entropy: wants float32, float16 or bfloat16, got {logits.dtype}")
    if targets.dtype != torch.int64:
        raise TypeError(f"cross_entropy: wants targets of int64, got {targets.dtype}")
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy: wants logits (N, C) and targets (N), got {tuple(logits.shape)} and {tuple(targets.shape)}"
        )
    logits, targets = logits.contiguous(), targets.contiguous()
    rows, columns = logits.shape
    gradient = torch.empty_like(logits)
    loss = torch.empty((), device=logits.device, dtype=logits.dtype)
    row_loss = torch.empty(rows, device=logits.device, dtype=torch.float32)
    peaks, totals = torch.empty_like(row_loss), torch.empty_like(row_loss)
    valid = torch.empty(1, device=logits.device, dtype=torch.float32)
    BLOCK_SIZE = 1024
    count_kernel[(1,)](targets, valid, rows, ignore_index, BLOCK_SIZE=BLOCK_SIZE)
    if logits.numel() > 0:
        blocks = triton.cdiv(columns, BLOCK_SIZE)
        sums_kernel[(rows,)](logits, targets, peaks, totals, row_loss, columns, ignore_index, BLOCK_SIZE=BLOCK_SIZE)
        gradient_kernel[(rows * blocks,)](
            logits, targets, peaks, totals, valid, gradient, columns, blocks, ignore_index, BLOCK_SIZE=BLOCK_SIZE
        )
    mean_kernel[(1,)](row_loss, valid, loss, rows, BLOCK_SIZE=BLOCK_SIZE)
    return loss, gradient


class ModelNew(nn.Module):
    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cross_entropy(logits, targets, self.ignore_index)
