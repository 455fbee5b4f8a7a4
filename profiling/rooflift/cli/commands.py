"""Which commands there are: the module and function of each, its line in the help, its panel. Imports none of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: a test holds `help` equal to the first line of the function's docstring."""

    panel: str
    place: str  # module:function below rooflift.cli
    help: str


COMMANDS = {
    "doctor": Entry("Measure", "doctor:doctor", "Show what this machine can measure; each problem with its remedy."),
    "profile": Entry("Measure", "profile:profile", "Check, time and profile versions; without a GPU, re-render a run."),
    "verify": Entry("Measure", "verify:verify", "Compare versions with the reference in float64."),
    "roofs": Entry("Measure", "roofs:roofs", "Measure this GPU's bandwidths and FLOP rates, for rooflines."),
    "compile": Entry("Measure", "compile:compile_", "Compile versions without a GPU: registers, spills, occupancy."),
    "capture": Entry(
        "Measure", "capture:capture", "Record kernels of any program under ncu: those that take the time."
    ),
    "tune": Entry("Measure", "tune:tune", "Try configurations of a version; without a GPU, compile them."),
    "batch": Entry("Measure", "batch:batch", "Verify, compile, profile, tune or optimize on all GPUs."),
    "runs": Entry("Read", "runs:runs", "List or verify the recorded runs, or compress their reports."),
    "show": Entry("Read", "show:show", "Print a run's table, the kernels of a report, or the operators."),
    "report": Entry("Read", "report:report", "Write a run's report as Markdown and HTML, or print what decides."),
    "site": Entry("Read", "site:site", "Write static pages of operators, runs, GPUs and comparisons."),
    "hotspots": Entry("Read", "hotspots:hotspots", "Show the source lines that the time goes to."),
    "compare": Entry("Read", "compare:compare", "Compare two versions: of runs, or of git revisions."),
    "gate": Entry("Read", "gate:gate", "Check a version against thresholds, for CI."),
    "advise": Entry("Improve", "advise:advise", "Show SOL, bottleneck and the stage worth trying next."),
    "prompt": Entry("Improve", "prompt:prompt", "Write the prompt for the next version."),
    "lint": Entry("Improve", "lint:lint", "Check a candidate's form and compile its kernels; none is run."),
    "optimize": Entry("Improve", "optimize:optimize", "Run the loop with an agent: prompt, candidate, evaluation."),
    "estimate": Entry("Improve", "estimate:estimate", "Estimate a run's times on another GPU."),
    "new": Entry("Exchange", "new:new", "Make an operator, of a function too; a version; a project."),
    "mcp": Entry("Exchange", "mcp:mcp", "Offer the project to an agent over the Model Context Protocol."),
    "skill": Entry("Exchange", "skill:skill", "Write what an agent should know: AGENTS.md, or a skill file."),
    "export": Entry("Exchange", "export:export", "Write an operator as one module that needs torch and triton alone."),
    "import": Entry("Exchange", "import_:import_", "Make a run, or a ladder, of reports from elsewhere."),
}
