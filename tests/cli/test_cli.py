"""The commands as a user types them: what they print, what they write, and how each error ends."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rooflift import __version__
from rooflift.cli import main as cli
from rooflift.project.operator import Operator, load_operator, operator_names

COMMANDS = (
    "doctor",
    "list",
    "profile",
    "verify",
    "roofs",
    "compile",
    "show",
    "report",
    "lint",
    "compare",
    "gate",
    "verify-run",
)
HEAVY = {"torch", "triton", "pandas", "numpy", "matplotlib", "ncu_report", "pyarrow", "pynvml"}
SMALL_CASES = (Path(__file__).parents[1] / "fixtures" / "two_cases.toml").read_text()


Rooflift = Callable[..., Any]
MakeFamily = Callable[..., Operator]


@pytest.fixture
def project(tmp_path: Path, checkout: Path, h100_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two versions with one small test case and one run, on a machine without a GPU."""
    operator = tmp_path / "project" / "kernels" / "depthwise_conv2d"
    operator.mkdir(parents=True)
    for name in ("reference", "v0_baseline", "v1_grid"):
        shutil.copy(checkout / "kernels" / "depthwise_conv2d" / f"{name}.py", operator)
    (operator / "cases.toml").write_text(SMALL_CASES)
    shutil.copytree(h100_run, tmp_path / "project" / "reports" / "depthwise_conv2d" / "h100_run")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    return tmp_path / "project"


