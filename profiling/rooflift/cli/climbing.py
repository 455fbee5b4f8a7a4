"""The loop: prompts to an agent, candidates linted, evaluated and timed, the faster ones kept.

A folder holds all that happened: journal.jsonl, the kept versions below kernels/, each iteration's prompt, candidate
and run. An iteration is in the journal or it is done again from the stored candidate, so a loop can be killed at any
moment.
"""

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
from rooflift.cli.guiding import OperatorName
from rooflift.cli.judging import AsJson, Root
from rooflift.errors import CatalogError, NoGpu, RunFault, did_you_mean
from rooflift.optimize.loop import Loop, Setting, _sha256

if TYPE_CHECKING:
    from rooflift.project.gpus import GpuSpec


def optimize(
    operator: OperatorName,
    agent: Annotated[str, typer.Option(help="The command that gets a prompt and prints a candidate.")],
    base: Annotated[str | None, typer.Option(help="The version to start from. Default: the operator's first.")] = None,
    stages: Annotated[
        str, typer.Option(help="In this order, with commas between.", autocompletion=completion.stages)
    ] = "grid,tiling,memory,tuning",
    iterations: Annotated[int, typer.Option(help="Candidates to ask for in each stage.", min=1)] = 3,
    gpu: Annotated[
        str | None, typer.Option(help="The target. Default: the GPU here.", autocompletion=completion.gpus)
    ] = None,
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
    metrics: Annotated[str, typer.Option(help="none, basic, standard or full.")] = "standard",
    timeout: Annotated[float, typer.Option(help="Seconds after which a measurement is stopped.", min=1)] = 1800,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Optimize with an agent: prompt, candidate, lint, evaluation, profile, keep or revert; until stages or SOL end."""
    import filelock

    from rooflift.ncu.metrics import METRIC_SETS
    from rooflift.optimize.journal import Started
    from rooflift.project.operator import find_root, load_operator
    from rooflift.project.stages import stage
    from rooflift.sandbox.sandbox import Limits, require_sandbox

    top = find_root((root or Path.cwd()).resolve())
    of_operator = load_operator(top, operator)
    (start,) = of_operator.select_versions([base or "v0"])
    names = [name.strip() for name in stages.split(",")]
    for name in names:
        stage(name)
    words = shlex.split(agent)
    if not words:
        raise CatalogError("--agent is empty", "Name the command that gets a prompt and prints a candidate.")
    if metrics not in METRIC_SETS:
        raise CatalogError(f"--metrics {metrics}: no such set", did_you_mean(metrics, METRIC_SETS))
    spec = _target(top, operator, gpu, no_gpu)
    folder = (out or top / "build" / "climbs" / operator).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    started = Started(
        operator=operator,
        base=f"v0_{start.name.partition('_')[2]}",
        base_sha256=_sha256(start.path),
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


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(optimize)
