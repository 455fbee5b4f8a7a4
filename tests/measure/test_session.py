"""A measurement with stand-ins for ncu and the GPU: a whole run folder, or a fault and nothing left."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from rooflift import pipeline, rerender
from rooflift.errors import CounterPermission, KernelFault, NcuFault, ReportFault, RoofliftError, RunFault, WrongResult
from rooflift.measure import checking, children, environment, sanitizer
from rooflift.measure.checkpoint import record
from rooflift.measure.request import Request, in_dtypes
from rooflift.ncu.report import read_reports
from rooflift.pipeline import Rendered
from rooflift.project.cases import Case
from rooflift.project.operator import load_operator
from rooflift.runs import redact
from rooflift.runs.find import find_runs
from rooflift.runs.run import Run, read_run
from rooflift.schema import (
    CompiledKernel,
    GpuState,
    MeasureOptions,
    ResolvedCase,
    Sampling,
    SanitizerRecord,
)
from rooflift.worker import protocol
from rooflift.worker.protocol import FAR, Mismatch, worker_command

REFUSED = "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU Performance Counters"
# the request that the run of the fixtures answers
PROFILE = ("profile", "depthwise_conv2d", *("-v", "v0", "-v", "v1", "-c", "main", "-d", "float32"))
NCU = (Path(__file__).parents[1] / "fixtures" / "stand_in_ncu.sh").read_text()
PROFILED = """
echo '==PROF== Profiling "depthwise_conv2d_kernel" - 0: 0%....50%....100% - 9 passes'
cp {report} "$report"
"""
GET_READY_TO_DRAW, DRAW = pipeline._get_ready_to_draw, pipeline.draw
SAMPLING = Sampling(seed=7, samples=50, precision=None, budget_s=3)
# a process that stays until somebody ends it, and leaves its number
STAY = f"{shlex.quote(sys.executable)} -c 'import time; time.sleep(600)' & echo $! > {{pid}}; wait"


def kernel(version: str, case: ResolvedCase) -> CompiledKernel:
    """What a child that compiles might say of a version's only kernel."""
    return CompiledKernel(
        version=version,
        case=case.case,
        dtype=case.dtype,
        target="sm_90",
        kernel="depthwise_conv2d_kernel",
        launch=0,
        config="",
        grid=(4, 128, 1024),
        num_warps=4,
        registers=40,
        stack_bytes=0,
        spill_instructions=0,
        shared_bytes=0,
        code_sha256="c0de",
        sass={"global load": 9},
        opcodes={"LDG.E": 9},
        occupancy_pct=75.0,
        occupancy_limit="registers",
    )


class Stand:
    """Stand-ins for the target program and ncu; each runs a line of shell, in the folder in which it is started."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.pid = folder, folder / "pid"
        self.stay = STAY.format(pid=shlex.quote(str(self.pid)))
        self.programs = {task: f"cat {self.file(task, told)}" for task, told in self.events(run).items()}

    def events(self, run: Run) -> dict[str, list[protocol.Event]]:
        """Return what the two programs say in a measurement like the one of `run`."""
        manifest = run.manifest
        (case,) = manifest.cases
        parts = {field: getattr(manifest.machine, field) for field in protocol.Device.__struct_fields__}
        samples = run.samples.groupby("provider", sort=False)
        checks = [protocol.Checked(check) for check in manifest.checks]
        times = [
            protocol.Samples(str(name), 0, case.case, case.dtype, own["time_us"].to_list(), own["position"].to_list())
            for name, own in samples
        ]
        compiled = [protocol.Compiled(kernel(version.version, case)) for version in manifest.versions]
        return {
            "time": [protocol.Device(**parts), *checks, *times, protocol.Resolved(case)],
            "profile": list(checks),
            "compile": list(compiled),
        }

    def file(self, name: str, told: Iterable[protocol.Event]) -> Path:
        path = self.folder / f"{name}.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in told))
        return path

    def worker_command(self, task: protocol.Task, part: str = protocol.WHOLE) -> list[str]:
        return ["/bin/sh", "-c", self.programs[task]] if task in self.programs else worker_command(task, part)

    def ncu(self, body: str) -> Path:
        path = self.folder / "ncu"
        path.write_text(NCU + body)
        path.chmod(0o755)
        return path


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, h100_run: Path, h100_report: Path) -> Stand:
    """A machine with an H100 and an ncu that makes the report of the fixtures; nothing is drawn."""
    folder = tmp_path / "stand"
    folder.mkdir()
    stand = Stand(folder, read_run(h100_run))
    monkeypatch.setattr(protocol, "worker_command", stand.worker_command)
    monkeypatch.setattr(environment, "driver", lambda: environment.Driver("580.1", ["NVIDIA H100 80GB HBM3"]))
    monkeypatch.setenv("ROOFLIFT_NCU", str(stand.ncu(PROFILED.format(report=shlex.quote(str(h100_report))))))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "staging"))
    (folder / "staging").mkdir()
    monkeypatch.setattr(pipeline, "_get_ready_to_draw", lambda: None)
    monkeypatch.setattr(pipeline, "draw", lambda *_: [])
    return stand


@pytest.fixture
def draws(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the measurement draw, after all."""
    monkeypatch.setattr(pipeline, "_get_ready_to_draw", GET_READY_TO_DRAW)
    monkeypatch.setattr(pipeline, "draw", DRAW)


