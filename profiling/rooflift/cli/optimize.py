"""`rooflift optimize`."""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rooflift.cli import completion
from rooflift.cli.console import note, print_json, progress_shown, shown
from rooflift.cli.options import AsJson, Metrics, OperatorName, Root, SomeGpu, Timeout
from rooflift.cli.resolve import project_root
from rooflift.errors import CatalogError, NoGpu, RunFault

if TYPE_CHECKING:
    from rooflift.optimize.loop import Loop
    from rooflift.project.gpus import GpuSpec


def optimize(
    operator: OperatorName,
    agent: Annotated[str, typer.Option(help="The command that gets a prompt and prints a candidate.")],
    base: Annotated[str | None, typer.Option(help="The version to start from. Default: the operator's first.")] = None,
    stages: Annotated[
        str, typer.Option(help="In this order, with commas between.", autocompletion=completion.stages)
    ] = "grid,tiling,memory,tuning",
    iterations: Annotated[int, typer.Option(help="Candidates to ask for in each stage.", min=1)] = 3,
    gpu: SomeGpu = None,
    no_gpu: Annotated[
        bool, typer.Option("--no-gpu", help="Check, and run in Triton's interpreter; time nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The climb's folder; an unfinished climb in it goes on. Default: below build/.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Copy kept versions here in the end, as the next numbers; none is overwritten.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run candidates also where they cannot be sandboxed.")] = False,
    agent_timeout: Annotated[float | None, typer.Option(help="Seconds a agent may take. Default: no limit.")] = None,
    memory_gib: Annotated[float, typer.Option(help="Host memory that a candidate may hold.", min=1)] = 16,
    gate_timeout: Annotated[
        float, typer.Option(help="Seconds that a candidate may take on all test cases.", min=1)
    ] = 300,
    metrics: Metrics = "standard",
    timeout: Timeout = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Run the loop with an agent: prompt, candidate, evaluation.

    A candidate is linted, evaluated in a sandbox, timed beside the version it starts from, and kept if it is faster.
    The loop ends when every stage had its iterations or the SOL is reached.
    """
    import filelock

    from rooflift.optimize.journal import Started
    from rooflift.optimize.loop import Loop, Setting
    from rooflift.project.operator import load_operator
    from rooflift.project.stages import stage
    from rooflift.runs.verify import sha256
    from rooflift.sandbox.sandbox import Limits, require_sandbox

    top = project_root(root)
    of_operator = load_operator(top, operator)
    (start,) = of_operator.select_versions([base or "v0"])
    names = [name.strip() for name in stages.split(",")]
    for name in names:
        stage(name)
    words = shlex.split(agent)
    if not words:
        raise CatalogError("--agent is empty", "Name the command that gets a prompt and prints a candidate.")
    spec = _target(top, operator, gpu, no_gpu)
    folder = (out or top / "build" / "climbs" / operator).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    started = Started(
        operator=operator,
        base=f"v0_{start.name.partition('_')[2]}",
        base_sha256=sha256(start.path),
        stages=names,
        iterations=iterations,
        gpu=None if no_gpu else spec.name,
        seed=random.SystemRandom().randrange(2**31),
    )
    held = replace(require_sandbox(trust=trust), limits=Limits(gate_timeout, int(memory_gib * 2**30)))
    setting = Setting(
        top, of_operator, start, spec, folder, words, agent_timeout, held, timeout, metrics, note, progress_shown
    )
    if held.missing:
        note(f"Candidates are not sandboxed in: {', '.join(held.missing)}. --trust allows that.")
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            climbing = Loop(setting, started)
            climbing.run()
            handed = climbing.hand_over(keep) if keep else []
    except filelock.Timeout:
        raise RunFault(f"{folder}: another climb is at work in it", "Wait for it, or name another --out.") from None
    except KeyboardInterrupt:
        note(f"rooflift: stopped; the same command goes on in {shown(folder)}")
        raise typer.Exit(130) from None
    _tell(climbing, handed, as_json)


def _target(top: Path, operator: str, gpu: str | None, no_gpu: bool) -> GpuSpec:
    """Return the spec of the target.

    Raises:
        NoGpu: there is none here, and --no-gpu was not given.
        CatalogError: no spec stands for the GPU here, or it is not the one that was named.
    """
    from rooflift.measure.environment import driver
    from rooflift.project.gpus import spec_for_key, spec_for_name
    from rooflift.runs.find import newest_run

    named = spec_for_key(gpu) if gpu else None
    if no_gpu:
        here = newest_run(top / "reports", operator).manifest.machine.gpu
    else:
        try:
            here = driver().gpus[0]
        except NoGpu as absent:
            remedy = (
                f"{absent.remedy} With --no-gpu candidates are checked and run in the interpreter, and none is timed."
            )
            raise NoGpu(absent.message, remedy) from None
    own = spec_for_name(here)
    if named is None and own is None:
        raise CatalogError(f"no spec stands for the GPU {here!r}", "Name one with --gpu.")
    if named is not None and not no_gpu and named is not own:
        raise CatalogError(f"--gpu {gpu}: candidates are timed here, on {here}", "Leave out --gpu, or give --no-gpu.")
    found = named or own
    assert found is not None  # one of the two is
    return found


def _tell(climbing: Loop, handed: Sequence[Path], as_json: bool) -> None:
    state, folder = climbing.state, climbing.setting.folder
    if as_json:
        print_json(
            {
                "folder": shown(folder),
                "stopped": state.stopped,
                "kept": [one.version for one in state.kept],
                "run": shown(folder / state.run) if state.run else None,
                "iterations": msgspec.to_builtins(state.tried),
                "written": [shown(path) for path in handed],
            }
        )
        return
    names = ", ".join(one.version for one in state.kept) or "none"
    typer.echo(f"{len(state.tried)} tries, kept: {names}; ended: {state.stopped}")
    typer.echo(f"Wrote {shown(folder)}")
    for path in ([folder / state.run] if state.run else []) + list(handed):
        typer.echo(f"  {shown(path)}")
