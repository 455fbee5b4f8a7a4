"""Loops over several operators, one after another, and one summary of how they ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rooflift.analysis import selection
from rooflift.analysis.fast_p import fast_p
from rooflift.analysis.selection import Selection
from rooflift.analysis.summary import main_case
from rooflift.api.shown import short
from rooflift.errors import RoofliftError
from rooflift.escape import escaped
from rooflift.optimize.optimize import Finished
from rooflift.runs import atomic
from rooflift.runs.run import read_run

if TYPE_CHECKING:
    import pandas as pd


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the loop of one operator ended; None where nothing was timed, or a baseline was not."""

    operator: str
    candidates: int = 0
    correct: bool = False  # at least one candidate came through the evaluation
    kept: int = 0
    time_us: float | None = None  # of the fastest kept version
    over_eager: float | None = None  # torch_eager's time over that
    over_compile: float | None = None
    sol_pct: float | None = None
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcomes of several loops."""

    folder: Path
    outcomes: Sequence[Outcome]

    @property
    def fast_p(self) -> dict[float, float]:
        """The share of operators with a correct candidate that is more than p times as fast as torch_eager, by p.

        Where nothing was timed there is fast_0 alone, the share with a correct one.
        """
        if all(one.over_eager is None for one in self.outcomes):
            return {0.0: sum(one.correct for one in self.outcomes) / len(self.outcomes) if self.outcomes else 0.0}
        speedups = {one.operator: one.over_eager if one.correct else None for one in self.outcomes}
        return fast_p(speedups)

    @property
    def text(self) -> str:
        """How many operators have a correct candidate, one that is faster than torch in two ways, and their SOL."""
        every = self.outcomes
        right, count = sum(one.correct for one in every), f"{len(every)} operator{'s' * (len(every) != 1)}"
        correct = f"{count}: {right} with a correct candidate"
        if all(one.time_us is None for one in every):
            return f"{correct}; nothing was timed"
        faster = sum((one.over_eager or 0) > 1 for one in every)
        compiled = sum((one.over_compile or 0) > 1 for one in every)
        reached = sum((one.sol_pct or 0) >= 90 for one in every)
        faster_than = f"{faster} faster than torch_eager, {compiled} than torch_compile"
        return f"{correct}, {faster_than}, {reached} at 90 % of SOL or above"

    def table(self) -> pd.DataFrame:
        """Return one row an operator."""
        import pandas as pd

        return pd.DataFrame(msgspec.to_builtins(self.outcomes), columns=list(Outcome.__struct_fields__))

    def parts(self) -> list[Any]:
        """Return what a terminal shows."""
        shares = ", ".join(f"fast_{p:g} {share:.2f}" for p, share in self.fast_p.items())
        return [self.text, shares, *(_line(one) for one in self.outcomes), f"Wrote {short(self.folder / 'summary.md')}"]

    def record(self) -> dict[str, Any]:
        """Return the summary for a program."""
        shares = {f"{p:g}": share for p, share in self.fast_p.items()}
        return {"fast_p": shares, "operators": msgspec.to_builtins(self.outcomes)}

    def __repr__(self) -> str:
        return f"<Summary: {self.text}>"


def optimize_each(operators: Sequence[str], folder: Path, loop: Callable[[str], Finished]) -> Summary:
    """Run the loop of each operator, and write summary.json and summary.md after each.

    A loop that cannot begin is told in its row and the next one runs. Each loop resumes its own folder, so the same
    call resumes all.
    """
    outcomes: list[Outcome] = []
    summary = Summary(folder, outcomes)
    for operator in operators:
        try:
            outcomes.append(_outcome(operator, loop(operator)))
        except RoofliftError as error:
            outcomes.append(Outcome(operator=operator, ended=f"failed: {error.message}. {error.remedy}"))
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_file(folder / "summary.json", msgspec.json.format(msgspec.json.encode(summary.record())))
        atomic.write_file(folder / "summary.md", _markdown(summary))
    return summary


def _outcome(operator: str, finished: Finished) -> Outcome:
    state = finished.state
    told = {
        "operator": operator,
        "candidates": len(state.iterations),
        "correct": any(one.version or one.time_x is not None for one in state.iterations),
        "kept": len(state.kept),
        "ended": state.stopped,
    }
    if finished.run is None or not state.kept:
        return Outcome(**told)  # type: ignore[arg-type]
    run = read_run(finished.run)
    about = main_case(run.manifest)
    row = selection.of(selection.figures(run), Selection(state.base, about.case, about.dtype))
    of_case = run.timings[(run.timings["case"] == about.case) & (run.timings["dtype"] == about.dtype)]
    times = dict(zip(of_case["provider"], of_case["median_us"], strict=True))
    own = times.get(state.base)

    def over(name: str) -> float | None:
        return float(times[name] / own) if name in times and own else None

    speed = {"time_us": own, "over_eager": over("torch_eager"), "over_compile": over("torch_compile")}
    return Outcome(**told, **speed, sol_pct=row.get("sol_pct"))  # type: ignore[arg-type]


def _line(one: Outcome) -> str:
    speed = "" if one.over_eager is None else f", {one.over_eager:.2f}x over torch_eager"
    sol = "" if one.sol_pct is None else f", {one.sol_pct:.1f} % of SOL"
    return f"  {one.operator}: {one.kept} of {one.candidates} candidates kept{speed}{sol}; {one.ended}"


def _markdown(summary: Summary) -> str:
    names = Outcome.__struct_fields__
    lines = [summary.text, "", "| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    for one in summary.outcomes:
        cells = [getattr(one, name) for name in names]
        shown = ["" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append("| " + " | ".join(map(escaped, shown)) + " |")
    lines += ["", *(f"- fast_{p:g}: {share:.3f}" for p, share in summary.fast_p.items())]
    return "\n".join(lines) + "\n"
