"""`rooflift optimize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import note, print_view, progress_shown
from rooflift.cli.options import AsJson, Metrics, Root, SomeGpu, Timeout

if TYPE_CHECKING:
    from rooflift.optimize.optimize import Finished
    from rooflift.optimize.several import Summary


def optimize(
    operator: Annotated[
        str,
        typer.Argument(
            metavar="OPERATOR",
            help="An operator, several with commas between, all; or KernelBench problems, a file or a folder.",
            autocompletion=completion.operators,
        ),
    ],
    agent: Annotated[
        str, typer.Option(help="The command that gets a prompt and prints a candidate; search; or openai:MODEL.")
    ],
    base: Annotated[str, typer.Option(help="The version to start from.")] = "v0",
    stages: Annotated[
        str | None,
        typer.Option(
            help="In this order, with commas between. Default: those that fit.",
            autocompletion=completion.stages,
        ),
    ] = None,
    iterations: Annotated[int, typer.Option(help="Iterations of each stage.", min=1)] = 3,
    candidates: Annotated[int, typer.Option(help="Candidates an iteration, made side by side.", min=1, max=16)] = 1,
    beam: Annotated[int, typer.Option(help="Versions that the candidates start from, the fastest ones.", min=1)] = 1,
    repairs: Annotated[int, typer.Option(help="Times that a wrong candidate goes back to the agent.", min=0)] = 1,
    gpu: SomeGpu = None,
    no_gpu: Annotated[
        bool, typer.Option("--no-gpu", help="Lint, and run in Triton's interpreter; time nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The loop's folder; an unfinished loop in it is resumed. Default: below build/.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Copy kept versions here in the end, as the next numbers; none is overwritten.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run candidates that cannot be sandboxed, and those in CUDA C++.")
    ] = False,
    base_url: Annotated[
        str | None, typer.Option(help="An endpoint such as http://localhost:8000/v1, for openai:MODEL.")
    ] = None,
    agent_timeout: Annotated[float | None, typer.Option(help="Seconds an agent may take. Default: no limit.")] = None,
    memory_gib: Annotated[float, typer.Option(help="Host memory that a candidate may hold.", min=1)] = 16,
    evaluation_timeout: Annotated[
        float, typer.Option(help="Seconds that a candidate may take on all test cases.", min=1)
    ] = 300,
    metrics: Metrics = "standard",
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Run the loop with an agent: prompt, candidate, evaluation.

    A candidate is linted, evaluated in a sandbox, timed beside the version it starts from, and kept if it is faster.
    The loop ends when every stage had its iterations or the version is at its SOL.
    """
    from rooflift.api.shown import short
    from rooflift.optimize import ask

    options = {
        "base": base,
        "stages": [name.strip() for name in stages.split(",")] if stages else (),
        "iterations": iterations,
        "candidates": candidates,
        "beam": beam,
        "repairs": repairs,
        "gpu": gpu,
        "timed": not no_gpu,
        "trust": trust,
        "base_url": base_url,
        "agent_timeout_s": agent_timeout,
        "memory_bytes": int(memory_gib * 2**30),
        "evaluation_timeout_s": evaluation_timeout,
        "metrics": metrics,
        "timeout_s": timeout,
        "say": note,
        "progress": progress_shown,
    }
    problems = ask.names_problems(operator, root)
    several = problems or operator == "all" or "," in operator
    finished: Finished | Summary
    try:
        if several and keep:
            raise typer.BadParameter("--keep takes one operator", param_hint="--keep")
        if problems:
            finished = ask.optimize_problems(operator, agent, out=out, root=root, **options)  # type: ignore[arg-type]
        elif several:
            names = [name.strip() for name in operator.split(",")] if operator != "all" else []
            finished = ask.optimize_all(names, agent, out=out, root=root, **options)
        else:
            finished = ask.optimize(operator, agent, out=out, keep=keep, root=root, **options)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        place = ask.problems_folder(Path(operator), out, root)[0] if problems else None
        folder = place or ask.loop_folder("" if several else operator, out, root)
        note(f"rooflift: stopped; the same command resumes it in {short(folder)}")
        raise typer.Exit(130) from None
    print_view(finished, as_json)
