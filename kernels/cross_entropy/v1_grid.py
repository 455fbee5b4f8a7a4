"""Grid: one kernel a row sums and writes, by few large programs, so that the second read may come from L2.

Stage:   grid
Change:  v0's two large kernels are one: a program of 32 warps walks its row in blocks of 16384 columns for maximum and
         sum, and once more for the gradient, last block first.
Why:     v0 has 2.1 GB of other rows between the two reads of an element. Programs of 1024 threads keep 132 to 264 rows
         of 256 KB on their way, 35 to 69 MB; an H100's L2 has 50 MB: a part of the second read may hit. What it costs:
         barriers of 32 warps at every block, and few others to issue meanwhile.
Expect:  time_x 0.70..1.05, excess_traffic 1.05..1.45, l2_hit_pct > 20, sol_pct 48..75
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_COLUMNS = 16384  # of a block: 16 elements a thread


@triton.jit
def count_kernel(target_ptr, valid_ptr, rows, ignore_index, BLOCK_SIZE: tl.constexpr):
    valid = tl.zeros([BLOCK_SIZE], tl.int32)
    for first in range(0, rows, BLOCK_SIZE):
        row = first + tl.arange(0, BLOCK_SIZE)
        target = tl.load(target_ptr + row, mask=row < rows, other=0)
        valid += ((row < rows) & (target != ignore_index)).to(tl.int32)
    tl.store(valid_ptr, tl.sum(valid, 0).to(tl.float32))


@triton.jit
def row_kernel(
    x_ptr,
    target_ptr,
    valid_ptr,
    gradient_ptr,
    row_loss_ptr,
    columns,
    blocks,  # of a row
    ignore_index,
    BLOCK_SIZE: tl.constexpr,
):
    row = tl.program_id(0)
    start = row.to(tl.int64) * columns
    peak = float("-inf")
    total = 0.0
    for block in range(blocks):
        column = block * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        x = tl.load(x_ptr + start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(peak, tl.max(x, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # -inf - -inf is no number
        total = total * tl.exp(peak - base) + tl.sum(tl.exp(x - base), 0)
        peak = higher

    target = tl.load(target_ptr + row)
    counts = target != ignore_index
    known = (target >= 0) & (target < columns)
    own = tl.load(x_ptr + start + target, mask=known, other=float("nan")).to(tl.float32)
    tl.store(row_loss_ptr + row, tl.where(counts, peak - own + tl.log(total), 0.0))
    weight = tl.where(counts, 1.0 / tl.load(valid_ptr), 0.0)
    for turned in range(blocks):  # reads each element a second time
        column = (blocks - 1 - turned) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
        inside = column < columns
        x = tl.load(x_ptr + start + column, mask=inside, other=float("-inf")).to(tl.float32)
        gradient = tl.exp(x - peak) * (weight / total)
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
    valid = torch.empty(1, device=logits.device, dtype=torch.float32)
    count_kernel[(1,)](targets, valid, rows, ignore_index, BLOCK_SIZE=1024)
    if logits.numel() > 0:
        BLOCK_SIZE = min(triton.next_power_of_2(columns), MOST_COLUMNS)
        row_kernel[(rows,)](
            logits,
            targets,
            valid,
            gradient,
            row_loss,
            columns,
            triton.cdiv(columns, BLOCK_SIZE),
            ignore_index,
            BLOCK_SIZE=BLOCK_SIZE,
            num_warps=min(max(BLOCK_SIZE // 512, 1), 32),
        )
    mean_kernel[(1,)](row_loss, valid, loss, rows, BLOCK_SIZE=1024)
    return loss, gradient


class ModelNew(nn.Module):
    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cross_entropy(logits, targets, self.ignore_index)
