"""One candidate: asked for, linted, evaluated, and repaired where it fails; several may be at work side by side.

What a GPU does is done in turn: evaluations hold a lock, and timing is left to the loop.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.errors import CatalogError
from rooflift.lint.candidate import CandidateFault, read_candidate
from rooflift.lint.lint import errors, lint_file
from rooflift.measure import evaluate
from rooflift.optimize.agent import SEARCH, ask_agent
from rooflift.optimize.answer import Answer, NoCandidate
from rooflift.optimize.header import body_of, with_header
from rooflift.optimize.journal import Step
from rooflift.optimize.question import Question
from rooflift.optimize.repair import repair_text
from rooflift.optimize.trusted import UNTRUSTED, builds_extension, check_trusted
from rooflift.optimize.verdict import NotKept
from rooflift.runs import atomic, redact
from rooflift.runs.verify import sha256

if TYPE_CHECKING:
    from rooflift.optimize.setting import Setting
    from rooflift.project.operator import Version

SEEDS = 2  # of an evaluation
REPAIRABLE = ("candidate", "lint", "evaluation")
# A fault of rooflift that a candidate brings about ends its iteration: the stored candidate would bring it about again
# whenever the loop is resumed.
UNFORESEEN = (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A candidate that is right, as far as it was evaluated; `found` is what the journal says of it."""

    code: str
    title: str
    found: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A candidate of one step."""

    setting: Setting
    step: Step
    base: Version | None  # None: the reference alone
    place: Path  # the iteration's folder
    interpret: bool
    seed: int  # of the loop
    hidden: dict[str, str]
    gpu: threading.Lock
    known: Mapping[str, str]  # the texts of the versions that there are

    def made(self, question: Question) -> Accepted | NotKept:
        """Ask for a candidate and check it; one that fails is given back with the evidence, as often as is allowed."""
        spent: dict[str, object] = {}
        failed: list[NotKept] = []
        name = "candidate.txt"
        while True:
            try:
                file = self.asked(question, name, failed, spent)
                code, title, untried = self._checked(file)
            except (NotKept, *UNFORESEEN) as error:
                fault = (
                    error if isinstance(error, NotKept) else NotKept("candidate", [f"{type(error).__name__}: {error}"])
                )
                fault.found = {**spent, **fault.found, **self._written(name)}
                failed.append(fault)
                again = len(failed) <= self.setting.repairs and fault.at in REPAIRABLE and not self._searches
                if not again:
                    return fault if fault.at != "agent" or len(failed) == 1 else failed[-2]
                name = f"repair_{len(failed)}.txt"
            else:
                told = {"repairs": len(failed), "untried": untried, "trusted": _builds(code)}
                return Accepted(code, title, {**spent, **self._written(name), **told})

    @property
    def _base_file(self) -> Path | None:
        return self.base.path if self.base is not None else None

    @property
    def _searches(self) -> bool:
        return list(self.setting.agent) == [SEARCH]

    def _written(self, name: str) -> dict[str, object]:
        file = self.place / name
        return {"candidate_sha256": sha256(file)} if file.exists() else {}

    def asked(self, question: Question, name: str, failed: Sequence[NotKept], spent: dict[str, object]) -> Path:
        """Return the file with a candidate; the agent is asked unless it has answered already."""
        file = self.place / name
        if file.exists():
            return file
        setting, number = self.setting, self.step.number
        prompt, why = question.prompt, "asking the agent"
        if failed:
            last = read_text(self.place / ("candidate.txt" if len(failed) == 1 else f"repair_{len(failed) - 1}.txt"))
            prompt = redact.redact_text(question.prompt + repair_text(failed, last), self.hidden)
            why = f"failed at {failed[-1].at}, asking for a repair"
        prompt_name = "prompt.md" if not failed else f"repair_{len(failed)}.md"
        (self.place / prompt_name).write_text(prompt, encoding="utf-8")
        # no spinner beside an editor
        setting.note(f"Iteration {number} ({self.step.stage}, from {self.step.base or 'the reference'}): {why}")
        begun = time.monotonic()
        try:
            answer = ask_agent(setting.agent, question.with_prompt(prompt), setting.agent_timeout_s, setting.base_url)
        except NoCandidate as failure:
            _add(spent, failure.spent, time.monotonic() - begun)
            raise NotKept("agent", [str(failure)]) from None
        _add(spent, answer, time.monotonic() - begun)
        atomic.write_file(file, redact.redact_text(answer.text, self.hidden))
        return file

    def _checked(self, file: Path) -> tuple[str, str, list[str]]:
        """Return code, title, and the sizes that were not varied, of a candidate without fault.

        Raises:
            NotKept: at the step that it failed at.
        """
        setting, stage = self.setting, self.step.stage
        try:
            code = read_candidate(file).code
            if _builds(code):
                return self._checked_with_trust(code)
            findings = errors(lint_file(file, setting.operator.reference, stage, self._base_file))
            cases = setting.operator.cases
            text, title = with_header(code, stage, self.step.number, cases) if not findings else ("", "")
        except CandidateFault as fault:
            raise NotKept("candidate", [str(fault).replace(str(file), "candidate")]) from None
        if findings:
            raise NotKept("lint", [f"line {f.line}: {f.rule}: {f.what}. {f.remedy}" for f in findings])
        same = next((name for name, other in self.known.items() if body_of(other) == body_of(text)), None)
        if same is not None:
            raise NotKept("candidate", [f"it is {same} without a change"])
        candidate = self.place / "evaluated.py"
        candidate.write_text(text, encoding="utf-8")
        drawn = random.Random(f"{self.seed} {self.step.number}").sample(range(2**31), SEEDS)  # noqa: S311
        if self.interpret:
            found = self._evaluated(candidate, drawn)
        else:
            with self.gpu:
                found = self._evaluated(candidate, drawn)
        if found.faults:
            raise NotKept("interpreter" if found.undecided else "evaluation", found.reasons(), untried=found.untried)
        return text, title, found.untried

    def _checked_with_trust(self, code: str) -> tuple[str, str, list[str]]:
        """Return what `_checked` does, of a candidate in C++ or CUDA: it is run as it stands, where that is trusted."""
        setting = self.setting
        if not setting.trust:
            raise NotKept("candidate", [UNTRUSTED])
        text, title = with_header(code, self.step.stage, self.step.number, setting.operator.cases)
        candidate = self.place / "evaluated.py"
        candidate.write_text(text, encoding="utf-8")
        try:
            with self.gpu, setting.progress() as progress:
                time_s = setting.sandbox.limits.time_s
                check_trusted(setting.root, setting.operator, candidate, time_s, progress, interpret=self.interpret)
        except CatalogError as fault:
            raise NotKept("candidate", [str(fault).replace(str(candidate), "candidate")], trusted=True) from None
        except NotKept as end:
            end.found["trusted"] = True
            raise
        return text, title, []

    def _evaluated(self, candidate: Path, drawn: list[int]) -> evaluate.Evaluation:
        setting = self.setting
        with setting.progress() as progress:
            return evaluate.evaluate(
                setting.operator,
                candidate,
                setting.sandbox,
                drawn,
                progress,
                interpret=self.interpret,
                target=setting.spec.target,
            )

    def accepts(self, code: str) -> bool:
        """Whether lint lets a file pass."""
        with tempfile.TemporaryDirectory() as folder:
            candidate = Path(folder, "candidate.py")
            candidate.write_text(code, encoding="utf-8")
            reference = self.setting.operator.reference
            return not errors(lint_file(candidate, reference, self.step.stage, self._base_file))


def _builds(code: str) -> bool:
    try:
        return builds_extension(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # lint says it
        return False


def read_text(file: Path) -> str:
    """Return a stored candidate."""
    return file.read_text(encoding="utf-8", errors="replace")


def _add(spent: dict[str, object], answer: Answer, seconds: float) -> None:
    """Add what an answer took to what the iteration has spent; what the agent does not tell stays unknown."""
    own = {
        "agent_s": seconds,
        "tokens_in": answer.tokens_in,
        "tokens_out": answer.tokens_out,
        "cost_usd": answer.cost_usd,
    }
    for name, value in own.items():
        if value is not None:
            spent[name] = spent.get(name, 0) + value  # type: ignore[operator]
