"""The faults that a child reports, in words with a remedy."""

from __future__ import annotations

from rooflift.errors import KernelFault
from rooflift.process import Ended
from rooflift.worker.protocol import EVENT_PREFIX, FAR, Broken, Mismatch

LAST_LINES = 15  # of what the child printed


def kernel_fault(broken: Broken) -> KernelFault:
    """Return the fault of a version that does not compile or run."""
    where = f" on {broken.case} {broken.dtype}" if broken.case else ""
    did = "does not compile" if broken.compiling else "does not run"
    remedy = "Fix the file; `rooflift compile` compiles it without a GPU and `rooflift verify` runs it there."
    return KernelFault(f"{broken.version} {did}{where}:\n{broken.message}", remedy)


def wrong_result(wrong: Mismatch) -> tuple[str, str]:
    """Return what is wrong with a result, and the remedy."""
    where = f"{wrong.version} on {wrong.case} {wrong.dtype} (seed {wrong.seed})"
    if not wrong.elements:
        said = f"{where}: the result is {wrong.got}, the reference gives {wrong.expected}"
        return said, "Return the reference's shape and the input's dtype."
    off = "" if wrong.error_over_tolerance >= FAR else f": off by {wrong.error_over_tolerance:.3g} times the tolerance"
    said = (
        f"{where}: element {tuple(wrong.index)} is {wrong.got}, the reference gives {wrong.expected}"
        f"{off}; {wrong.wrong_elements} of {wrong.elements} are wrong"
    )
    if wrong.got == "nan":
        return said, "nan: the element was never written, or the arithmetic gave it."
    return said, "Compare the indexing and masks there."


def unfinished(ended: Ended) -> KernelFault:
    """Return the fault of a child that ended with a fault of its own, or with code 0 before its work was done."""
    early = "" if ended.returncode else " before it was done"
    lines = [line for line in ended.output.splitlines()[-LAST_LINES:] if not line.startswith(EVENT_PREFIX)]
    return KernelFault(
        f"the program that runs the kernels ended with code {ended.returncode}{early}:\n" + "\n".join(lines),
        "`rooflift doctor` checks torch, triton and the GPU; a negative code is a signal.",
    )
