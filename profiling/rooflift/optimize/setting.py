"""What a loop is run with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.measure.children import Progress
from rooflift.project.operator import Operator, Version

if TYPE_CHECKING:
    from rooflift.project.gpus import GpuSpec
    from rooflift.sandbox.sandbox import Sandbox

Notes = Callable[[str], None]  # tells the user something that is no result
Progresses = Callable[[], AbstractContextManager[Progress]]  # shows what is being done while the block runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a loop is run with; unlike what its journal records, it may change when the loop is resumed."""

    root: Path
    home: Path  # the project with the lessons and the worked examples
    operator: Operator  # the project's
    base: Version | None  # the project's; None: the agent writes the first version
    spec: GpuSpec
    folder: Path
    agent: Sequence[str]
    base_url: str | None  # of an endpoint
    agent_timeout_s: float | None
    repairs: int  # of one candidate
    baselines: bool  # torch's slow ones are timed in the last run
    sandbox: Sandbox
    trust: bool  # candidates in C++ or CUDA run, as they stand
    timeout_s: float  # of a profile
    metric_set: str
    note: Notes
    progress: Progresses
