"""The tools of the door: each method is one, its docstring what an agent reads. None takes a path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rooflift.agents.answers import PAGE, bounded, page
from rooflift.agents.candidates import keep_text, lint_text, verify_text
from rooflift.api import find, work
from rooflift.api import operators as listed
from rooflift.api.first_look import first_look
from rooflift.api.operators import Operator
from rooflift.api.project import defaults
from rooflift.api.run import Run
from rooflift.api.shown import records
from rooflift.api.tune import tune as tuned
from rooflift.api.unmeasured import report_unmeasured
from rooflift.errors import CatalogError, NoRun, RunFault, did_you_mean
from rooflift.optimize.ask import prompt as prompt_of
from rooflift.project.operator import Version, operator_names
from rooflift.project.settings import reports_folder
from rooflift.project.stages import stages
from rooflift.runs.find import names_of

Answer = dict[str, Any]
GPU = "h100"  # whose prompt it is where neither a run nor [tool.rooflift.defaults] says


@dataclass(frozen=True)
class Door:
    """A project as an agent sees it; what runs kernels does so one call at a time."""

    root: Path
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def list_(self, offset: int = 0, limit: int = PAGE) -> Answer:
        """List the operators: versions with stage and title, cases with their uses, names of runs. In pages."""
        return page([one.record() for one in listed.all_operators(root=self.root)], offset, limit)

    def show(self, name: str, version: str = "", part: str = "summary", offset: int = 0, limit: int = PAGE) -> Answer:
        """Show an operator or a run. With `version`, the kernel file of an operator's version; v1, 1 or v1_grid.

        Of a run: a page of one part, by default the summary: time, SOL %, bottleneck and metrics of each version and
        case. `parts` names the others, with their numbers of rows. `name` is as `list` gives it, or OPERATOR/RUN.
        """
        if self._is_operator(name):
            operator = self.operator(name)
            if version:
                (one,) = operator.select_versions([version])
                return {"version": one.name, "code": bounded(one.path.read_text(encoding="utf-8"))}
            reference = bounded(operator.reference.read_text(encoding="utf-8"))
            return {**bounded(operator.record()), "reference": reference}
        return _paged(self.run(name), part, offset, limit)

    def hotspots(self, name: str, version: str = "", top: int = 10) -> Answer:
        """Show the source lines that the time of a version goes to; of a run with the metric set source or full."""
        answer: Answer = bounded(
            {"hotspots": self.run(name).hotspots(version or None).record(min(max(top, 1), 50), "")}
        )
        return answer

    def advice(self, name: str, version: str = "") -> Answer:
        """Say what bounds a version, how far it is from its speed of light, and which stage addresses that, or stop.

        `name` is an operator, whose newest run counts, or a run; without a run the compiler's figures are all there is.
        """
        try:
            found: Answer = bounded(self.run(name).advice(version or None).record())
        except NoRun:
            found = bounded(first_look(name, version or None, root=self.root).record())
        return found

    def prompt(self, operator: str, stage: str = "", version: str = "", gpu: str = "") -> Answer:
        """Return all for the next version: code, metrics, rules. Default: newest version, advised stage."""
        of = self.operator(operator)
        start = of.select_versions([version])[0] if version else of.versions[-1]
        measured: Run | None = None
        with suppress(NoRun):
            measured = self.run(operator)
        if not stage and measured is not None and start.name in [v.version for v in measured.manifest.versions]:
            stage = measured.advice(start.name).stage or ""
        if not stage:
            raise CatalogError("no stage", f"Name one: {', '.join(stages())}.")
        gpu = gpu or defaults(self.root).get("gpu") or (measured.gpu if measured else GPU)
        text = str(prompt_of(of.label, start.name, stage=stage, gpu=gpu, root=self.root))
        return {"operator": of.label, "version": start.name, "stage": stage, "gpu": gpu, "prompt": text}

    def lint(self, operator: str, candidate: str, stage: str = "", base: str = "") -> Answer:
        """Check a candidate, the text of a kernel file with ModelNew, without running it."""
        of = self.operator(operator)
        findings = lint_text(of, candidate, stage or None, self._base(of, base))
        return {"accepted": not findings, "findings": bounded(findings)}

    def verify(self, operator: str, candidate: str, stage: str = "", base: str = "") -> Answer:
        """Lint a candidate, then run it in a sandbox against the reference: on the GPU, or in Triton's interpreter."""
        of = self.operator(operator)
        with self._turn:
            verdict = verify_text(of, candidate, stage or None, self._base(of, base))
        answer: Answer = bounded(verdict.record())
        return answer

    def keep(
        self,
        operator: str,
        candidate: str,
        idea: str,
        title: str,
        stage: str,
        change: str,
        why: str,
        expect: str = "none",
        base: str = "",
    ) -> Answer:
        """Write a candidate as the next version, if lint and evaluation accept it; then `profile` measures it.

        `idea` is part of its name. title, change and why go into its header, with `expect`: what you predict of metrics
        and ratios, such as `time_x < 0.9, dram_pct > 80`, before it is measured.
        """
        of = self.operator(operator)
        header = {"title": title, "stage": stage, "change": change, "why": why, "expect": expect}
        with self._turn:
            path, verdict = keep_text(of, candidate, idea, header, self._base(of, base))
        kept = path.stem if path else None
        return {"kept": kept, "timed": False, **bounded(verdict.record())}

    def profile(self, operator: str, versions: list[str] | None = None, metrics: str = "") -> Answer:
        """Check, time and profile versions of the project on this machine's GPU; leaves a run. Takes minutes."""
        with self._turn:
            run = work.profile(
                self.operator(operator).label,
                versions=versions or (),
                metrics=metrics or defaults(self.root).get("metrics") or "standard",
                root=self.root,
            )
        return _paged(run, "summary", 0, PAGE)

    def tune(
        self, operator: str, version: str, values: list[str] | None = None, evaluations: int = 64, metrics: str = ""
    ) -> Answer:
        """Try configurations of a version: compiled, checked, timed, the best profiled. Without a GPU: compiled alone.

        `values` such as ["num_warps=4,8", "BLOCK=64,128"]; default: those of the version's @triton.autotune. At most
        `evaluations` a case. Takes minutes; leaves a folder with tune.csv, where it timed something.
        """
        with self._turn:
            found = tuned(
                self.operator(operator).label,
                version,
                values=values or (),
                evaluations=min(max(evaluations, 1), 512),
                metrics=metrics or defaults(self.root).get("metrics") or "standard",
                root=self.root,
            )
        folder = self._inside(found.folder) if found.folder is not None else None
        answer: Answer = bounded({**found.record(), "folder": folder})
        return answer

    def compare(self, run: str, base: str = "", head: str = "", other: str = "") -> Answer:
        """Compare two versions of a run, or `base` of `run` with `head` of the run `other`: faster, slower, or neither.

        Default: the last version with the one before it.
        """
        found = self.run(run)
        versions = [one.version for one in found.manifest.versions]
        if not base and not other and len(versions) > 1:
            base = versions[-2]
        beside = self.run(other) if other else None
        answer: Answer = bounded(found.compare(base or None, head or None, other=beside).record())
        return answer

    def gate(
        self, run: str, version: str = "", max_slowdown: str = "", min_sol: str = "", max_spills: int | None = None
    ) -> Answer:
        """Hold a version of a run against thresholds: these, and those of [tool.rooflift.gate]."""
        found = self.run(run).gate(
            version or None, max_slowdown=max_slowdown or None, min_sol=min_sol or None, max_spills=max_spills
        )
        return {"passed": found.passed, **bounded({"gate": found.record()})}

    def report(self, name: str) -> Answer:
        """Write the report of a run, or of an operator's newest, below build/; return its Markdown and the files."""
        try:
            files: Sequence[Path] = self.run(name).report()
        except NoRun:
            with self._turn:
                files = report_unmeasured(name, root=self.root).files
        text = next((file.read_text(encoding="utf-8") for file in files if file.name == "report.md"), "")
        return {"written": [self._inside(file) for file in files], "report": bounded(text)}

    def operator(self, name: str) -> Operator:
        """Return an operator by its name."""
        return listed.operator(name, root=self.root)

    def run(self, name: str) -> Run:
        """Return a run by its name or OPERATOR/NAME, or an operator's newest; no path, and no link out of here.

        Raises:
            NoRun: the operator was not measured yet.
            RunFault: nothing is called that.
        """
        known = find.runs(root=self.root)
        names = [*self._names(), *(name for run in known for name in names_of(run.folder))]
        if name not in names:
            raise RunFault(f"{name[:200]!r}: no such run", did_you_mean(name, names))
        found = find.latest(name, root=self.root) if self._is_operator(name) else find.open(name, root=self.root)
        if not found.folder.resolve().is_relative_to(reports_folder(self.root).resolve()):
            raise RunFault(f"{name}: lies outside the project", "Copy it into the folder of the runs.")
        return found

    def _names(self) -> list[str]:
        return operator_names(self.root)

    def _is_operator(self, name: str) -> bool:
        return name in self._names()

    def _base(self, operator: Operator, name: str) -> Version | None:
        return operator.select_versions([name])[0] if name else None

    def _inside(self, path: Path) -> str:
        path = path.resolve()
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else path.name


def _paged(run: Run, part: str, offset: int, limit: int) -> Answer:
    """Return what a run says of itself, and a page of one of its tables."""
    record = run.record()
    if isinstance(record, list):  # an imported run's metrics
        shown = {"summary": records(run.summary()), "metrics": [row for row in record if row["value"] is not None]}
        record = {"run": run.name, "operator": run.operator, "gpu": run.gpu, "notes": run.manifest.notes, **shown}
    tables = {key: value for key, value in record.items() if isinstance(value, list) and key != "notes"}
    if part not in tables:
        raise CatalogError(f"a run has no part {part[:100]!r}", did_you_mean(part, tables))
    about = bounded({key: value for key, value in record.items() if key not in tables})
    lengths = {key: len(value) for key, value in tables.items()}
    return {**about, "parts": lengths, part: page(tables[part], offset, limit)}


READING = ("list_", "show", "hotspots", "advice", "prompt", "lint", "compare", "gate")  # change nothing
WORKING = ("verify", "keep", "profile", "tune", "report")


def tools(door: Door) -> dict[str, Callable[..., Answer]]:
    """Return the tools by name."""
    return {name.rstrip("_"): getattr(door, name) for name in (*READING, *WORKING)}
