"""The app: its help, its completion, and how each error ends."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import rooflift as rl
from rooflift import __version__
from rooflift.agents.server import serve_http
from rooflift.agents.skill import write_skill
from rooflift.api.estimates import Estimates
from rooflift.api.hotspots import Hotspots
from rooflift.api.operators import Operator
from rooflift.api.reports import metric_values
from rooflift.api.runs import Runs
from rooflift.batch.batch import batch
from rooflift.cli import completion
from rooflift.cli import main as cli
from rooflift.cli.commands import COMMANDS
from rooflift.cli.main import load
from rooflift.site.build import site

Rooflift = Callable[..., Any]


HEAVY = {
    "torch",
    "triton",
    "pandas",
    "numpy",
    "matplotlib",
    "ncu_report",
    "pyarrow",
    "pynvml",
    "rich",
    "msgspec",
} | {f"rooflift.cli.{entry.place.partition(':')[0]}" for entry in COMMANDS.values()}


def test_help_lists_the_commands_in_their_panels_and_the_exit_codes(
    as_typed: Callable[..., Any], tmp_path: Path
) -> None:
    said, err = (process := as_typed(["--help"], tmp_path, {})).communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    panels = re.split(r"\n(Measure|Read|Improve|Exchange):\n", said)
    assert panels[1::2] == ["Measure", "Read", "Improve", "Exchange"]
    for name, entry in COMMANDS.items():
        lines = panels[panels.index(entry.panel) + 1]
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", lines, re.MULTILINE)
    words = " ".join(said.split())
    assert "0 fine, 1 a check failed (`verify`, `runs --verify`, `lint`, `gate`)" in words


@pytest.mark.parametrize("name", COMMANDS)
def test_line_in_the_help_is_the_first_line_of_the_commands_own_help(name: str) -> None:
    assert load(name).help.splitlines()[0] == COMMANDS[name].help


FUNCTIONS: dict[str, list[Callable[..., Any]]] = {
    "doctor": [rl.doctor],
    "profile": [rl.profile, Operator.offline],
    "verify": [rl.verify, rl.kernelbench],
    "roofs": [rl.roofs],
    "compile": [rl.compile],
    "runs": [rl.runs],
    "show": [rl.open, rl.launches, metric_values],
    "report": [rl.open, rl.Run.report],
    "site": [site],
    "hotspots": [rl.Run.hotspots, Hotspots.parts],
    "compare": [rl.Run.compare, Operator.compare, Operator.compare_compiled],
    "gate": [rl.Run.gate],
    "advise": [rl.Run.advice],
    "prompt": [rl.prompt],
    "lint": [rl.lint],
    "optimize": [rl.optimize],
    "estimate": [rl.open, rl.estimate],
    "new": [rl.new, Operator.new_version],
    "capture": [rl.capture],
    "batch": [batch],
    "tune": [rl.tune],
    "mcp": [serve_http],
    "skill": [write_skill],
    "export": [Operator.export],
    "import": [rl.Run.imported],
}
OTHERWISE = {  # the same by another name: several of them, a unit, or words that read better in Python
    "version": "versions",
    "case": "cases",
    "dtype": "dtypes",
    "target": "targets",
    "budget": "budget_s",
    "timeout": "timeout_s",
    "agent_timeout": "agent_timeout_s",
    "evaluation_timeout": "evaluation_timeout_s",
    "memory_gib": "memory_bytes",
    "zipped": "bundle",
    "all_versions": "every",
    "no_gpu": "timed",
    "metrics": "pattern",
    "sass": "opened",
    "ptx": "opened",
    "to": "gpu",
}
PRINTED = {"as_json", "markdown", "form"}  # how a command prints what it got
METHODS = {  # options that choose what is called
    ("compare", "compile_only"): Operator.compare_compiled,
    ("compare", "kernel"): rl.Run.compare_kernels,
    ("runs", "verify"): Runs.verify,
    ("runs", "history"): Runs.history,
    ("runs", "compress"): Runs.compress,
    ("verify", "kernelbench"): rl.kernelbench,
    ("show", "fast_p"): rl.fast_p,
    ("runs", "every"): rl.runs,
    ("mcp", "http"): serve_http,
    ("estimate", "against"): Estimates.against,
    ("estimate", "out"): Estimates.error_table,
    ("report", "terminal"): rl.Run.overview,
}


def test_every_command_has_its_functions() -> None:
    assert FUNCTIONS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_a_command_are_parameters_of_its_functions(name: str) -> None:
    module, _, function = COMMANDS[name].place.partition(":")
    command = getattr(import_module(f"rooflift.cli.{module}"), function)
    hints = get_type_hints(command, include_extras=True)
    options = {option for option, hint in hints.items() if "OptionInfo" in repr(hint)} - PRINTED
    named = {parameter for one in FUNCTIONS[name] for parameter in inspect.signature(one).parameters}
    lacking = {one for one in options if not {one, OTHERWISE.get(one)} & named and (name, one) not in METHODS}
    lacking -= {"root"} if "self" in named else set()  # a method's object has it
    assert lacking == set()


def test_every_module_of_a_command_is_in_the_table() -> None:
    folder = Path(cli.__file__).parent
    commands = {path.stem for path in folder.glob("*.py") if path.read_text().startswith('"""`rooflift ')}
    assert commands == {entry.place.partition(":")[0] for entry in COMMANDS.values()}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_explains_it_and_its_options(rooflift: Rooflift, command: str) -> None:
    said = rooflift(command, "--help")
    assert said.code == 0
    assert f"rooflift {command}" in said.out
    assert ("--json" in said.out) == (command not in ("export", "mcp"))  # a module, and a server: no tables
    assert said.err == ""


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ([], {}),
        (["--help"], {}),
        ([], {"_ROOFLIFT_COMPLETE": "complete_bash", "COMP_WORDS": "rooflift ", "COMP_CWORD": "1"}),
    ],
    ids=["no words", "help", "completion of commands"],
)
def test_help_and_completion_import_no_command_and_nothing_heavy(words: list[str], environment: dict[str, str]) -> None:
    program = f"""
import atexit, sys
atexit.register(lambda: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr))
sys.argv[0] = "rooflift"
from rooflift.cli.main import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "profiling"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == "[]\n"
    for name in COMMANDS if words or environment else ("doctor", "profile"):
        assert name in ended.stdout


def test_without_words_it_says_where_to_begin(rooflift: Rooflift) -> None:
    said = rooflift()
    assert (said.code, said.err) == (0, "")
    assert said.out.count("\n  rooflift ") == 4


def test_completion_installs_for_a_shell(as_typed: Callable[..., Any], tmp_path: Path) -> None:
    process = as_typed(["--install-completion", "bash"], tmp_path, {"HOME": str(tmp_path)})
    said, err = process.communicate(timeout=30)
    assert process.returncode == 0, said + err
    assert "_ROOFLIFT_COMPLETE" in (tmp_path / ".bash_completions" / "rooflift.sh").read_text()


def test_version_is_that_of_the_package(rooflift: Rooflift) -> None:
    assert rooflift("--version") == (0, f"rooflift {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "wrong", "near"),
    [
        (["profil", "rms_norm"], "profil", "profile"),
        (["verify", "rms_norm", "--interprt"], "--interprt", "--interpret"),
        (["profile", "depthwise_conv"], "'depthwise_conv'", "Did you mean depthwise_conv2d,"),
        (["verify", "rms_norm", "-v", "v0_baselin"], "'v0_baselin'", "Did you mean v0_baseline?"),
        (["compile", "rms_norm", "-c", "mian"], "'mian'", "Did you mean main"),
        (["verify", "rms_norm", "-d", "float23"], "'float23'", "float32"),
        (["profile", "rms_norm", "--metrics", "basik"], "basik", "Did you mean basic?"),
        (["compile", "rms_norm", "-t", "77"], "77", "89"),
        (["compile", "rms_norm", "-t", "sm90a"], "sm90a", "sm_90"),
        (["show", "depthwise_conv"], "depthwise_conv: no such run", "Did you mean depthwise_conv2d"),
        (["show", "h100_rnu"], "h100_rnu", "Did you mean h100_run?"),
        (["verify", "rms_norm", "--timeout", "soon"], "--timeout", "valid number"),
    ],
    ids=["command", "option", "operator", "version", "case", "dtype", "set", "target", "form", "name", "run", "number"],
)
@pytest.mark.usefixtures("no_gpu")
def test_slip_of_the_pen_ends_with_2_and_the_near_name(
    rooflift: Rooflift, checkout: Path, project: Path, words: list[str], wrong: str, near: str
) -> None:
    said = rooflift(*words, folder=project if words[0] == "show" else checkout)
    assert said.code == 2
    assert wrong in said.err
    assert near in said.err
    assert "Traceback" not in said.err


def test_names_are_completed_from_the_project(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert (completion.operators("dep"), completion.operators("x")) == (["depthwise_conv2d"], [])
    assert (completion.runs("h1"), completion.runs("")) == (["h100_run"], ["h100_run", "depthwise_conv2d"])
    monkeypatch.chdir(tmp_path)
    assert completion.runs("") == []


@pytest.mark.parametrize(
    "words", [["runs"], ["show"], ["profile", "rms_norm"], ["verify", "rms_norm"], ["show", "rms_norm"]]
)
def test_outside_a_project_the_remedy_names_the_way_in(rooflift: Rooflift, tmp_path: Path, words: list[str]) -> None:
    said = rooflift(*words, folder=tmp_path)
    assert said.code == 2
    assert "no project here or above" in said.err
    assert "--root" in said.err
    assert "Traceback" not in said.err


def test_folder_that_does_not_exist_is_no_crash(rooflift: Rooflift) -> None:
    for command in ("doctor", "runs"):
        said = rooflift(command, "--root", "/nowhere/at/all")
        assert said.code == 2


@pytest.mark.parametrize("words", [["compare", "{}:v0", ":v1"], ["gate"]])
def test_operator_that_was_not_measured_is_told_so(rooflift: Rooflift, project: Path, words: Sequence[str]) -> None:
    shutil.rmtree(project / "reports")
    name = "depthwise_conv2d"
    said = rooflift(*(word.format(name) for word in (words if len(words) > 1 else [*words, name])), folder=project)
    assert said.code == 2
    assert "depthwise_conv2d has no run yet\n  `rooflift profile depthwise_conv2d` makes one" in said.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["verify", "nothing"], "CatalogError"),
        (["show", "nothing"], "RunFault"),
        (["show", "--suit"], "UsageError"),
        (["verify"], "UsageError"),
        (["show", "nothing.ncu-rep"], "ReportFault"),
        (["profile", "rms_norm", "--metrics", "all"], "CatalogError"),
    ],
)
def test_error_is_json_where_json_was_asked_for(rooflift: Rooflift, words: Sequence[str], error: str) -> None:
    said = rooflift(*words, "--json")
    found = json.loads(said.out)
    assert said.code == 2
    assert found["error"] == error
    assert found["message"] in said.err
    assert found["remedy"] in said.err or error == "UsageError"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["verify", "softmax", "v0"], "A version is an option: -v v0"),
        (["compare", "v0", "v1", "softmax"], "A version stands behind its run or operator: RUN:v0"),
    ],
)
def test_version_among_the_words_is_told_where_it_belongs(rooflift: Rooflift, words: list[str], hint: str) -> None:
    said = rooflift(*words)
    assert said.code == 2
    assert hint in said.err
