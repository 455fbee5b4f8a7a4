"""A prompt and a loop asked for by names: which operator, version, stage, GPU."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.analysis.selection import select
from rooflift.api.first_look import first_look
from rooflift.api.new import new
from rooflift.api.project import gpu as spec_of
from rooflift.api.project import project_root, silent
from rooflift.api.run import Run
from rooflift.errors import CatalogError, NoRun, RunFault
from rooflift.optimize import prompt as data
from rooflift.project.operator import load_operator, operator_names
from rooflift.project.settings import build_folder, kernels_folder, reports_folder
from rooflift.runs.find import newest_on
from rooflift.runs.roofs import newest_roofs
from rooflift.schema import UNKNOWN

if TYPE_CHECKING:
    from rooflift.optimize.optimize import Finished
    from rooflift.optimize.setting import Notes, Progresses
    from rooflift.optimize.several import Summary


def prompt(
    what: Run | str,
    version: str,
    *,
    stage: str,
    gpu: str,
    run: Run | None = None,
    case: str | None = None,
    dtype: str | None = None,
    root: Path | str | None = None,
) -> data.Prompt:
    """Return all that the author of the next version needs: target, stage, code, metrics, diagnosis, rules.

    `what` is a run, or an operator: then `run`, its newest run on `gpu`, else its newest. `version` is the one to start
    from, `stage` a name of stages.toml. `str(prompt)` is Markdown. Of an operator without a run it holds what the
    compiler makes of the version.

    >>> import rooflift as rl
    >>> prompt = rl.prompt("depthwise_conv2d", "v7", stage="memory", gpu="h100")
    >>> prompt.version, str(prompt).startswith("# ")
    ('v7_sectors', True)

    Raises:
        CatalogError: a name is unknown; near names are suggested.
        KernelFault: the operator was not measured yet, and the version does not compile.
        RunFault: the run is of another operator.
    """
    top = project_root(root or (what.root if isinstance(what, Run) else None))
    operator = load_operator(top, what if isinstance(what, str) else what.operator)
    start = operator.select_versions([version])[0]
    spec = spec_of(gpu)
    try:
        shown = run or (newest_on(top, operator.label, spec.matches) if isinstance(what, str) else what)
    except NoRun:
        seen = first_look(operator.label, start.name, case, dtype, spec=spec, root=top)
        return data.first_prompt(operator, start, stage, spec, seen.case, seen.kernels)
    if shown.manifest.operator not in (operator.name, UNKNOWN):
        what = f"{shown.folder} is of {shown.manifest.operator}, the prompt is for {operator.name}"
        raise RunFault(what, f"Name a run of {operator.name}, or none for its newest.")
    about = select(shown, start.name, case, dtype)
    there = newest_roofs(reports_folder(top), spec.matches[0])
    return data.prompt(operator, start, stage, spec, shown, about, there)


def optimize(
    operator: str,
    agent: str | Sequence[str],
    *,
    base: str = "v0",
    stages: Sequence[str] = (),
    iterations: int = 3,
    candidates: int = 1,
    beam: int = 1,
    repairs: int = 1,
    gpu: str | None = None,
    timed: bool = True,
    out: Path | str | None = None,
    keep: Path | str | None = None,
    baselines: bool = False,
    trust: bool = False,
    base_url: str | None = None,
    agent_timeout_s: float | None = None,
    memory_bytes: int = 16 * 2**30,
    evaluation_timeout_s: float = 300,
    metrics: str = "standard",
    timeout_s: float = 1800,
    say: Notes = silent,
    progress: Progresses = lambda: nullcontext(silent),
    home: Path | None = None,
    root: Path | str | None = None,
) -> Finished:
    """Run the loop with an agent, a command that gets a prompt and prints a candidate; keep what is faster.

    The agent "search" is built in: it edits the kernel file by syntax and needs no model. "openai:MODEL" is a model
    behind OpenAI's chat completions, or behind any server that speaks them, at `base_url`; the key is OPENAI_API_KEY.

    `stages` come in this order, with so many `iterations` each, each of so many `candidates`, which start from the
    `beam` fastest versions in turn; one that is wrong goes back to the agent `repairs` times; without names those of
    the operator's class, without those whose bottleneck is absent. Where no version launches a kernel, the agent writes
    the first one from the reference. `timed` False: candidates are linted and interpreted, none is timed. `out` is the
    loop's folder, by default below build/optimize/: an unfinished loop in it is resumed. Kept versions are copied to
    `keep` as the next numbers. With `baselines` the last run times torch_compile, too. `trust` runs candidates also
    where they cannot be sandboxed, and those in C++ or CUDA, which have no launch plan and are marked so. One
    candidate may hold `memory_bytes` on the host and take `evaluation_timeout_s` on all test cases. `say` is told what
    happens, `progress` shows what is being done. `home` is the project with lessons and worked examples, where that is
    another one.

    >>> import rooflift as rl
    >>> rl.optimize("rms_norm", "agents/mine.py", stages=["memory"], say=print)  # doctest: +SKIP
    <Finished: 3 iterations, kept: v1_vectors; ended: every stage had its iterations>

    Raises:
        NoGpu: there is no GPU here, and candidates are to be timed.
        CatalogError: a name is unknown, or the loop in the folder was started with other options.
        RunFault: another loop is at work in the folder, or it holds something else.
        EnvironmentFault: candidates cannot be sandboxed here, and `trust` is not given.
    """
    from rooflift.measure.request import known_metric_set
    from rooflift.optimize import optimize as loops
    from rooflift.sandbox.sandbox import Limits

    top = project_root(root)
    options = loops.Options(
        operator=operator,
        agent=shlex.split(agent) if isinstance(agent, str) else list(agent),
        folder=loop_folder(operator, out, top),
        stages=list(stages),
        iterations=iterations,
        candidates=candidates,
        beam=beam,
        repairs=repairs,
        base=base,
        home=home,
        gpu=gpu,
        timed=timed,
        baselines=baselines,
        trust=trust,
        limits=Limits(evaluation_timeout_s, memory_bytes),
        base_url=base_url,
        agent_timeout_s=agent_timeout_s,
        timeout_s=timeout_s,
        metric_set=known_metric_set(metrics),
    )
    return loops.optimize(top, options, say, progress, Path(keep) if keep else None)


def optimize_all(
    operators: Sequence[str] = (),
    agent: str | Sequence[str] = "search",
    *,
    out: Path | str | None = None,
    **options: Any,
) -> Summary:
    """Run the loop of several operators in turn, by default all of the project's; return one summary.

    `options` are those of `optimize`, but `keep`. The loops and the summary lie in `out`, by default build/optimize/;
    the same call resumes what was interrupted, and passes over what is finished.

    Raises:
        CatalogError: no project is found, or it has no such operator.
    """
    from rooflift.optimize.several import optimize_each

    top = project_root(options.pop("root", None))
    folder = Path(out or build_folder(top) / "optimize").resolve()
    known = operator_names(top)
    for name in operators:
        if name.partition("/")[0] not in known:
            load_operator(top, name)  # says which there are
    return optimize_each(
        operators or known,
        folder,
        lambda name: optimize(name, agent, out=folder / name, root=top, baselines=True, **options),
    )


def optimize_problems(
    problems: Path | str,
    agent: str | Sequence[str] = "search",
    *,
    out: Path | str | None = None,
    say: Notes = silent,
    **options: Any,
) -> Summary:
    """Run the loop of each KernelBench problem of a file or folder; return one summary.

    The problems become operators of a project of their own in `out`, by default build/problems/ and the folder's name;
    the agent writes each first version. Everything else is as in `optimize_all`.

    Raises:
        CatalogError: `problems` holds none.
    """
    place = Path(problems)
    folder, home = problems_folder(place, out, options.pop("root", None))
    owner = next((name for name in operator_names(home) if _is_of(place, home, name)), "") if home else ""
    if owner:
        raise CatalogError(f"{place} is the project's operator {owner}", f"Name it: rooflift optimize {owner}")
    (folder / "kernels").mkdir(parents=True, exist_ok=True)
    try:
        if place.is_dir() or not operator_names(folder):
            for line in new(kernelbench=place, say=say, root=folder).parts():
                say(line)
    except CatalogError:
        for empty in (folder / "kernels", folder):  # nothing was made
            with suppress(OSError):
                empty.rmdir()
        raise
    return optimize_all(agent=agent, out=folder, say=say, root=folder, home=home, **options)


def _is_of(place: Path, root: Path, operator: str) -> bool:
    folder = kernels_folder(root) / operator
    return place.resolve() in (folder, folder / "reference.py")


def problems_folder(
    place: Path, out: Path | str | None = None, root: Path | str | None = None
) -> tuple[Path, Path | None]:
    """Return the folder of the loops over problems, and the project around; None without one."""
    try:
        home = project_root(root)
    except CatalogError:
        home = None
    inside = build_folder(home) if home else Path("build")
    return Path(out or inside / "problems" / (place.stem if place.is_file() else place.resolve().name)).resolve(), home


def names_problems(operator: str, root: Path | str | None = None) -> bool:
    """Tell whether what stands for an operator is a file or folder of problems; an operator's name comes first."""
    try:
        known = operator_names(project_root(root))
    except CatalogError:
        known = []
    return operator not in known and Path(operator).exists()


def loop_folder(operator: str, out: Path | str | None = None, root: Path | str | None = None) -> Path:
    """Return the folder of a loop: `out`, or one below build/optimize/ of the project.

    Raises:
        CatalogError: no project is found.
    """
    return Path(out or build_folder(project_root(root)) / "optimize" / operator).resolve()
