"""`rooflift new`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rooflift.cli.console import print_view, progress_shown
from rooflift.cli.options import AsJson, Root, SomeStage
from rooflift.errors import CatalogError

if TYPE_CHECKING:
    from rooflift.api.shown import Shown


def new(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[operator] NAME | version OPERATOR IDEA | project [FOLDER]",
            help="What to make, and its name. The name of an operator of a function or problem is by default theirs.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE:FUNCTION", help="Of an operator: a function, such as mykernels/softmax.py:softmax."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="FILE:FUNCTION", help="With --from: the function in plain torch that defines the right result."
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="With --from: v0 imports the function from where it is.")
    ] = False,
    kernelbench: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A KernelBench problem file, or a folder of them: each becomes an operator as it stands.",
        ),
    ] = None,
    stage: SomeStage = None,
    base: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Of a version: the one to start from. Default: the newest.")
    ] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Make an operator, of a function too; a version; a project.

    `rooflift new NAME` makes a minimal operator, with --from one of a function, with --kernelbench those of problems:
    reference.py, cases.toml and v0_baseline.py below kernels/, which `rooflift verify` takes at once. `rooflift new
    version OPERATOR IDEA` copies the newest version as the next, with a header to fill in; IDEA is a stage, or a word
    beside --stage. `rooflift new project` writes [tool.rooflift] into pyproject.toml.
    """
    given = {"--from": source, "--reference": reference, "--in-place": in_place, "--kernelbench": kernelbench}
    of_version = {"--stage": stage, "--base": base}
    match words or []:
        case ["version", operator, *idea] if len(idea) < 2:
            _refuse("version", given)
            made = _version(operator, idea[0] if idea else None, stage, base, root)
        case ["project", *folder] if len(folder) < 2:
            _refuse("project", given | of_version)
            made = _project(folder[0] if folder else None, root)
        case [*before, function] if ".py" in function and before[:1] not in (["version"], ["project"]):
            raise CatalogError(f"{function} is no name", f"Name the function with --from {function}")
        case ["operator", *name] | [*name] if len(name) < 2 and name != ["version"]:
            _refuse("operator", of_version)
            made = _operator(
                name[0] if name else None,
                source=source,
                reference=reference,
                in_place=in_place,
                kernelbench=kernelbench,
                root=root,
            )
        case _:
            raise CatalogError(
                f"rooflift new {' '.join(words or [])}: not understood",
                "Write `rooflift new NAME`, `rooflift new version OPERATOR IDEA` or `rooflift new project`.",
            )
    print_view(made, as_json)


def _refuse(what: str, options: dict[str, Any]) -> None:
    """Refuse options that say nothing about what is made."""
    for name, given in options.items():
        if given:
            raise CatalogError(f"{name} says nothing about a new {what}", f"Leave out {name}.")


def _operator(name: str | None, **options: Any) -> Shown:
    from rooflift.api import new as api

    with progress_shown() as progress:
        return api.new(name, say=progress, **options)


def _version(operator: str, idea: str | None, stage: str | None, base: str | None, root: Path | None) -> Shown:
    from rooflift.api.operators import operator as named

    return named(operator, root=root).new_version(idea, stage=stage, base=base)


def _project(folder: str | None, root: Path | None) -> Shown:
    from rooflift.api.start import new_project

    return new_project(folder or root)
