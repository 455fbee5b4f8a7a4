"""The faults that a child reports, in words with a remedy."""

from __future__ import annotations

from collections.abc import Sequence

from rooflift.errors import InterpreterGap, KernelFault
from rooflift.process import Ended
from rooflift.worker.protocol import EVENT_PREFIX, FAR, Broken, Gap, Mismatch

LAST_LINES = 15  # of what the child printed
OF_TF32 = 2048  # times the tolerance of short float32 sums, 2^-19: 2^-8 of the terms, more than TF32 is off by
GAP_REMEDY = "It may be right: `rooflift compile` compiles it here, and `rooflift verify` on a GPU compares it."


def kernel_fault(broken: Broken) -> KernelFault:
    """Return the fault of a version that does not compile or run."""
    where = f" on {broken.case} {broken.dtype}" if broken.case else ""
    did = "does not compile" if broken.compiling else "does not run"
    if any(tool in broken.message for tool in ("CUDA_HOME", "nvcc", "Ninja is required")):
        return KernelFault(
            f"{broken.version} {did}{where}:\n{broken.message}",
            "CUDA C++ of load_inline is built by nvcc and ninja, and runs on a GPU: verify it where all are.",
        )
    remedy = "Fix the file; `rooflift compile` compiles it without a GPU and `rooflift verify` runs it there."
    if "ModuleNotFoundError" in broken.message:
        remedy = "Install the package, or write the file without it."
    return KernelFault(f"{broken.version} {did}{where}:\n{broken.message}", remedy)


def gap_lines(gaps: Sequence[Gap]) -> list[str]:
    """Return a line for each version that could not be compared: on how many cases, and what is lacking."""
    lines = []
    for version in dict.fromkeys(gap.version for gap in gaps):
        own = [gap for gap in gaps if gap.version == version]
        cases = len({(gap.case, gap.dtype) for gap in own})
        on = f" on {own[0].case} {own[0].dtype}" if own[0].case else ""
        on += f" and {cases - 1} more" if cases > 1 else ""
        lines.append(f"{version} was not compared{on}: Triton's interpreter lacks {own[0].lacks}")
    return lines


def interpreter_gap(gaps: Sequence[Gap], agreed: int) -> InterpreterGap:
    """Return the fault of versions that could not be compared in the interpreter."""
    others = f"\nThe other {agreed} comparisons agree." if agreed else ""
    return InterpreterGap("\n".join(gap_lines(gaps)) + others, GAP_REMEDY)


def wrong_result(wrong: Mismatch) -> tuple[str, str]:
    """Return what is wrong with a result, and the remedy."""
    where = f"{wrong.version} on {wrong.case} {wrong.dtype} (seed {wrong.seed})"
    if not wrong.elements:
        if wrong.expected.startswith("input "):
            return f"{where}: {wrong.got}", "Leave the inputs as they are: the reference does."
        said = f"{where}: the result is {wrong.got}, the reference gives {wrong.expected}"
        return said, "Return the reference's shapes and dtypes."
    off = "" if wrong.error_over_tolerance >= FAR else f": off by {wrong.error_over_tolerance:.3g} times the tolerance"
    of = f"{wrong.place} element" if wrong.place else "element"
    said = (
        f"{where}: {of} {tuple(wrong.index)} is {wrong.got}, the reference gives {wrong.expected}"
        f"{off}; {wrong.wrong_elements} of {wrong.elements} are wrong"
    )
    if wrong.missing:
        names = ", ".join(wrong.missing[:4])
        return said, f"No parameter or buffer of its shape takes the reference's {names}: give it the same name."
    if wrong.got == "nan":
        return said, "nan: the element was never written, or the arithmetic gave it."
    if (
        wrong.dtype == "float32"
        and wrong.wrong_elements > wrong.elements / 2
        and 1 < wrong.error_over_tolerance < OF_TF32
    ):
        return said, (
            'Most are off by a little: tl.dot rounds float32 to TF32 unless it has input_precision="ieee"; '
            "allow_tf32 = true in the case permits it."
        )
    return said, "Compare the indexing and masks there."


def unfinished(ended: Ended) -> KernelFault:
    """Return the fault of a child that ended with a fault of its own, or with code 0 before its work was done."""
    early = "" if ended.returncode else " before it was done"
    lines = [line for line in ended.output.splitlines()[-LAST_LINES:] if not line.startswith(EVENT_PREFIX)]
    return KernelFault(
        f"the program that runs the kernels ended with code {ended.returncode}{early}:\n" + "\n".join(lines),
        "`rooflift doctor` checks torch, triton and the GPU; a negative code is a signal.",
    )
