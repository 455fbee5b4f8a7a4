"""What a loop asks of its agent: the prompt with lessons, a worked example and what was tried; and what it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rooflift.analysis.selection import Selection, figures, of, select
from rooflift.api.first_look import FirstLook, first_look
from rooflift.optimize.attempt import read_text
from rooflift.optimize.bench import Bench
from rooflift.optimize.classes import class_of
from rooflift.optimize.example import example_text
from rooflift.optimize.journal import Iteration, Step, iterations_text
from rooflift.optimize.lessons import Lesson, add_lesson, changes, lessons_text, read_lessons
from rooflift.optimize.prompt import Prompt, first_prompt, prompt
from rooflift.optimize.question import Question, Tried, title_of
from rooflift.optimize.setting import Setting
from rooflift.optimize.written import markdown, within
from rooflift.project.settings import build_folder, reports_folder
from rooflift.runs import redact
from rooflift.runs.roofs import newest_roofs
from rooflift.runs.run import Run, read_run


@dataclass
class Questions:
    """The questions of a loop; `looks` are versions that nobody measured, as the compiler sees them."""

    setting: Setting
    hidden: dict[str, str]  # what is redacted
    looks: dict[str, FirstLook] = field(default_factory=dict)

    def question(self, bench: Bench, step: Step, accepts: Callable[[str], bool], beside: Sequence[Step]) -> Question:
        """Return what the agent is asked: the prompt of the version to start from, its code, the iterations before.

        `beside` are the steps of the same iteration that were asked for before.
        """
        measured = bench.measured(step.base)
        _, version = bench.version(step.base)
        parts = {
            "earlier iterations": iterations_text(bench.state),
            "lessons": lessons_text(
                read_lessons(self._lessons), class_of(self.setting.operator.reference), self.setting.spec.name
            ),
            "the worked example": self._example,
        }
        text = within(markdown(self._told(bench, step, measured)), parts)
        tried = [
            Tried(one.base, self._title(one), bool(one.version), one.time_x is not None)
            for one in bench.state.iterations
        ]
        return Question(
            prompt=redact.redact_text(text, self.hidden),
            number=step.number,
            stage=step.stage,
            base=step.base,
            code=version.path.read_text(encoding="utf-8") if version else "",
            figures=of(figures(measured[0]), measured[1]) if measured else {},
            sm_count=self.setting.spec.sm_count,
            seed=f"{bench.state.started.seed} {step.number}",
            tried=[*tried, *(Tried(step.base, self._title(one), kept=False, ran=True) for one in beside)],
            accepts=accepts,
        )

    def _told(self, bench: Bench, step: Step, measured: tuple[Run, Selection] | None) -> Prompt:
        """Return the prompt's data: by a run where there is one, else by what the compiler makes of the version."""
        operator, version = bench.version(step.base)
        root, spec = self.setting.root, self.setting.spec
        if measured is not None and version is not None:
            there = newest_roofs(reports_folder(root), spec.matches[0])
            return prompt(operator, version, step.stage, spec, *measured, there)
        if version is None:
            (case,) = operator.select_cases([operator.main], "bench")
            return first_prompt(operator, None, step.stage, spec, case.with_dtype((case.metrics or case.dtypes)[0]))
        if version.name not in self.looks:
            place = root if self.setting.base is not None else self.setting.folder
            name = self.setting.base.name if self.setting.base is not None else version.name
            self.looks[version.name] = first_look(operator.label, name, spec=spec, root=place)
        seen = self.looks[version.name]
        return first_prompt(operator, version, step.stage, spec, seen.case, seen.kernels)

    @cached_property
    def _example(self) -> str:
        return example_text(self.setting.home, self.setting.operator, self.setting.spec)

    @property
    def _lessons(self) -> Path:
        return build_folder(self.setting.home) / "optimize" / "lessons.jsonl"

    def learn(self, done: Iteration) -> None:
        """Keep what a timed candidate changed, for prompts of this and other loops."""
        place = self.setting.folder / "iterations" / f"{done.number:03}" / "run"
        if done.time_x is None or not done.base or not place.exists():
            return
        run = read_run(place, self.setting.root)
        rows = [of(figures(run), select(run, version)) for version in (done.base, run.manifest.versions[-1].version)]
        lesson = Lesson(
            operator_class=class_of(self.setting.operator.reference),
            gpu=self.setting.spec.name,
            operator=self.setting.operator.label,
            stage=done.stage,
            title=done.title,
            kept=bool(done.version),
            time_x=done.time_x,
            metrics=changes(*rows),
        )
        add_lesson(self._lessons, lesson)

    def _title(self, one: Iteration | Step) -> str:
        candidate = self.setting.folder / "iterations" / f"{one.number:03}" / "candidate.txt"
        return title_of(read_text(candidate)) if candidate.exists() else ""
