"""Edges: a ragged row is shared out in whole vectors, and the elements around them are the first program's.

Stage:   memory
Change:  where rows begin at any address, the parts of a row begin at a multiple of 16 bytes; the fewer than V elements
         before and behind the whole vectors are one small tile of the row's first program. 16-bit logits stay packed
         there, too.
Why:     rows of 50257 have 68 % of SOL in bfloat16 and 71 in float32, rows of 128256 and 131072 have 96: as a row may
         begin at any element, each is loaded and stored by itself, 2 or 4 bytes a lane, with an address and a mask of
         its own. softmax v7 and layer_norm v4 took ragged rows in the same way. Compiled for sm_90 in bfloat16: 8 loads
         of 16 bytes in place of 64 of 2, 1360 instructions in place of 1672, 64 registers in place of 168 (two are
         spilled), so that eight programs fit an SM in place of three. Where rows are aligned the code is v8's.
Expect:  time_x 0.99..1.01, ragged_50257/bfloat16: time_x 0.68..0.90, ragged_50257/bfloat16: sol_pct 76..97,
         ragged_50257/float32: time_x 0.72..0.92
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl

MOST_PARTS = 32  # of a row: their words fit a warp; far more programs are resident
MOST_PART = 32768
LONG = 40960  # columns from which on larger parts are faster; measured at 32000 and 131072
FEW = 2**20  # logits that leave SMs without work
BLOCK_SIZE = 2048  # of targets, losses and words
LOG2_E = tl.constexpr(1.4426950408889634)
INTERPRET = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def prepare_kernel(
    target_ptr,
    valid_ptr,
    loss_ptr,
    word_ptr,
    rows,
    words,
    ignore_index,
    BLOCK_SIZE: tl.constexpr,
):
    program = tl.program_id(0)
    word = program.to(tl.int64) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    tl.store(word_ptr + word, tl.zeros([BLOCK_SIZE], tl.int64), mask=word < words)
    if program == 0:
        counts = tl.zeros([BLOCK_SIZE], tl.int32)
        for first in range(0, rows, BLOCK_SIZE):
            row = first + tl.arange(0, BLOCK_SIZE)
            target = tl.load(target_ptr + row, mask=row < rows, other=0)
            counts += ((row < rows) & (target != ignore_index)).to(tl.int32)
        valid = tl.sum(counts, 0).to(tl.float32)
        tl.store(valid_ptr, valid)
        tl.store(loss_ptr, (0.0 / valid).to(loss_ptr.dtype.element_ty))  # of no rows: nan


@triton.jit
def pack(low, high):
    """Two float32 as one int64, which is written and read in one piece."""
    low_bits = low.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
    return (high.to(tl.int32, bitcast=True).to(tl.int64) << 32) | low_bits


@triton.jit
def unpack(word):
    """The two float32 of a word."""
    return word.to(tl.int32).to(tl.float32, bitcast=True), (word >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def anew(x):
    """x of 16 bits as it is, though the compiler does not know: what it made of x before it makes again."""
    if INTERPRET:
        return x
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], x.dtype, is_pure=False, pack=2)


@triton.jit
def shared_rows_kernel(
    x_ptr,
    target_ptr,
    valid_ptr,
    gradient_ptr,
    row_loss_ptr,
    loss_ptr,
    word_ptr,  # of each part: maximum and sum; 0 until they are there
    ticket_ptr,
    done_ptr,  # rows whose loss is there
    rows,
    columns,
    ignore_index,
    PARTS: tl.constexpr,  # programs that share a row
    PART: tl.constexpr,  # columns of each
    V: tl.constexpr,  # elements of 16 bytes
    EDGES: tl.constexpr,  # rows may begin between two vectors
    AGAIN: tl.constexpr,  # logits are kept in 16 bits, and their exponentials computed twice
    BLOCK_SIZE: tl.constexpr,  # rows whose losses are added at once
):
    # tickets are given out in order: the programs of a row run at the same time, or those before them end first
    number = tl.program_id(0)
    if PARTS > 1:
        number = tl.atomic_add(ticket_ptr, 1, sem="relaxed").to(tl.int32)
    row = number // PARTS
    first = number % PARTS * PART
    column = first + tl.arange(0, PART)
    start = row.to(tl.int64) * columns
    begin, head, whole = start, 0, columns
    if EDGES:  # parts are made of the row's whole vectors; what lies before and behind them is the first part's
        begin = (start + V - 1) // V * V
        head = tl.minimum((begin - start).to(tl.int32), columns)
        whole = (columns - head) // V * V
        lane = tl.arange(0, 2 * V)
        edge = tl.where(lane < V, lane, whole + head + lane - V)
        edge_inside = (first == 0) & (edge < tl.where(lane < V, head, columns))
        edges = tl.load(x_ptr + start + edge, mask=edge_inside, other=float("-inf")).to(tl.float32)
    inside = column < whole
    x = tl.load(x_ptr + begin + column, mask=inside, other=float("-inf"), eviction_policy="evict_first")
    target = tl.load(target_ptr + row)
    counts = target != ignore_index
    weight = tl.where(counts, 1.0 / tl.load(valid_ptr), 0.0)
    nobodys = (target < 0) | (target >= columns)
    place = target - head  # among the whole vectors
    mine = (place >= first) & (place < tl.minimum(first + PART, whole))
    if EDGES:
        mine |= (first == 0) & ((place < 0) | (place >= whole)) & (nobodys == 0)
    own = tl.load(x_ptr + start + target, mask=mine, other=float("nan")).to(tl.float32)

    peak = tl.max(x.to(tl.float32), 0)
    if EDGES:
        peak = tl.maximum(peak, tl.max(edges, 0))
    base = tl.where(peak == float("-inf"), 0.0, peak)  # -inf - -inf is no number
    if AGAIN:
        x = anew(x)
    exponential = tl.exp2(x.to(tl.float32) * LOG2_E - base * LOG2_E)
    total = tl.sum(exponential, 0)
    if EDGES:
        edges = tl.exp2(edges * LOG2_E - base * LOG2_E)
        total += tl.sum(edges, 0)
    highest = peak
    if PARTS > 1:
        tl.atomic_xchg(word_ptr + number, pack(peak, total), sem="relaxed")
        words = tl.load(word_ptr + row * PARTS + tl.arange(0, PARTS), volatile=True)
        while tl.min(tl.where(words == 0, 0, 1), 0) == 0:
            words = tl.load(word_ptr + row * PARTS + tl.arange(0, PARTS), volatile=True)
        peaks, totals = unpack(words)
        highest = tl.max(peaks, 0)
        total = tl.sum(totals * tl.exp2((peaks - highest) * LOG2_E), 0)

    has_loss = mine | (nobodys & (first == 0))
    if has_loss:
        tl.store(row_loss_ptr + row, tl.where(counts, highest - own + tl.log(total), 0.0))
    factor = tl.exp2((base - highest) * LOG2_E) * weight / total
    if AGAIN:
        shift = highest * LOG2_E + tl.log2(total) - tl.log2(weight)  # inf for a row of weight 0
        gradient = tl.exp2(anew(x).to(tl.float32) * LOG2_E - shift)
    else:
        gradient = exponential * factor
    gradient = gradient.to(gradient_ptr.dtype.element_ty)
    tl.store(gradient_ptr + begin + column, gradient, mask=inside, eviction_policy="evict_first")
    if EDGES:
        gradient = (edges * factor).to(gradient_ptr.dtype.element_ty)
        tl.store(gradient_ptr + start + edge, gradient, mask=edge_inside)
    if mine:
        probability = tl.exp2((own - highest) * LOG2_E) / total
        tl.debug_barrier()  # the store above comes first
        tl.store(gradient_ptr + start + target, ((probability - 1) * weight).to(gradient_ptr.dtype.element_ty))
    if has_loss:
        tl.debug_barrier()
        if tl.atomic_add(done_ptr, 1, sem="acq_rel") == rows - 1:  # the last one, in whatever order they came
            total_loss = tl.zeros([BLOCK_SIZE], tl.float32)
            for first_row in range(0, rows, BLOCK_SIZE):
                some = first_row + tl.arange(0, BLOCK_SIZE)
                total_loss += tl.load(row_loss_ptr + some, mask=some < rows, other=0.0, volatile=True)
            loss = tl.sum(total_loss, 0) / tl.load(valid_ptr)
            tl.store(loss_ptr, loss.to(loss_ptr.dtype.element_ty))


def partition(rows, columns, itemsize):
    """Return the programs that share a row, a power of 2; the columns of each; and num_warps."""
    row = triton.next_power_of_2(columns)
    if INTERPRET:  # one program after another: to wait for the next one would never end
        return 1, row, 4
    part, elements = 4096, 32
    if itemsize == 2 and columns > LONG:
        part, elements = 8192, 64
    if row <= 4096 and rows * row <= FEW:
        elements = 8
    part = min(max(part, row // MOST_PARTS), row)
    if part > MOST_PART:
        raise ValueError(f"cross_entropy: wants at most {MOST_PARTS * MOST_PART} classes, got {columns}")
    return triton.next_power_of_2(triton.cdiv(columns, part)), part, min(max(part // (32 * elements), 1), 32)


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
    parts, part, warps = partition(rows, columns, logits.element_size())
    again = logits.element_size() == 2 and part >= 8192
    V = 16 // logits.element_size()
    words = torch.empty(rows * parts + 2, device=logits.device, dtype=torch.int64)  # the last two are the counters
    prepare_kernel[(triton.cdiv(words.numel(), BLOCK_SIZE),)](
        targets, valid, loss, words, rows, words.numel(), ignore_index, BLOCK_SIZE=BLOCK_SIZE
    )
    if logits.numel() > 0:
        shared_rows_kernel[(rows * parts,)](
            logits,
            targets,
            valid,
            gradient,
            row_loss,
            loss,
            words,
            words[-2:],
            words[-1:],
            rows,
            columns,
            ignore_index,
            PARTS=parts,
            PART=part,
            V=V,
            EDGES=columns % V != 0,
            AGAIN=again,
            BLOCK_SIZE=BLOCK_SIZE,
            num_warps=warps,
            maxnreg=64 if again else None,
        )
    return loss, gradient


class ModelNew(nn.Module):
    def __init__(self, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return cross_entropy(logits, targets, self.ignore_index)