@pytest.fixture
def request_(checkout: Path, tmp_path: Path, ask: Callable[..., Request]) -> Request:
    """The request that the run of the fixtures answers, in a project of its own."""
    operator = load_operator(checkout, "depthwise_conv2d")
    main = replace(operator, cases={"main": operator.cases["main"]})
    return replace(ask(main, "v0", "v1", use="bench", root=tmp_path / "project"), dtypes=["float32"])


def profile(request: Request, out: Path | None = None, said: list[str] | None = None) -> Rendered:
    return pipeline.profile(request, out, [].append if said is None else said.append)


def refusal(request: Request, fault: type[RoofliftError], stand: Stand) -> RoofliftError:
    """Return the fault with which a measurement ends, having left nothing and nobody behind."""
    with pytest.raises(fault) as caught:
        profile(request)
    assert type(caught.value) is fault
    assert [path for path in request.root.rglob("*") if path.is_file()] == []
    assert list(request.root.rglob(".writing-*")) == []
    assert list((stand.folder / "staging").iterdir()) == []
    return caught.value


@pytest.mark.usefixtures("draws")
def test_measurement_leaves_a_whole_run_folder(stand: Stand, request_: Request, h100_run: Path) -> None:
    said: list[str] = []
    told = profile(request_, said=said)
    assert told.folder.parent == request_.root / "reports" / "depthwise_conv2d"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-h100-nocommit", told.folder.name)
    assert [path.name for path in told.folder.parent.iterdir()] == [told.folder.name]  # no folder that is being written
    names = {path.relative_to(told.folder).as_posix() for path in told.folder.rglob("*") if path.is_file()}
    figures = {f"{name}.svg" for name in ("roofline", "bottleneck", "progress", "stalls")}
    tables = {"run.json", "metrics.csv", "timings.csv", "samples.parquet", "report.md"}
    assert names == tables | figures | {"ncu/depthwise_conv2d.ncu-rep"}
    assert list((stand.folder / "staging").iterdir()) == []
    assert "ncu recorded depthwise_conv2d_kernel in 9 passes" in said

    run, measured = read_run(told.folder), read_run(h100_run)
    assert rerender.disagreement(read_reports(run.reports, run.folder), run.metrics) == ""
    known = run.metrics["metric"].isin(measured.metrics["metric"])  # metrics came to the registry since that run
    pd.testing.assert_frame_equal(
        run.metrics[known].sort_values(["version", "metric"]).reset_index(drop=True),
        measured.metrics.assign(source="ncu/depthwise_conv2d.ncu-rep")
        .sort_values(["version", "metric"])
        .reset_index(drop=True),
        check_dtype=False,
    )
    assert run.manifest.checks == measured.manifest.checks
    assert run.manifest.cases == measured.manifest.cases
    assert run.manifest.machine == msgspec.structs.replace(measured.manifest.machine, driver="580.1")
    program = measured.manifest.ncu_command.index("python")
    ours, theirs = (one.manifest.ncu_command[:program] for one in (run, measured))
    metrics = theirs.index("--metrics") + 1
    assert set(ours.pop(metrics).split(",")) >= set(theirs.pop(metrics).split(","))
    assert ours == theirs
    assert run.manifest.ncu_command[program:] == ["python", "-c", stand.programs["profile"]]
    assert run.manifest.name == told.folder.name
    assert (run.manifest.commit, run.manifest.dirty) == (None, False)
    pd.testing.assert_frame_equal(run.samples, measured.samples, check_dtype=False)
    assert "1.99x" in (told.folder / "report.md").read_text()


