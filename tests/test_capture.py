"""`capture` with stand-ins for CUPTI, NVTX and ncu: a program runs twice, and what the second run recorded is a run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rooflift.errors import CatalogError
from rooflift.ncu.capture import capture_command, function_name, kernel_pattern, split_launcher
from rooflift.region import region
from rooflift.runs.find import find_runs
from rooflift.runs.run import read_run

FIXTURES = Path(__file__).parent / "fixtures"
STAND_INS = FIXTURES / "capture"
REFUSED = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters"
ADD = "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_15CUDAFunctor_addIfEEEEviT0_"
PROGRAM = f"""
from cupti.cupti import launch
for _ in range(6):
    launch("softmax", 9000)
    launch("{ADD}", 4000)
launch("set_up", 500)
"""
LADDER = """
import rooflift as rl
from cupti.cupti import launch
launch("warm_up", 10**6)
for version, ns in (("v0", 900), ("v1", 500)):
    with rl.region(version, case="large", dtype="float16"):
        launch("softmax", ns)
"""
Rooflift = Callable[..., Any]


class Place:
    """A folder with a program, and what its stand-ins wrote down."""

    def __init__(self, folder: Path, rooflift: Rooflift) -> None:
        self.folder, self.rooflift = folder, rooflift
        self.seen = folder / "ncu.seen"

    def program(self, text: str, name: str = "train.py") -> str:
        (self.folder / name).write_text(text)
        return name

    def capture(self, *words: str | Path) -> Any:
        return self.rooflift("capture", *words, folder=self.folder)

    @property
    def commands(self) -> list[list[str]]:
        return [line.split("\0") for line in self.seen.read_text().splitlines()] if self.seen.exists() else []

    @property
    def runs(self) -> list[Path]:
        return find_runs(self.folder / "reports")


@pytest.fixture
def place(tmp_path: Path, rooflift: Rooflift, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, rooflift)
    source = Path(sys.modules["rooflift"].__path__[0]).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [STAND_INS, source])))
    monkeypatch.setenv("ROOFLIFT_NCU", str(STAND_INS / "ncu"))
    monkeypatch.setenv("NCU_SEEN", str(place.seen))
    monkeypatch.setenv("NCU_REPORT", str(FIXTURES / "h100_flat_depthwise.ncu-rep"))
    return place


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_kernels_that_take_the_time_are_recorded_and_become_a_run(place: Place) -> None:
    said = place.capture("--top", "2", "--", sys.executable, place.program(PROGRAM), "--lr", "3")
    assert said.code == 0, said.err
    (command,) = place.commands
    assert command[-3:] == [sys.executable, "train.py", "--lr", "3"][-3:]
    assert (after(command, "--clock-control"), after(command, "--target-processes")) == ("none", "all")
    assert after(command, "--graph-profiling") == "node"
    assert after(command, "--kernel-name-base") == "function"
    _, _, operator, pattern, which = after(command, "--kernel-id").split(":")
    assert (operator, which) == ("regex", "^(2|3|4)$")  # the first launch is a warm-up
    names = ("softmax", "vectorized_elementwise_kernel", "set_up", "log_softmax", "softmax_2")
    assert [bool(re.search(pattern, name)) for name in names] == [True, True, False, False, False]
    (folder,) = place.runs
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-train", folder.name)
    run = read_run(folder)
    assert [version.version for version in run.manifest.versions] == ["v0_depthwise_conv2d_kernel"]
    assert "First run, by CUPTI: 3 kernels; the 2 asked for take 99 % of their time." in run.manifest.notes[2]
    assert run.manifest.ncu_command[0] == "ncu"
    assert str(place.folder) not in " ".join(run.manifest.ncu_command)
    assert "vectorized_elementwise_kernel<4, CUDAFunctor_add<float>>" in said.out
    assert not (place.folder / "trace").exists()
    assert "no such launch of softmax, vectorized_elementwise_kernel<4, CUDAFunctor_add" in " ".join(said.out.split())


def test_kernel_counts_as_recorded_when_a_report_has_it(place: Place) -> None:
    said = place.capture(
        "--json", "--", sys.executable, place.program(PROGRAM + "launch('depthwise_conv2d_kernel', 5)")
    )
    kernels = {kernel["kernel"]: kernel["recorded"] for kernel in json.loads(said.out)["kernels"]}
    assert (kernels["softmax"], kernels["depthwise_conv2d_kernel"]) == (False, True)


def test_instances_of_a_template_are_told_apart_by_their_demangled_names(place: Place) -> None:
    other = ADD.replace("CUDAFunctor_add", "BUnaryFunctor_m")
    program = place.program(PROGRAM + f"launch('{other}', 10)")
    assert place.capture("--top", "2", "--", sys.executable, program).code == 0
    (command,) = place.commands
    assert after(command, "--kernel-name-base") == "demangled"
    pattern = after(command, "--kernel-id").split(":")[3]
    recorded = "void at::native::vectorized_elementwise_kernel<(int)4, at::native::CUDAFunctor_add<float>>(int, T2)"
    names = ("softmax", recorded, recorded.replace("CUDAFunctor_add", "BUnaryFunctor_m"), "log_softmax")
    assert [bool(re.search(pattern, name)) for name in names] == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "which"),
    [
        pytest.param("for n in range(6): launch('k', 9, grid=n + 1)", "^(1|2|3)$", id="a grid each"),
        pytest.param("for n in range(6): launch('k', 9, grid=8 + n // 5)", "^(2|3|4)$", id="one grid often"),
        pytest.param(
            "import subprocess, sys\none = 'from cupti.cupti import launch; launch(\"k\", 9)'\n"
            "for _ in range(6): subprocess.run([sys.executable, '-c', one], check=True)",
            "^(1|2|3)$",
            id="a process each",
        ),
    ],
)
def test_launches_are_numbered_as_ncu_counts_them(place: Place, text: str, which: str) -> None:
    program = place.program(f"from cupti.cupti import launch\n{text}\n")
    assert place.capture("--", sys.executable, program).code == 0
    assert after(place.commands[0], "--kernel-id") == f"::regex:^k$:{which}"


def test_graph_that_is_taken_whole_is_asked_for_by_its_name(place: Place) -> None:
    assert place.capture("--graphs", "graph", "--", sys.executable, place.program(PROGRAM)).code == 0
    assert "^graph$" in after(place.commands[0], "--kernel-id")


@pytest.mark.parametrize("report", ["h100_flat_depthwise.ncu-rep", "h100_run/ncu/depthwise_conv2d.ncu-rep"])
def test_function_is_called_as_in_reports_of_ncu(report: str) -> None:
    ncu_report = pytest.importorskip("ncu_report")
    loaded = ncu_report.load_report(str(FIXTURES / report))
    for action in (action for part in loaded for action in part):
        assert function_name(action.name(action.NameBase_DEMANGLED)) == action.name(action.NameBase_FUNCTION)


def test_second_capture_of_a_program_stands_beside_the_first(place: Place) -> None:
    program = place.program(PROGRAM)
    for _ in range(2):
        assert place.capture("--", sys.executable, program).code == 0
    first, second = sorted(folder.name for folder in place.runs)
    assert second == f"{first}-2"


def test_regular_expression_takes_other_kernels(place: Place) -> None:
    program = place.program(PROGRAM)
    assert place.capture("--kernel", "set_.p", "--", sys.executable, program).code == 0
    assert after(place.commands[0], "--kernel-id").endswith(":^(1|2|3)$")  # it was launched once
    said = place.capture("--kernel", "gemm", "--", sys.executable, program)
    assert (said.code, len(place.commands)) == (2, 1)
    assert "no kernel's name has 'gemm' in it" in said.err
    assert "softmax" in said.err


def test_regions_of_a_script_become_a_ladder(place: Place, h100_report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCU_REPORT", str(h100_report))  # its launches stand in ranges as `region` makes them
    monkeypatch.setenv("NVTX_SEEN", str(place.folder / "nvtx"))
    said = place.capture("--", sys.executable, place.program(LADDER), "--out", "x")
    assert said.code == 0, said.err
    (command,) = place.commands
    assert after(command, "--nvtx-include") == "rooflift/"
    assert "--kernel-id" not in command
    marks = (place.folder / "nvtx").read_text().splitlines()
    assert marks[len(marks) // 2 :] == [
        *("push rooflift", "push v0|large|float16", "pop", "pop"),
        *("push rooflift", "push v1|large|float16", "pop", "pop"),
    ]
    assert "warm_up" not in said.out
    (folder,) = place.runs
    run = read_run(folder)
    assert [version.version for version in run.manifest.versions] == ["v0_baseline", "v1_grid"]
    assert set(run.timings["provider"]) == {"v0_baseline", "v1_grid"}  # by ncu's durations
    compared = place.rooflift("compare", f"{folder}:v0_baseline", f"{folder}:v1_grid")
    assert "1.9" in compared.out


@pytest.mark.parametrize("missing", ["counters", "ncu"])
def test_without_counters_the_run_holds_durations_and_says_so(
    place: Place, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "counters":
        monkeypatch.setenv("NCU_SAYS", REFUSED)
    else:
        monkeypatch.setenv("ROOFLIFT_NCU", "/nowhere/ncu")
    said = place.capture("--top", "2", "--", sys.executable, place.program(PROGRAM))
    assert said.code == 0, said.err
    assert "No metrics: ncu " in said.out
    (folder,) = place.runs
    run = read_run(folder)
    times = dict(zip(run.timings["provider"], run.timings["median_us"], strict=True))
    assert times == {"v0_softmax": 9.0, "v1_vectorized_elementwise_kernel_4_cudafunc": 4.0}
    durations = run.metrics[run.metrics["metric"] == "ncu_time_ns"]
    assert set(durations["ncu_name"]) == {"cupti__kernel_duration"}
    assert any("by CUPTI's activity records" in note for note in run.manifest.notes)
    assert not any("under ncu" in note for note in run.manifest.notes)


def test_without_counters_regions_are_a_ladder_of_durations(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCU_SAYS", REFUSED)
    assert place.capture("--", sys.executable, place.program(LADDER)).code == 0
    run = read_run(place.runs[0])
    assert dict(zip(run.timings["provider"], run.timings["median_us"], strict=True)) == {"v0": 0.9, "v1": 0.5}
    assert set(run.timings["case"]) == {"large"}


def test_program_without_python_is_timed_by_one_pass_of_ncu(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCU_DURATIONS", str(FIXTURES / "h100_flat_depthwise.ncu-rep"))
    said = place.capture("--", "/bin/true")
    assert said.code == 0, said.err
    first, second = place.commands
    assert after(first, "--metrics").startswith("gpu__time_duration.sum,")
    assert "depthwise_conv2d_kernel" in after(second, "--kernel-id")
    assert "First run, by ncu, one pass: 1 kernels" in said.out


def test_program_without_kernels_and_without_ncu_is_told_both(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOFLIFT_NCU", "/nowhere/ncu")
    said = place.capture("--", sys.executable, place.program("print('no GPU here')"))
    assert said.code == 2
    assert "no kernel was seen in the program, and ncu is not here" in said.err
    assert place.runs == []


@pytest.mark.parametrize("replay", ["application", "range", "app-range"])
def test_other_replays_ask_for_what_they_can_measure(place: Place, replay: str) -> None:
    assert place.capture("--replay", replay, "--", sys.executable, place.program(PROGRAM)).code == 0
    (command,) = place.commands
    assert after(command, "--replay-mode") == replay
    is_range = replay != "application"
    assert ("--kernel-id" in command) != is_range
    assert any(name.startswith("launch__") for name in after(command, "--metrics").split(",")) != is_range


def test_each_rank_has_a_report_and_a_run(place: Place) -> None:
    launcher = place.folder / "torchrun"
    launcher.write_text('#!/bin/sh\nshift 2\n[ "$1" = --no-python ] && shift || set -- PYTHON "$@"\n'
                        'for rank in 0 1; do RANK=$rank "$@"; done\n'.replace("PYTHON", sys.executable))  # fmt: skip
    launcher.chmod(0o755)
    said = place.capture(
        "--", launcher, "--nproc-per-node", "2", place.program(PROGRAM + 'launch("ncclAllReduce", 10**6)')
    )
    assert said.code == 0, said.err
    reports = {after(command, "--export").rpartition("/")[2] for command in place.commands}
    assert (len(place.commands), reports) == (2, {"report.%q{RANK}.ncu-rep"})
    assert sorted(folder.name[-5:] for folder in place.runs) == ["rank0", "rank1"]
    assert "nccl" not in after(place.commands[0], "--kernel-id")  # a collective waits for the other rank


def test_child_processes_are_seen(place: Place) -> None:
    place.program(PROGRAM, "child.py")
    parent = place.program("import subprocess, sys; subprocess.run([sys.executable, 'child.py'], check=True)")
    said = place.capture("--json", "--", sys.executable, parent)
    assert {kernel["kernel"] for kernel in json.loads(said.out)["kernels"]} >= {"softmax", "set_up"}


def test_program_that_fails_ends_with_its_words(place: Place) -> None:
    said = place.capture("--", sys.executable, place.program("raise SystemExit('no data set')"))
    assert (said.code, place.commands) == (2, [])
    assert "ended with code 1\nno data set" in said.err
    assert place.capture("--", "no-such-program").code == 2
    assert place.runs == []


def test_tracer_leaves_a_programs_own_sitecustomize_in_force(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    own = place.folder / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins\nbuiltins.mine = 'set'\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(own), os.environ["PYTHONPATH"]]))
    said = place.capture("--", sys.executable, place.program(PROGRAM + "assert mine == 'set'\n"))
    assert said.code == 0, said.err


def test_torchs_profiler_records_where_cupti_python_is_missing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"].replace(str(STAND_INS), f"{STAND_INS}_torch"))
    monkeypatch.setenv("NCU_SAYS", REFUSED)
    text = "import torch\ntorch.wake()\ntorch.profiler.launch('gelu', 7.5)\n"
    said = place.capture("--", sys.executable, place.program(text))
    assert said.code == 0, said.err
    assert "First run, by torch.profiler: 1 kernels" in said.out
    metrics = read_run(place.runs[0]).metrics.set_index("metric")["value"]
    assert (metrics["ncu_time_ns"], metrics["grid_size"], metrics["block_size"]) == (7500, 8, 128)


@pytest.mark.parametrize(
    ("words", "before", "behind"),
    [
        ("python train.py", "", "python train.py"),
        ("torchrun --standalone -m pkg.train -m x", "torchrun --standalone --no-python", "python -m pkg.train -m x"),
        (
            "python -m torch.distributed.run --nnodes 1 a.py",
            "python -m torch.distributed.run --nnodes 1 --no-python",
            "python a.py",
        ),
        ("srun -n 2 ./app --size 3", "srun -n 2", "./app --size 3"),
        ("accelerate launch --no_python {ncu} python a.py", "accelerate launch --no_python", "python a.py"),
    ],
)
def test_ncu_goes_between_a_launcher_and_its_program(words: str, before: str, behind: str) -> None:
    first, second, variable = split_launcher(words.split())
    assert (" ".join(first), " ".join(second)) == (before, behind)
    assert bool(variable) == bool(before)


def test_launcher_whose_program_cannot_be_told_is_refused_with_the_remedy() -> None:
    with pytest.raises(CatalogError, match=r"\{ncu\}"):
        split_launcher(["mpirun", "-np", "2", "app"])


@pytest.mark.parametrize(
    ("traced", "recorded", "other"),
    [
        (
            "void gemm::warptiling<128, 64, true>(int, float const*)",
            "void gemm::warptiling<(int)128, (int)64, (bool)1>(int, const float *)",
            "void gemm::warptiling<(int)64, (int)64, (bool)1>(int, const float *)",
        ),
        ("triton_poi_fused_0", "triton_poi_fused_0", "triton_poi_fused_01"),
        ("void at::native::<unnamed>::f<4>(int)", "void at::native::<unnamed>::f<(int)4>(int)", "void f2<(int)4>(int)"),
        (
            "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, __half>(Params<int>)",
            "std::enable_if<!(T7), void>::type internal::gemvx::kernel<int, __half>(T13)",
            "std::enable_if<!(T7), void>::type internal::gemvx::kernel<int, float>(T13)",
        ),
        (
            "__main__::mul[abi:v1,cw51](Array<float>)",
            "__main__::mul[abi:v1,cw51](Array<float>)",
            "__main__::mul2[abi:v1]()",
        ),
        (
            "void at::native::elementwise_kernel<4, at::native::FillFunctor<float>, std::array<char*, 1ul> >(int)",
            (
                "void at::native::elementwise_kernel<(int)4, at::native::FillFunctor<float>, "
                "std::array<char *, (unsigned long)1>>(int, T2, T3)"
            ),
            "void at::native::elementwise_kernel<(int)4, at::native::CUDAFunctor_add<float>>(int, T2, T3)",
        ),
    ],
)
def test_kernel_is_found_however_its_name_is_demangled(traced: str, recorded: str, other: str) -> None:
    pattern = kernel_pattern(traced)
    assert ":" not in pattern  # it parts the fields of --kernel-id
    assert re.search(pattern, traced)
    assert re.search(pattern, recorded)
    assert not re.search(pattern, other)


def test_command_of_a_full_set_asks_for_it() -> None:
    words = capture_command("ncu", ["app"], "r", "full", regions=True)
    assert after(words, "--set") == "full"
    assert words[-1] == "app"


def test_region_outside_of_a_profiler_costs_nothing_and_refuses_odd_names() -> None:
    with region("v1"):
        pass
    with pytest.raises(CatalogError, match="is no name"), region("v1|main"):
        pass


def test_region_under_ncu_needs_nvtx() -> None:
    text = "import rooflift as rl\nwith rl.region('v0'): pass\n"
    environment = {**os.environ, "ROOFLIFT_UNDER_NCU": "1"}
    ended = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=False)
    assert "pip install nvtx" in ended.stderr
