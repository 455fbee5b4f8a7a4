"""`rooflift optimize`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rooflift.cli import completion
from rooflift.cli.console import note, print_json, progress_shown, shown
from rooflift.cli.options import AsJson, Metrics, OperatorName, Root, SomeGpu, Timeout
from rooflift.cli.resolve import project_root

if TYPE_CHECKING:
    from rooflift.optimize.optimize import Finished


def optimize(
    operator: OperatorName,
    agent: Annotated[str, typer.Option(help="The command that gets a prompt and prints a candidate.")],
    base: Annotated[str, typer.Option(help="The version to start from.")] = "v0",
    stages: Annotated[
        str | None,
        typer.Option(help="In this order, with commas between. Default: all.", autocompletion=completion.stages),
    ] = None,
    iterations: Annotated[int, typer.Option(help="Candidates to ask for in each stage.", min=1)] = 3,
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
    trust: Annotated[bool, typer.Option("--trust", help="Run candidates also where they cannot be sandboxed.")] = False,
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
    from rooflift.optimize import optimize as loops
    from rooflift.project.stages import stages as every_stage
    from rooflift.sandbox.sandbox import Limits

    top = project_root(root)
    folder = (out or top / "build" / "optimize" / operator).resolve()
    options = loops.Options(
        operator=operator,
        agent=shlex.split(agent),
        folder=folder,
        stages=[name.strip() for name in stages.split(",")] if stages else list(every_stage()),
        iterations=iterations,
        base=base,
        gpu=gpu,
        timed=not no_gpu,
        trust=trust,
        limits=Limits(evaluation_timeout, int(memory_gib * 2**30)),
        agent_timeout_s=agent_timeout,
        timeout_s=timeout,
        metric_set=metrics,
    )
    try:
        finished = loops.optimize(top, options, note, progress_shown, keep)
    except KeyboardInterrupt:
        note(f"rooflift: stopped; the same command resumes it in {shown(folder)}")
        raise typer.Exit(130) from None
    _print(finished, folder, as_json)


def _print(finished: Finished, folder: Path, as_json: bool) -> None:
    import msgspec

    state = finished.state
    if as_json:
        print_json(
            {
                "folder": shown(folder),
                "stopped": state.stopped,
                "kept": [one.version for one in state.kept],
                "run": shown(folder / state.run) if state.run else None,
                "iterations": msgspec.to_builtins(state.iterations),
                "written": [shown(path) for path in finished.written],
            }
        )
        return
    names = ", ".join(one.version for one in state.kept) or "none"
    typer.echo(f"{len(state.iterations)} iterations, kept: {names}; ended: {state.stopped}")
    typer.echo(f"Wrote {shown(folder)}")
    for path in ([folder / state.run] if state.run else []) + finished.written:
        typer.echo(f"  {shown(path)}")
