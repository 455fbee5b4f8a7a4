"""What MkDocs cannot find in docs/: the README as home page, every command, every name of the API."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Link, Navigation

ROOT = Path(__file__).parents[1]
DOCTEST = re.compile(r"^(>>> (?:.+\n?)+)", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?!https?:|#)[^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made of something else."""
    home = (ROOT / "README.md").read_text().replace("](docs/", "](").replace('src="docs/', 'src="')
    pages = {"index.md": home, "reference/commands.md": _commands(), "reference/python.md": _names()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_nav(nav: Navigation, config: Any, files: Files) -> Navigation:
    """Lead to the pages of all runs, where they are published beside these."""
    del files
    if config.extra["runs"]:
        nav.items.append(Link("All runs", config.extra["runs"]))
    return nav


class Examples(griffe.Extension):
    """Shows the examples of docstrings, which are doctests, as code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence each paragraph that begins with a prompt."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\1\n```", obj.docstring.value)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn links to what is no page, such as a kernel or a run, into text that names it."""
    del config

    def inside(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, hash_, anchor = target.removeprefix("../").partition("#")
        is_page = files.get_file_from_path(path) is not None
        if page.file.src_uri == "index.md" or (target.startswith("../") and "/" not in page.file.src_uri):
            named = text if text in path else f"{text} (`{path}`)"
            return f"[{text}]({path}{hash_}{anchor})" if is_page else named
        return match[0]

    return LINK.sub(inside, markdown)


def _commands() -> str:
    from typer._click import Context  # the copy of click that typer brings

    from rooflift.cli.commands import COMMANDS
    from rooflift.cli.main import load

    parts = ["# Every command", "As `rooflift COMMAND --help` prints it.", ""]
    for name in COMMANDS:
        command = load(name)
        context = Context(command, info_name=f"rooflift {name}", terminal_width=90)
        parts += [f"## {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(parts)


def _names() -> str:
    import rooflift

    modules = rooflift._MODULE_OF  # noqa: SLF001  # where each name of the API is made
    parts = ["# Every name", "", "`import rooflift as rl`; [by example](../python-api.md).", ""]
    return "\n".join(parts + [f"::: {modules[name]}.{name}\n" for name in rooflift.__all__])
