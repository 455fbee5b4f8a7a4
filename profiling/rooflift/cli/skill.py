"""`rooflift skill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rooflift.cli.console import print_view
from rooflift.cli.options import AsJson, Root


def skill(
    form: Annotated[
        Literal["agents", "skill"],
        typer.Option(help="agents: a section of AGENTS.md; skill: skills/rooflift/SKILL.md with front matter."),
    ] = "agents",
    out: Annotated[Path | None, typer.Option(help="Where to write. Default: in the project's folder.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Write what an agent should know: AGENTS.md, or a skill file.

    The loop, the command of each step, the rules. Other text of AGENTS.md stays as it is.
    """
    from rooflift.agents.skill import write_skill

    print_view(write_skill(form, out, root), as_json)