def listing(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_help_lists_the_commands_and_the_exit_codes(as_typed: Callable[..., Any], tmp_path: Path) -> None:
    said, err = (process := as_typed(["--help"], tmp_path, {})).communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    for command in COMMANDS:
        assert f" {command} " in said
    words = " ".join(said.split())
    assert (
        "0 fine, 1 `verify`, `verify-run`, `check` or `gate` found a fault or `compare` nothing comparable, 2 the work"
        in words
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_explains_it_and_its_options(rooflift: Rooflift, command: str) -> None:
    said = rooflift(command, "--help")
    assert said.code == 0
    assert f"rooflift {command}" in said.out
    assert "--json" in said.out
    assert said.err == ""


def test_help_is_fast_because_it_imports_nothing_heavy() -> None:
    program = f"import sys, rooflift.cli; print(sorted({HEAVY} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "profiling")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "[]\n"


def test_version_is_that_of_the_package(rooflift: Rooflift) -> None:
    assert rooflift("--version") == (0, f"rooflift {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "wrong", "near"),
    [
        (["profil", "rms_norm"], "profil", "profile"),
        (["verify", "rms_norm", "--interprt"], "--interprt", "--interpret"),
        (["profile", "depthwise_conv"], "'depthwise_conv'", "Did you mean depthwise_conv2d?"),
        (["verify", "rms_norm", "-v", "v0_baselin"], "'v0_baselin'", "Did you mean v0_baseline?"),
        (["compile", "rms_norm", "-c", "mian"], "'mian'", "Did you mean main"),
        (["verify", "rms_norm", "-d", "float23"], "'float23'", "float32"),
        (["profile", "rms_norm", "--metrics", "basik"], "basik", "Did you mean basic?"),
        (["compile", "rms_norm", "-t", "77"], "77", "89"),
        (["show", "h100_rnu"], "h100_rnu", "Did you mean h100_run?"),
        (["verify", "rms_norm", "--timeout", "soon"], "--timeout", "valid number"),
    ],
    ids=["command", "option", "operator", "version", "case", "dtype", "counters", "target", "run", "number"],
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


def test_list_names_families_versions_cases_and_runs(rooflift: Rooflift, checkout: Path, project: Path) -> None:
    found = {entry["operator"]: entry for entry in json.loads(rooflift("list", "--json").out)}
    assert list(found) == operator_names(checkout)
    for name, entry in found.items():
        operator = load_operator(checkout, name)
        assert [version["version"] for version in entry["versions"]] == [version.name for version in operator.versions]
        assert entry["cases"].keys() == operator.cases.keys()
    said = rooflift("list", folder=project)
    assert said.code == 0
    for word in ("depthwise_conv2d", "v1_grid", "cases: main, small", "runs:  h100_run"):
        assert word in said.out


def test_list_works_from_any_folder_of_the_project(rooflift: Rooflift, project: Path) -> None:
    below = rooflift("list", folder=project / "reports" / "depthwise_conv2d")
    assert below == rooflift("list", folder=project) == rooflift("list", "--root", project, folder=Path("/"))


def test_names_are_completed_from_the_project(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert (cli._operators("dep"), cli._operators("x")) == (["depthwise_conv2d"], [])
    assert (cli._runs("h1"), cli._runs("")) == (["h100_run"], ["h100_run", "depthwise_conv2d"])
    monkeypatch.chdir(tmp_path)
    assert cli._runs("") == []


@pytest.mark.usefixtures("no_gpu")
def test_doctor_says_what_is_missing_and_ends_with_2(rooflift: Rooflift) -> None:
    said = rooflift("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(said.out)}
    assert said.code == 2
    assert findings["gpu"]["status"] == "problem"
    assert "CUDA_VISIBLE_DEVICES" in findings["gpu"]["remedy"]
    assert "Unset CUDA_VISIBLE_DEVICES" in rooflift("doctor").out


def test_show_prints_the_table_of_a_run_and_where_it_was_measured(rooflift: Rooflift, h100_run: Path) -> None:
    said = rooflift("show", h100_run)
    assert said.code == 0
    for words in ("on NVIDIA H100 80GB HBM3", "v0_baseline", "2.015 ms", "v1_grid", "1.99x", "driver 580.159.04"):
        assert words in said.out


def test_show_finds_a_run_by_its_name_and_by_its_operator(rooflift: Rooflift, project: Path) -> None:
    by_operator = rooflift("show", "depthwise_conv2d", "--json", folder=project)
    assert by_operator.code == 0
    assert by_operator == rooflift("show", "h100_run", "--json", folder=project)
    summary = json.loads(by_operator.out)["summary"]
    assert [(row["version"], row["time_us"]) for row in summary] == [("v0_baseline", 2015.152), ("v1_grid", 1011.424)]


def test_show_needs_no_project_for_a_run_folder_that_somebody_sent(
    rooflift: Rooflift, h100_run: Path, tmp_path: Path
) -> None:
    said = rooflift("show", h100_run, folder=tmp_path)
    assert (said.code, said.err) == (0, "")


def test_show_prints_the_metrics_of_any_report(rooflift: Rooflift, h100_report: Path) -> None:
    said = rooflift("show", h100_report)
    assert said.code == 0
    for words in ("depthwise_conv2d_kernel, launch 0 (v0_baseline main float32)", "NVIDIA H100 80GB HBM3", "dram_pct"):
        assert words in said.out
    rows = json.loads(rooflift("show", h100_report, "--json").out)
    assert {row["version"] for row in rows} == {"v0_baseline", "v1_grid"}
    assert all((row["value"] is None) == bool(row["missing"]) for row in rows)


@pytest.mark.parametrize(
    "content", [None, b"", b"no report", b"\x00" * 4096], ids=["missing", "empty", "text", "zeros"]
)
def test_show_of_what_is_no_report_names_the_file(rooflift: Rooflift, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "odd.ncu-rep").write_bytes(content)
    said = rooflift("show", "odd.ncu-rep", folder=tmp_path)
    assert said.code == 2
    assert "odd.ncu-rep: " in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("manifest", "words"),
    [("", "run.json"), ('{"schema": 99}', "99"), ('{"schema": 1}', "run.json")],
    ids=["empty", "of another schema", "incomplete"],
)
def test_show_of_a_broken_run_says_what_is_wrong_with_it(
    rooflift: Rooflift, project: Path, manifest: str, words: str
) -> None:
    (project / "reports" / "depthwise_conv2d" / "h100_run" / "run.json").write_text(manifest)
    said = rooflift("show", "h100_run", folder=project)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_inspect_compiles_for_both_cards_without_spills(rooflift: Rooflift, project: Path) -> None:
    said = rooflift("compile", "depthwise_conv2d", "--json", folder=project)
    assert said.code == 0
    kernels = json.loads(said.out)
    assert {(kernel["version"], kernel["target"]) for kernel in kernels} == {
        (version, target) for version in ("v0_baseline", "v1_grid") for target in ("sm_89", "sm_90")
    }
    assert all(kernel["spill_instructions"] == kernel["stack_bytes"] == 0 < kernel["registers"] for kernel in kernels)


def test_inspect_of_a_family_without_cases_takes_the_shapes_of_its_own_inputs(
    rooflift: Rooflift, make_operator: MakeFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    said = rooflift("compile", "twice", "--json", "-t", "90", folder=make_operator(cases=None).folder)
    assert said.code == 0, said.err
    (kernel,) = json.loads(said.out)
    assert (kernel["kernel"], kernel["target"], kernel["case"], kernel["grid"]) == ("twice", "sm_90", "main", [1])
    tables = rooflift("compile", "twice", "-t", "90", folder=tmp_path / "project")
    assert tables.code == 0
    for words in ("v0_probe", "sm_90", "not run", "registers", "Instructions in the binary", "global load"):
        assert words in tables.out


@pytest.mark.usefixtures("no_gpu")
def test_verify_tells_where_it_checked_and_the_largest_error(rooflift: Rooflift, project: Path) -> None:
    said = rooflift("verify", "depthwise_conv2d", "-v", "v1", "--json", folder=project)
    assert said.code == 0
    found = json.loads(said.out)
    assert found["where"] == "Triton's interpreter"
    assert [(c["version"], c["case"], c["dtype"], c["seed"]) for c in found["checks"]] == [
        ("v1_grid", "small", "float32", seed) for seed in (0, 1)
    ]


@pytest.mark.usefixtures("no_gpu")
def test_verify_says_in_a_line_for_each_version_that_it_agrees(
    rooflift: Rooflift, make_operator: MakeFamily, version_text: Callable[..., str]
) -> None:
    said = rooflift("verify", "twice", folder=make_operator(version_text(), version_text()).folder)
    assert said.code == 0
    lines = said.out.splitlines()
    assert [line.split(",")[0] for line in lines[:2]] == [f"v{n}_probe: 2 comparisons agree" for n in range(2)]
    assert lines[2] == "Checked in Triton's interpreter."


@pytest.mark.usefixtures("no_gpu")
def test_verify_of_a_wrong_version_ends_with_1(
    rooflift: Rooflift, make_operator: MakeFamily, version_text: Callable[..., str]
) -> None:
    operator = make_operator(version_text(), version_text(store="tl.store(y_ptr + at, y + 1, mask=at < n)"))
    said = rooflift("verify", "twice", "--json", folder=operator.folder)
    assert said.code == 1
    error = json.loads(said.out)
    assert error["error"] == "WrongResult"
    assert error["message"].startswith("v1_probe on small float32")
    assert "v1_probe on small float32" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_verify_of_a_family_without_test_cases_does_not_call_it_checked(
    rooflift: Rooflift, make_operator: MakeFamily
) -> None:
    said = rooflift("verify", "twice", folder=make_operator(cases=None).folder)
    assert said.code != 0
    assert "Checked" not in said.out
    assert "case" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_profile_without_a_gpu_tells_the_newest_run_again(
    rooflift: Rooflift, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as on a user's machine
    before = listing(project)
    said = rooflift("profile", "depthwise_conv2d", folder=project)
    assert said.code == 0
    assert "No NVIDIA GPU" in said.err
    for words in (
        *("on NVIDIA H100 80GB HBM3", "2.015 ms", "1.011 ms", "issue slots", "measured on NVIDIA H100 80GB HBM3"),
        *("Compiled here for sm_89 (RTX 4090) and sm_90 (H100)", "2 comparisons with the reference in float64 agree"),
    ):
        assert words in said.out
    after = listing(project)
    made = {name for name in after if name not in before}
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert {name.removeprefix("build/depthwise_conv2d/h100_run/") for name in made} == {
        *("report.md", "roofline.svg", "roofline.png", "metrics.svg", "metrics.png", "stalls.svg", "stalls.png")
    }


@pytest.mark.usefixtures("no_gpu")
def test_profile_without_a_gpu_and_without_a_run_checks_what_it_can_and_ends_with_2(
    rooflift: Rooflift, project: Path
) -> None:
    shutil.rmtree(project / "reports")
    before = listing(project)
    said = rooflift("profile", "depthwise_conv2d", "-v", "v0", "--json", folder=project)
    assert said.code == 2
    assert "depthwise_conv2d has no run yet" in said.err
    assert "Traceback" not in said.err
    assert listing(project) == before
    found = json.loads(said.out)  # one document, not two
    assert "no run yet" in found["message"]
    assert found["remedy"]
    assert "checking v0_baseline on small float32" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_profile_without_a_gpu_does_not_write_into_a_folder_that_exists(rooflift: Rooflift, project: Path) -> None:
    """A run folder, say: what was measured stays what it was."""
    before = listing(project)
    said = rooflift("profile", "depthwise_conv2d", "--out", "reports/depthwise_conv2d/h100_run", folder=project)
    assert listing(project) == before
    assert said.code == 2


@pytest.mark.usefixtures("no_gpu")
def test_profile_into_a_folder_that_cannot_be_made_is_no_crash(rooflift: Rooflift, project: Path) -> None:
    (project / "file").touch()
    said = rooflift("profile", "depthwise_conv2d", "--out", "file/run", folder=project)
    assert said.code == 2
    assert "file/run" in said.err


@pytest.mark.usefixtures("no_gpu")
def test_profile_refuses_a_run_whose_report_and_table_disagree(rooflift: Rooflift, project: Path) -> None:
    table = project / "reports" / "depthwise_conv2d" / "h100_run" / "metrics.csv"
    text = table.read_text()
    assert ",grid_size,1040400.0," in text
    table.write_text(text.replace(",grid_size,1040400.0,", ",grid_size,1040401.0,"))
    said = rooflift("profile", "depthwise_conv2d", folder=project)
    assert said.code == 2
    assert "v0_baseline grid_size is 1040400.0 in the report and 1040401.0 in the table" in said.err


@pytest.mark.parametrize("words", [["list"], ["profile", "rms_norm"], ["verify", "rms_norm"], ["show", "rms_norm"]])
def test_outside_a_project_the_remedy_names_the_way_in(rooflift: Rooflift, tmp_path: Path, words: list[str]) -> None:
    said = rooflift(*words, folder=tmp_path)
    assert said.code == 2
    assert "no kernels/ here or above" in said.err
    assert "--root" in said.err
    assert "Traceback" not in said.err


def test_folder_that_does_not_exist_is_no_crash(rooflift: Rooflift) -> None:
    for command in ("doctor", "list"):
        said = rooflift(command, "--root", "/nowhere/at/all")
        assert said.code == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["verify", "nothing"], "CatalogError"),
        (["show", "nothing"], "RunFault"),
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
    assert found["remedy"] in said.err


@pytest.mark.parametrize(
    ("sent", "codes"), [(signal.SIGINT, {130}), (signal.SIGTERM, {143, 130, -15})], ids=["Ctrl-C", "kill"]
)
def test_stopped_verify_leaves_no_process_behind(
    as_typed: Callable[..., Any],
    make_operator: MakeFamily,
    version_text: Callable[..., str],
    tmp_path: Path,
    ends: Callable[[int], bool],
    sent: signal.Signals,
    codes: set[int],
) -> None:
    """Two processes, each with a part of the cases; both hang."""
    note = f"pathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()"
    hang = version_text(top=f"import os, pathlib, time; {note}; time.sleep(600)")
    case = 'main = { init = {}, inputs = [[4, 8]], use = ["bench", "test"] }'  # in three dtypes
    operator = make_operator(hang, hang, cases=case)
    process = as_typed(["verify", "twice", "--interpret"], operator.folder, {"CUDA_VISIBLE_DEVICES": ""})
    deadline = time.monotonic() + 30
    while len(children := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2
    process.send_signal(sent)
    try:
        _, err = process.communicate(timeout=10)
        assert process.returncode in codes
        assert "Traceback" not in err
        assert all(map(ends, children))
    finally:
        process.kill()
        for child in children:
            if not ends(child, 0.1):
                subprocess.run(["kill", "-KILL", str(child)], check=False)
        process.communicate()
