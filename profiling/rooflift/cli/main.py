"""The app: which commands there are, and how each error ends. A command's module is imported when it runs."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from rooflift import __version__
from rooflift.cli.commands import COMMANDS
from rooflift.cli.console import note, print_json
from rooflift.errors import RoofliftError

START = """\
rooflift: profile versioned Triton kernels with Nsight Compute and compare each with its speed of light.

  rooflift doctor              what can this machine measure?
  rooflift show                which operators, versions and runs are here?
  rooflift profile OPERATOR    check, time and profile its versions; leaves a run
  rooflift report RUN          write the run's report, to read and to attach

`rooflift --help` lists every command."""
STYLE: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}}


class Commands(typer.core.TyperGroup):
    """The commands: names and help from the table, the one that is called from its module."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=entry.help))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; without any, print where to begin."""
        if not args and not ctx.resilient_parsing:
            typer.echo(START)
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the words begin with, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write the commands in their panels."""
        width = max(map(len, COMMANDS))
        for panel in dict.fromkeys(entry.panel for entry in COMMANDS.values()):
            with formatter.section(panel):
                rows = [(name.ljust(width), one.help) for name, one in COMMANDS.items() if one.panel == panel]
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C ends it with a sentence."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            note("rooflift: stopped; nothing was written")
            raise typer.Exit(130) from None


def load(name: str) -> Any:
    """Import a command's module and return the command."""
    module, _, function = COMMANDS[name].place.partition(":")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, **STYLE)(getattr(import_module(f"rooflift.cli.{module}"), function))
    return typer.main.get_command(single)


app = typer.Typer(
    name="rooflift",
    cls=Commands,
    help="Profile versioned Triton kernels with Nsight Compute and place every version against its speed of light.",
    rich_markup_mode=None,  # importing rich takes longer than all the rest of --help
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 fine, 1 a check failed (`verify`, `runs --verify`, `lint`, `gate`) or `compare` found no "
    "comparable case, 2 usage or environment, 130 stopped by Ctrl-C.",
    **STYLE,
)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"rooflift {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line; an expected failure prints its message and remedy."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children end with this process
    try:
        app(prog_name="rooflift", standalone_mode=True)
    except RoofliftError as error:
        if "--json" in sys.argv:
            print_json({"error": type(error).__name__, "message": error.message, "remedy": error.remedy})
        note(f"rooflift: {error.message}\n  {error.remedy}")
        sys.exit(error.exit_code)
    except OSError as error:
        note(f"rooflift: {error}\n  Name a place that can be written.")
        sys.exit(2)
    sys.exit(0)
