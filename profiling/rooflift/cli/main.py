"""The app: which commands there are, and how each error ends. A command's module is imported when it runs."""

from __future__ import annotations

import re
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from rooflift import __version__
from rooflift.cli.commands import COMMANDS
from rooflift.cli.console import note, print_json, show_wide
from rooflift.errors import RoofliftError

START = """\
rooflift: profile versioned Triton kernels with Nsight Compute and compare each with its speed of light.

  rooflift doctor              what can this machine measure?
  rooflift show                which operators, versions and runs are here?
  rooflift profile OPERATOR    check, time and profile its versions; leaves a run
  rooflift report RUN          write the run's report, to read and to attach

`rooflift --help` lists every command."""
BEGIN = """\
rooflift: profile versioned Triton kernels with Nsight Compute and compare each with its speed of light.

There is no project here or above. To begin one:

  rooflift new operator softmax --from mykernels/softmax.py:softmax    of a function that is there
  rooflift new my_operator                                             of a minimal kernel, to change
  rooflift new --kernelbench level1/19_ReLU.py                         of KernelBench problems
  rooflift doctor                                                      what can this machine measure?

Without a project `rooflift show FILE.ncu-rep` prints a report. `rooflift --help` lists every command."""
STYLE: dict[str, Any] = {"context_settings": {"help_option_names": ["-h", "--help"]}}


MOST_SHOWN = 300  # characters of a fault's own words
show_traceback = False


class Commands(typer.core.TyperGroup):
    """The commands: names and help from the table, the one that is called from its module."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=entry.help))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; without any, print where to begin."""
        if not args and not ctx.resilient_parsing:
            typer.echo(START if _in_project() else BEGIN)
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the words begin with, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        command = command and load(str(name))
        if command and not ctx.resilient_parsing and not {"-h", "--help"} & {*rest}:
            ctx.default_map = {name: _defaults(command, rest)}
        return name, command, rest

    def format_commands(self, _: Any, formatter: Any) -> None:
        """Write the commands in their panels."""
        width = max(map(len, COMMANDS))
        for panel in dict.fromkeys(entry.panel for entry in COMMANDS.values()):
            with formatter.section(panel):
                rows = [(name.ljust(width), one.help) for name, one in COMMANDS.items() if one.panel == panel]
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C ends it with a sentence, and a misspelt option is JSON where JSON was asked for."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            error.message += _version_hint(error)
            if "--json" in sys.argv:
                remedy = f"`rooflift {ctx.invoked_subcommand or ''} --help` explains the options.".replace("  ", " ")
                print_json({"error": "UsageError", "message": error.format_message(), "remedy": remedy})
            raise
        except KeyboardInterrupt:
            note("rooflift: stopped; nothing was written")
            raise typer.Exit(130) from None


def _version_hint(error: Any) -> str:
    """Return what to type where a version stands among the words of a command that takes it as an option."""
    command = getattr(getattr(error, "ctx", None), "command", None)
    names = [word for word in sys.argv[1:] if re.fullmatch(r"v\d+\w*", word)]
    if not names or "extra argument" not in error.message or command is None:
        return ""
    if "base" in {parameter.name for parameter in command.params}:
        return f". A version stands behind its run or operator: RUN:{names[0]}"
    return f". A version is an option: -v {names[0]}"


def _in_project() -> bool:
    """Tell whether there is a project here or above; by looking alone, which takes no import."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        table = folder / "pyproject.toml"
        if (folder / "kernels").is_dir() or (table.is_file() and b"[tool.rooflift" in table.read_bytes()):
            return True
    return False


def _defaults(command: Any, words: list[str]) -> dict[str, Any]:
    """Return [tool.rooflift.defaults] of the project that the words name or that this is, for a command's options."""
    own = {parameter.name for parameter in command.params}
    if not own & {"metrics", "precision", "budget", "timeout", "target", "gpu"}:
        return {}
    from rooflift.api.project import defaults

    at = next((place for place, word in enumerate(words) if word.partition("=")[0] == "--root"), None)
    root = None if at is None else words[at].partition("=")[2] or "".join(words[at + 1 : at + 2])
    return {name: value for name, value in defaults(root).items() if name in own}


def load(name: str) -> Any:
    """Import a command's module and return the command."""
    module, _, function = COMMANDS[name].place.partition(":")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, **STYLE)(getattr(import_module(f"rooflift.cli.{module}"), function))
    command = typer.main.get_command(single)
    if any(parameter.name == "as_json" for parameter in command.params):  # it prints tables
        command.params.insert(-1, _wide())
    return command


def _wide() -> Any:
    """Return the option of every command that prints tables; it says so to the console, and to no command."""

    def every_column(
        wide: Annotated[
            bool, typer.Option("--wide", callback=show_wide, help="Print every column, on a narrow terminal in parts.")
        ] = False,
    ) -> None: ...

    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command()(every_column)
    (found,) = (one for one in typer.main.get_command(single).params if one.name == "wide")
    found.expose_value = False
    return found


app = typer.Typer(
    name="rooflift",
    cls=Commands,
    help="Profile versioned Triton kernels with Nsight Compute and place every version against its speed of light.",
    rich_markup_mode=None,  # importing rich takes longer than all the rest of --help
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 fine, 1 a check failed (`verify`, `runs --verify`, `lint`, `gate`), `profile` left a version "
    "out or `compare` found no comparable case, 2 no judgement: usage, environment or a fault of rooflift itself, "
    "130 stopped by Ctrl-C.",
    **STYLE,
)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a fault of rooflift itself.")] = False,
) -> None:
    global show_traceback  # main() ends the process, and has no way to the options but this
    show_traceback = debug
    if version:
        typer.echo(f"rooflift {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """Run the command line; a failure prints its message and remedy, and leaves with 2: no judgement was made."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children end with this process
    try:
        app(prog_name="rooflift", standalone_mode=True)
    except RoofliftError as error:
        _end(type(error).__name__, error.message, error.remedy, error.exit_code)
    except OSError as error:
        _end(type(error).__name__, str(error), "Name a place that can be read and written.")
    except Exception as error:  # a script must not take a fault of ours, which would leave with 1, for a judgement
        if show_traceback:
            raise
        text = str(error)
        what = (
            f"a fault of rooflift itself: {type(error).__name__}: {text[:MOST_SHOWN]}{'…' * (len(text) > MOST_SHOWN)}"
        )
        remedy = f"Please report it with the traceback, which `rooflift --debug {' '.join(sys.argv[1:])}` shows."
        _end("InternalFault", what, remedy)
    sys.exit(0)


def _end(error: str, message: str, remedy: str, code: int = 2) -> NoReturn:
    if "--json" in sys.argv:
        print_json({"error": error, "message": message, "remedy": remedy})
    note(f"rooflift: {message}\n  {remedy}")
    sys.exit(code)
