"""A prompt asked for by names: which run, which version, which stage, which GPU. Writes nothing."""

from __future__ import annotations

from pathlib import Path

from rooflift.analysis.selection import select
from rooflift.api.find import project_root
from rooflift.api.run import Run
from rooflift.optimize import prompt as data
from rooflift.project.gpus import spec_for_key, spec_for_name
from rooflift.project.operator import load_operator
from rooflift.runs.find import newest_on
from rooflift.runs.roofs import newest_roofs


def prompt(
    what: Run | str,
    version: str,
    *,
    stage: str,
    gpu: str,
    case: str | None = None,
    dtype: str | None = None,
    root: Path | str | None = None,
) -> data.Prompt:
    """Return all that the author of the next version needs: target, stage, code, metrics, diagnosis, rules.

    `what` is a run, or an operator: then its newest run on `gpu`, else its newest. `version` is the one to start from,
    `stage` a name of stages.toml. `str(prompt)` is Markdown.

    >>> import rooflift as rl
    >>> prompt = rl.prompt("depthwise_conv2d", "v7", stage="memory", gpu="h100")
    >>> prompt.version, str(prompt).startswith("# ")
    ('v7_sectors', True)

    Raises:
        CatalogError: a name is unknown; near names are suggested.
        RunFault: the operator has no run.
    """
    top = project_root(root or (what.root if isinstance(what, Run) else None))
    operator = load_operator(top, what if isinstance(what, str) else what.operator)
    start = operator.select_versions([version])[0]
    spec = spec_for_name(gpu) or spec_for_key(gpu.casefold())
    run = newest_on(top, operator.label, spec.matches) if isinstance(what, str) else what
    about = select(run, start.name, case, dtype)
    there = newest_roofs(top / "reports", spec.matches[0])
    return data.prompt(operator, start, stage, spec, run, about, there)