def test_measurement_that_was_stopped_before_its_folder_was_whole_is_resumed(
    stand: Stand, request_: Request, h100_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_report", stop)
        with pytest.raises(KeyboardInterrupt):
            profile(request_)
    assert find_runs(request_.root / "reports") == []
    stand.programs["time"] = "exit 1"  # neither is started again
    ncu = stand.folder / "ncu"
    written_ns = ncu.stat().st_mtime_ns
    stand.ncu("exit 1")
    os.utime(ncu, ns=(written_ns, written_ns))  # another ncu would be another request
    told = profile(request_)
    assert told.resumed.startswith("Resumed an interrupted measurement: times, metrics of 20")
    run = read_run(told.folder)
    assert told.resumed in run.manifest.notes
    pd.testing.assert_frame_equal(run.samples, read_run(h100_run).samples, check_dtype=False)
    assert not (request_.root / "build").exists()


def test_command_prints_the_table_and_what_it_wrote(
    stand: Stand, rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    words = (*PROFILE, "--out", tmp_path / "run")
    said = rooflift(*words, folder=checkout)
    assert said.code == 0, said.err
    for part in (
        "2.015 ms",
        "1.011 ms",
        "Bottleneck of v1_grid: Issue Slots (",
        "time_x 0.40..0.55: measured 0.502, hit",
    ):
        assert part in said.out
    assert f"Wrote {tmp_path / 'run'} (" in said.out
    assert "ncu recorded depthwise_conv2d_kernel in 9 passes" in said.err
    assert read_run(tmp_path / "run").manifest.command == [
        *("rooflift", "profile", "depthwise_conv2d"),
        *("--version", "v0", "--version", "v1", "--case", "main", "--dtype", "float32", "--metrics", "standard"),
    ]
    again = rooflift(*words, folder=checkout)
    assert again.code == 2
    assert "exists" in again.err


def test_command_that_is_refused_the_counters_ends_with_2(
    stand: Stand, rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    stand.ncu(f"echo '{REFUSED}'; exit 1")
    said = rooflift(*PROFILE, "--out", tmp_path / "run", folder=checkout)
    assert said.code == 2
    assert "--metrics none" in said.err
    assert not (tmp_path / "run").exists()


def test_quantiles_are_those_of_the_samples(stand: Stand, request_: Request) -> None:
    run = read_run(profile(replace(request_, metric_set="none")).folder)
    times = run.samples.groupby("provider")["time_us"]
    table = run.timings.set_index("provider")
    for column, expected in (
        *(("n", times.count()), ("median_us", times.median()), ("min_us", times.min())),
        *(("q20_us", times.quantile(0.2)), ("q80_us", times.quantile(0.8))),
    ):
        assert table[column].to_dict() == pytest.approx(expected.to_dict(), abs=6e-4), column


def test_run_without_counters_needs_no_ncu_and_says_so(
    stand: Stand, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOFLIFT_NCU", "/nowhere/ncu")
    del stand.programs["compile"]  # a real child says what is compiled
    told = profile(replace(request_, metric_set="none"))
    run = read_run(told.folder)
    assert not (told.folder / "metrics.csv").exists()
    assert run.reports == []
    assert (run.manifest.metric_set, run.manifest.machine.ncu, run.manifest.ncu_command) == ("none", None, [])
    assert any("No metrics" in note for note in run.manifest.notes)
    assert set(run.compiled["target"]) == {"sm_90"}
    assert set(run.compiled["version"]) == {"v0_baseline", "v1_grid"}


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch, stand: Stand, h100_report: Path) -> dict[str, str]:
    """The names of a person and a machine, and an ncu that writes them into its report."""
    hidden = {"home folder": "/home/alice", "user name": "alice"}
    monkeypatch.setattr(redact, "secrets", lambda root: hidden)
    planted = stand.folder / "planted.ncu-rep"
    data = h100_report.read_bytes()
    planted.write_bytes(data.replace(b"/usr/bin/python3.12", b"/home/alice/python3"))
    assert b"/home/alice" in planted.read_bytes()
    stand.ncu(PROFILED.format(report=shlex.quote(str(planted))))
    return hidden


@pytest.mark.usefixtures("draws")
def test_run_says_nothing_of_its_author(stand: Stand, request_: Request, somebody: dict[str, str]) -> None:
    told = profile(request_)
    assert not [path for path in told.folder.rglob("*") if path.is_file() and b"alice" in path.read_bytes()]


def test_run_whose_manifest_names_its_author_is_refused(
    stand: Stand, request_: Request, somebody: dict[str, str]
) -> None:
    named = replace(request_, command=["rooflift", "profile", "/home/alice/krn"])
    assert "home folder" in refusal(named, ReportFault, stand).message


def test_refused_counters_leave_nothing_and_name_both_ways_out(stand: Stand, request_: Request) -> None:
    stand.ncu(f"echo '{REFUSED}'; exit 1")
    fault = refusal(request_, CounterPermission, stand)
    assert fault.exit_code == 2
    assert "--metrics none" in fault.remedy


@pytest.mark.parametrize(
    ("ncu", "said"),
    [
        ("kill -SEGV $$", "killed by SIGSEGV (-11)"),
        ("echo '==ERROR== The application returned an error code (11).'; exit 11", "error code (11)"),
        ("echo '==WARNING== No kernels were profiled.'", "no kernel"),
    ],
    ids=["crash", "application", "no kernel"],
)
def test_failure_of_ncu_is_told_in_its_words(stand: Stand, request_: Request, ncu: str, said: str) -> None:
    stand.ncu(ncu)
    assert said in refusal(request_, NcuFault, stand).message


@pytest.mark.parametrize("report", ["", "not a report"])
def test_report_that_is_none_leaves_nothing(stand: Stand, request_: Request, report: str) -> None:
    stand.ncu(f"printf %s {shlex.quote(report)} > $report")
    assert "depthwise_conv2d.ncu-rep" in refusal(request_, ReportFault, stand).message


def test_missing_ncu_is_told_before_anything_runs(
    stand: Stand, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOFLIFT_NCU", "/nowhere/ncu")
    stand.programs["time"] = f"touch {stand.folder}/ran"
    assert "--metrics none" in refusal(request_, NcuFault, stand).remedy
    assert not (stand.folder / "ran").exists()


def test_wrong_result_is_told_with_element_and_values(stand: Stand, request_: Request) -> None:
    off = Mismatch("v1_grid", "main", "float32", 1, [0, 3, 2, 1], "0.5", "0.75", 2500.0, 4, 1000)
    stand.programs["time"] = f"cat {stand.file('wrong', [protocol.Wrong(off)])}; exit 3"
    said = refusal(request_, WrongResult, stand).message
    for part in ("v1_grid on main float32", "seed 1", "(0, 3, 2, 1)", "0.75", "0.5", "2.5e+03", "4 of 1000"):
        assert part in said


OFF = Mismatch("v1_grid", "main", "float32", 1, [0, 3, 2, 1], "0.5", "0.75", 2500.0, 4, 1000)
FAULTY = {  # what a child says of v1, and how it ends
    "wrong": ([protocol.Wrong(OFF)], ""),
    "an access outside of memory, behind which nothing runs": (
        [protocol.Broken("v1_grid", "main", "float32", False, "v1_grid.py:9: illegal access")], "exit 3",
    ),
    "a signal": ([protocol.Trying("v1_grid")], "kill -SEGV $$"),
}  # fmt: skip


@pytest.mark.parametrize("how", list(FAULTY))
def test_faulty_version_is_left_out_with_its_reason_and_the_others_are_measured(
    stand: Stand, request_: Request, h100_run: Path, how: str
) -> None:
    said, end = FAULTY[how]
    whole = stand.events(read_run(h100_run))["time"]
    others = [e for e in whole if "v1_grid" not in msgspec.json.encode(e).decode()]
    faulty = f"cat {stand.file('faulty', said)}; {end or 'true'}"
    stand.programs["time"] = f"if grep -q v1_grid plan.json; then {faulty}; fi; cat {stand.file('others', others)}"
    told = profile(replace(request_, leave_out=True))
    run = read_run(told.folder)
    assert [version.version for version in run.manifest.versions] == ["v0_baseline"]
    assert {check.version for check in run.manifest.checks} == {"v0_baseline"}
    assert set(run.metrics["version"]) == {"v0_baseline"}  # ncu's report has both
    assert "v1_grid" not in set(run.samples["provider"])
    (left_out,) = run.manifest.left_out
    assert left_out.version == "v1_grid"
    reason = {"wrong": "4 of 1000 are wrong", "a signal": "ended with code -11"}.get(how, "illegal access")
    assert reason in left_out.message
    assert "v1_grid is left out" in (told.folder / "report.md").read_text()
    assert rerender.rerender(run, told.folder.parent.parent.parent / "again").folder == told.folder


def test_fault_of_the_only_version_that_is_left_ends_the_measurement(stand: Stand, request_: Request) -> None:
    both = [protocol.Wrong(OFF), protocol.Wrong(msgspec.structs.replace(OFF, version="v0_baseline"))]
    stand.programs["time"] = f"cat {stand.file('wrong', both)}; exit 3"
    assert "v1_grid" in refusal(replace(request_, leave_out=True), WrongResult, stand).message


def test_command_that_left_a_version_out_names_it_and_ends_with_1(
    stand: Stand, rooflift: Callable[..., Any], checkout: Path, tmp_path: Path, h100_run: Path
) -> None:
    told = [protocol.Wrong(OFF), *stand.events(read_run(h100_run))["time"]]
    stand.programs["time"] = f"cat {stand.file('time', told)}"
    said = rooflift(*PROFILE, "--out", tmp_path / "run", folder=checkout)
    assert said.code == 1, said.err
    assert "v1_grid is left out: v1_grid on main float32 (seed 1)" in said.err
    assert [one.version for one in read_run(tmp_path / "run").manifest.left_out] == ["v1_grid"]


@pytest.mark.parametrize(("times", "told"), [(300.0, True), (4e3, False)])
def test_tf32_is_suspected_where_an_error_can_be_its(stand: Stand, request_: Request, times: float, told: bool) -> None:
    off = Mismatch("v1_grid", "main", "float32", 0, [0, 0], "0.509", "0.514", times, 900, 1000)
    stand.programs["time"] = f"cat {stand.file('wrong', [protocol.Wrong(off)])}; exit 3"
    assert ("TF32" in refusal(request_, WrongResult, stand).remedy) is told


def test_single_number_that_is_wrong_is_not_told_as_a_wrong_shape(stand: Stand, request_: Request) -> None:
    """A loss has no index."""
    off = Mismatch("v1_grid", "main", "float32", 0, [], "2", "3", 5e4, 1, 1)
    stand.programs["time"] = f"cat {stand.file('wrong', [protocol.Wrong(off)])}; exit 3"
    fault = refusal(request_, WrongResult, stand)
    assert "times the tolerance" in fault.message
    assert "shape" not in fault.remedy


def test_error_without_a_measure_is_not_told_as_a_number(stand: Stand, request_: Request) -> None:
    """The number that stands for infinity among the events is no factor that a reader should see."""
    off = Mismatch("v1_grid", "main", "float32", 0, [1], "2", "nan", FAR, 1, 4)
    stand.programs["time"] = f"cat {stand.file('wrong', [protocol.Wrong(off)])}; exit 3"
    assert "e+300" not in refusal(request_, WrongResult, stand).message


@pytest.mark.parametrize(("compiling", "said"), [(True, "does not compile"), (False, "does not run")])
def test_broken_version_is_told_with_its_case_and_line(
    stand: Stand, request_: Request, compiling: bool, said: str
) -> None:
    broken = protocol.Broken(
        "v1_grid", "main", "float32", compiling, "v1_grid.py:44: NameError: name 'y' is not defined"
    )
    stand.programs["profile"] = f"cat {stand.file('broken', [broken])}; exit 3"
    stand.ncu(stand.programs["profile"])  # ncu hands on what its program prints
    message = refusal(request_, KernelFault, stand).message
    assert message.startswith(f"v1_grid {said} on main float32:\nv1_grid.py:44: NameError")


@pytest.mark.parametrize("end", ["exit 1", "kill -KILL $$"])
def test_program_that_breaks_is_told_with_its_last_words(stand: Stand, request_: Request, end: str) -> None:
    stand.programs["time"] = f"cat {stand.file('some', [protocol.Doing('checking')])}; echo 'out of memory' >&2; {end}"
    message = refusal(request_, KernelFault, stand).message
    assert message.endswith("out of memory")
    assert "checking" not in message  # events are no words for people


def test_program_that_ends_well_without_a_word_is_a_fault(stand: Stand, request_: Request) -> None:
    """A kernel file may leave the program with code 0."""
    stand.programs["time"] = "exit 0"
    refusal(request_, KernelFault, stand)


@pytest.mark.parametrize("failing", ["time", "ncu"])
def test_fault_of_one_program_ends_the_other(
    stand: Stand, request_: Request, failing: str, ends: Callable[[int], bool]
) -> None:
    wait_for_the_other = f"while [ ! -s {stand.pid} ]; do sleep 0.05; done"
    if failing == "time":
        stand.programs["time"] = f"{wait_for_the_other}; exit 5"
        stand.ncu(stand.stay)
        assert "code 5" in refusal(request_, KernelFault, stand).message
    else:
        stand.programs["time"] = stand.stay
        stand.ncu(f"{wait_for_the_other}; echo '{REFUSED}'; exit 1")
        refusal(request_, CounterPermission, stand)
    assert ends(int(stand.pid.read_text()))


def test_time_limit_ends_both_programs(stand: Stand, request_: Request, ends: Callable[[int], bool]) -> None:
    stand.programs["time"] = "sleep 600"
    stand.ncu(stand.stay)
    fault = refusal(replace(request_, timeout_s=1.5), KernelFault, stand)
    assert "ran past 1.5 s" in fault.message
    assert "--timeout" in fault.remedy
    assert ends(int(stand.pid.read_text()))


def test_folder_that_exists_is_refused_before_anything_runs(stand: Stand, request_: Request, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.md").write_text("years of work")
    with pytest.raises(RunFault, match="exists"):
        profile(request_, out)
    assert [path.name for path in out.iterdir()] == ["thesis.md"]


def test_named_folder_becomes_the_run(stand: Stand, request_: Request, tmp_path: Path) -> None:
    told = profile(replace(request_, metric_set="none"), tmp_path / "new" / "run")
    assert told.folder == tmp_path / "new" / "run"
    assert read_run(told.folder).manifest.name == "run"


def test_large_request_is_checked_in_parts_before_it_is_timed(
    stand: Stand, request_: Request, h100_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the work of 3 dtypes is dealt out to 2 processes; every part must have ended before the timing begins."""
    monkeypatch.setattr(checking.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(checking, "MUCH", 6)
    suite = replace(request_, dtypes=[], suite=True, options=MeasureOptions(slow_baselines=True))
    run = read_run(h100_run)
    events, done = stand.events(run)["time"], shlex.quote(str(stand.folder))
    programs: dict[tuple[str, str], str] = {}
    events += [of_dispatch(event) for event in events if getattr(event, "provider", "") == "v1_grid"]
    events += [of_dispatch(e) for e in events if isinstance(e, protocol.Checked) and e.record.version == "v1_grid"]
    alike = {d: [in_dtype(event, d) for event in events] for d in ("float32", "float16", "bfloat16")}
    for index, dtypes in enumerate((["float32", "bfloat16"], ["float16"])):
        checks = [event for dtype in dtypes for event in alike[dtype] if isinstance(event, protocol.Checked)]
        told = [protocol.Doing("compiling"), *checks]
        programs["check", f"{index}/2"] = f"cat {stand.file(f'part{index}', told)}; touch {done}/part{index}"
    timed = [event for told in alike.values() for event in told if not isinstance(event, protocol.Checked)]
    left_out = [protocol.LeftOut("torch_compile", "main", dtype, "BackendFailed") for dtype in ("float32", "float16")]
    both_done = f"test -e {done}/part0 && test -e {done}/part1 || exit 9"
    programs["time", "0/1"] = f"{both_done}; cat {stand.file('timed', [*timed, *left_out])}"
    programs["profile", "0/1"] = "true"

    def command(task: protocol.Task, part: str = protocol.WHOLE) -> list[str]:
        keep = f"cp plan.json {done}/plan.json"
        return ["/bin/sh", "-c", f"{keep}; {programs[task, part]}"]

    monkeypatch.setattr(protocol, "worker_command", command)
    said: list[str] = []
    told = profile(suite, said=said)
    plan = msgspec.json.decode((stand.folder / "plan.json").read_bytes(), type=protocol.Plan)
    assert [case.dtype for case in plan.work] == ["float32", "float16", "bfloat16"]
    assert [case.dtype for case in plan.profiled] == ["float32", "float16"]
    assert (plan.checked, plan.options.slow_baselines) == (True, True)
    manifest = read_run(told.folder).manifest
    assert manifest.suite
    assert [check.dtype for check in manifest.checks] == ["float32"] * 6 + ["float16"] * 6 + ["bfloat16"] * 6
    assert manifest.notes == ["torch_compile is left out (BackendFailed) on main float32, main float16."]
    assert "checked 0 of 18, compiling" in said


def of_dispatch(event: protocol.Event) -> protocol.Event:
    """What is said of v1_grid as said of the operator's dispatch, which a suite checks and times, too."""
    if isinstance(event, protocol.Checked):
        return protocol.Checked(msgspec.structs.replace(event.record, version="dispatch"))
    return msgspec.structs.replace(event, provider="dispatch")


def in_dtype(event: protocol.Event, dtype: str) -> protocol.Event:
    """The event as another dtype's."""
    if isinstance(event, protocol.Checked):
        return protocol.Checked(msgspec.structs.replace(event.record, dtype=dtype))
    if isinstance(event, protocol.Resolved):
        return protocol.Resolved(msgspec.structs.replace(event.case, dtype=dtype))
    return msgspec.structs.replace(event, dtype=dtype) if isinstance(event, protocol.Samples) else event


def test_everyday_request_checks_where_it_measures(stand: Stand, request_: Request) -> None:
    """A process more would cost its start."""
    keep = f"cp plan.json {shlex.quote(str(stand.folder))}/plan.json"
    stand.programs["time"] = f"{keep}; {stand.programs['time']}"
    profile(request_)
    plan = msgspec.json.decode((stand.folder / "plan.json").read_bytes(), type=protocol.Plan)
    assert (plan.checked, plan.options.slow_baselines, plan.profiled) == (False, False, plan.work)


def test_broken_run_of_last_week_does_not_hinder_a_new_one(stand: Stand, request_: Request) -> None:
    old = request_.root / "reports" / "depthwise_conv2d" / "2020-01-01-h100-1234567"
    old.mkdir(parents=True)
    (old / "run.json").write_text("<<<<<<< HEAD")
    assert read_run(profile(replace(request_, metric_set="none")).folder).manifest.cases[0].flop == 4794163200


def test_words_of_libraries_between_the_events_do_no_harm(stand: Stand, request_: Request) -> None:
    noise = """printf '%s\\n' 'warning: {"type":' '{"type":"Unheard"}' '{"type":"Doing"' '{"type":"Checked"}'"""
    stand.programs["time"] = f"{noise}; {stand.programs['time']}"
    run = read_run(profile(replace(request_, metric_set="none")).folder)
    assert len(run.manifest.checks) == 4


def test_staging_folder_holds_copies_and_no_private_name(request_: Request) -> None:
    with children.staged(
        request_.operator, request_.versions, protocol.Plan(work=request_.timed, sampling=SAMPLING)
    ) as stage:
        assert sorted(path.name for path in stage.iterdir()) == [
            *("plan.json", "reference.py", "v0_baseline.py", "v1_grid.py")
        ]
        text = (stage / "plan.json").read_text()
        plan = msgspec.json.decode(text, type=protocol.Plan)
        assert plan.versions == {"v0_baseline": "v0_baseline.py", "v1_grid": "v1_grid.py"}
        assert (plan.reference, plan.options, plan.sampling) == ("reference.py", MeasureOptions(), SAMPLING)
        assert [(case.name, case.dtype) for case in plan.work] == [("main", "float32")]
        assert str(request_.operator.folder) not in text
    assert not stage.exists()


def test_chosen_dtypes_go_before_those_of_the_cases(request_: Request) -> None:
    plans = in_dtypes(request_.cases, ["float16", "bfloat16"])
    assert [(case.name, case.dtype) for case in plans] == [("main", "float16"), ("main", "bfloat16")]


def test_program_finds_this_package_beside_what_the_user_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    first, *rest = children.child_environment()["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "rooflift" / "worker" / "program.py").is_file()
    assert rest == ["/elsewhere"]


def test_run_says_what_compute_sanitizer_found(
    stand: Stand, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def sanitize(request: Request, cases: Sequence[Case], progress: children.Progress) -> list[SanitizerRecord]:
        asked.extend(case.name for case in cases)
        return [SanitizerRecord("memcheck", "v1_grid", asked, ["float32"], ["kernel"], 3, 0, "Invalid write")]

    monkeypatch.setattr(sanitizer, "sanitize", sanitize)
    plain = replace(request_, metric_set="none")
    assert read_run(profile(plain).folder).manifest.sanitizer == []
    told = pipeline.profile(replace(plain, options=MeasureOptions(sanitize=True)), None, [].append)
    assert [record.errors for record in read_run(told.folder).manifest.sanitizer] == [3]
    assert asked == [case.name for case in request_.operator.select_cases([], "test")]
    assert "memcheck found 3 in v1_grid (Invalid write)" in (told.folder / "report.md").read_text()


def other_than_default(options: type[MeasureOptions]) -> MeasureOptions:
    """Return options of which none is the default."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(options):
        values[field.name] = not field.default if isinstance(field.default, bool) else (field.default or 0) + 1
    return options(**values)


def test_every_option_travels_to_the_child_the_key_of_the_checkpoint_and_the_run(
    stand: Stand, request_: Request, h100_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sanitizer, "sanitize", lambda *_: [])
    options = other_than_default(MeasureOptions)
    asked = replace(request_, metric_set="none", options=options)
    events = stand.events(read_run(h100_run))["time"]
    events += [event for event in events if isinstance(event, protocol.Checked) and event.record.seed == 0]  # a third
    keep = f"cp plan.json {shlex.quote(str(stand.folder))}/plan.json"
    stand.programs["time"] = f"{keep}; cat {stand.file('time', events)}"
    told = profile(asked)
    assert msgspec.json.decode((stand.folder / "plan.json").read_bytes(), type=protocol.Plan).options == options
    assert read_run(told.folder).manifest.options == options
    keys = [
        msgspec.json.encode(record(replace(asked, options=one), environment.driver(), None, dirty=False))
        for one in [
            options,
            *(
                msgspec.structs.replace(options, **{field.name: field.default})
                for field in msgspec.structs.fields(MeasureOptions)
            ),
        ]
    ]
    assert len(set(keys)) == 1 + len(msgspec.structs.fields(MeasureOptions))


def test_run_records_how_it_was_sampled_its_noise_and_the_state_of_the_gpu(
    stand: Stand, request_: Request, h100_run: Path
) -> None:
    events = stand.events(read_run(h100_run))["time"]
    states = [
        GpuState("main", "float32", at, 1980, 2619, 41, 400.0, ["power cap"]) for at in ("before", "during", "after")
    ]
    (own,) = (event for event in events if isinstance(event, protocol.Samples) and event.provider == "v1_grid")
    again = msgspec.structs.replace(own, repeat=1, times_us=[1.02 * time for time in own.times_us])
    told = [*events, again, *(protocol.State(state) for state in states)]
    stand.programs["time"] = f"cat {stand.file('noise', told)}"
    options = MeasureOptions(noise=True, precision=0.005)
    run = read_run(profile(replace(request_, metric_set="none", options=options)).folder)
    assert run.manifest.sampling is not None
    assert (run.manifest.sampling.precision, run.manifest.sampling.budget_s) == (0.005, 10)
    assert run.manifest.sampling.seed > 0
    (noise,) = run.manifest.noise
    assert (noise.version, noise.time_x) == ("v1_grid", pytest.approx(1.02))
    assert run.manifest.gpu_states == states
    assert list(run.timings["provider"]).count("v1_grid") == 1
    assert (run.samples["repeat"] == 1).sum() == len(own.times_us)
    report = (run.folder / "report.md").read_text()
    assert "> **Warning** The GPU throttled its clocks (power cap) in 1 of 1 samples." in report
    assert "> **Warning** Noise above 1 %: the noise of the measurement is main float32 2.0 %." in report
    assert f"seed {run.manifest.sampling.seed}" in report


def test_kernels_of_a_commit_are_published_as_its_own(stand: Stand, request_: Request) -> None:
    of_commit = replace(request_, metric_set="none", commit="c0ffee" * 6, about="v0_base is v0 of main.")
    manifest = read_run(profile(of_commit).folder).manifest
    assert (manifest.commit, manifest.dirty) == ("c0ffee" * 6, False)
    assert manifest.notes[0] == "v0_base is v0 of main."
