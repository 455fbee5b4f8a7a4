"""Files that are no reports, or strange ones: each gives its values or an error with file and reason."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rooflift.compile.module import load_module
from rooflift.errors import ReportFault
from rooflift.ncu import report as reports
from rooflift.ncu.metrics import METRICS
from rooflift.ncu.reader import LONGEST_TEXT, RuleResult, parts
from rooflift.ncu.report import Device, Limits, read_reports, read_rules, report_gpu

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "fixtures" / "h100_flat_depthwise.ncu-rep"  # one launch, no section, no NVTX range
FEW_MUTANTS = 70  # of every day, 0.1 s each
MUTANTS = int(os.environ.get("ROOFLIFT_MUTANTS", "200"))


@pytest.fixture(scope="module")
def reliability() -> ModuleType:
    return load_module(ROOT / "scripts" / "reliability.py")


@pytest.fixture(scope="module")
def strange(reliability: ModuleType) -> ModuleType:
    made: ModuleType = reliability.strange
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "strange.ncu-rep"


@pytest.mark.parametrize(("workload", "time_ns"), [("range", 247136.0), ("graph", 306208.0)])
def test_a_range_and_a_graph_are_one_workload_each(workload: str, time_ns: float) -> None:
    """What ncu 2025.3.1 wrote of two torch kernels on an H100; the kernels' binaries, 9 MB, are cut out."""
    path = ROOT / "tests" / "fixtures" / f"{workload}.ncu-rep"
    frame = read_reports([path], path.parent)
    times = frame[frame["metric"] == "ncu_time_ns"]
    assert times[["kernel", "value"]].to_numpy().tolist() == [[workload, time_ns]]
    assert report_gpu(path) == "NVIDIA H100 80GB HBM3"


def refusal(path: Path) -> str:
    """Return why a file is not read; it is said with the file and a remedy."""
    with pytest.raises(ReportFault) as caught:
        read_reports([path], path.parent)
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.remedy
    return caught.value.message.removeprefix(f"{path}: ")


# --- no reports


def test_folder_is_called_one(path: Path) -> None:
    path.mkdir()
    assert refusal(path) == "a folder, not a file"


def test_pipe_that_nobody_writes_to_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert refusal(path) == "a pipe, device or socket, not a file"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom"])
def test_link_to_a_device_is_not_read(path: Path, device: str) -> None:
    path.symlink_to(device)
    assert refusal(path) == "a pipe, device or socket, not a file"


def test_socket_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("strange.ncu-rep")
        assert refusal(tmp_path / "strange.ncu-rep")


def test_link_to_itself_and_to_nowhere(path: Path) -> None:
    path.symlink_to(path)
    assert "symbolic link" in refusal(path)
    path.unlink()
    path.symlink_to(path.parent / "nowhere")
    assert refusal(path) == "no such file"


def test_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert "null byte" in refusal(tmp_path / "a\0b.ncu-rep")
    assert "too long" in refusal(tmp_path / ("a" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_of_somebody_else(path: Path) -> None:
    path.write_bytes(FOREIGN.read_bytes())
    path.chmod(0)
    assert refusal(path) == "Permission denied"


@pytest.mark.parametrize("head", [b"", b"NVR\0", FOREIGN.read_bytes()], ids=["zeros", "magic", "report"])
def test_sparse_file_of_2_gb_is_refused_at_once(path: Path, head: bytes) -> None:
    path.write_bytes(head)
    os.truncate(path, 2**31)
    assert refusal(path)
    os.truncate(path, 2**31 + 1)
    assert refusal(path) == "2.0 GiB are more than the 2 GiB that are read"


@pytest.mark.parametrize("data", [b"N", b"NVR", b"NVR\0", b"PK\3\4" * 99, b"\x7fELF" * 99, b"NVR\0\xff\xff\xff\xff"])
def test_short_and_foreign_files(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert refusal(path)


# --- whole and half reports


def test_report_that_is_cut_off_anywhere_is_refused(path: Path, h100_report: Path) -> None:
    """NVIDIA's reader gives the launches before the cut and says nothing."""
    whole = h100_report.read_bytes()
    for length in (len(whole) - 1, len(whole) - 50_000, 240_000, 230_380, 100_000, 9):
        path.write_bytes(whole[:length])
        assert "cut off" in refusal(path)


def test_bytes_behind_the_end_are_refused(path: Path) -> None:
    path.write_bytes(FOREIGN.read_bytes() + bytes(1000))
    assert refusal(path) == "damaged at byte 51530: a block without a header"


def test_report_without_launches(path: Path, strange: ModuleType) -> None:
    whole = FOREIGN.read_bytes()
    (result,) = (block for block in strange.blocks(whole) if block.fields.get(2))
    path.write_bytes(whole[: result.begin] + whole[result.end :])
    assert refusal(path) == "no Nsight Compute report with a kernel launch in it"


def test_launch_that_the_native_reader_cannot_read_is_refused(path: Path, strange: ModuleType) -> None:
    whole = bytearray(FOREIGN.read_bytes())
    (result,) = (block for block in strange.blocks(bytes(whole)) if block.fields.get(2))
    whole[result.payload + 4 : result.end] = b"\xff" * (result.end - result.payload - 4)
    path.write_bytes(whole)
    assert refusal(path) == "damaged: launch 0 cannot be read"


def test_thousands_of_launches_are_read_in_parts(
    path: Path, strange: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(strange.repeat(FOREIGN.read_bytes(), 1200))  # 18 MB of results, three parts
    frame = read_reports([path], path.parent)
    once = read_reports([FOREIGN], FOREIGN.parent)["value"]
    assert list(frame["launch"]) == [launch for launch in range(1200) for _ in METRICS]
    for column in frame["value"].to_numpy().reshape(1200, -1).T[once.notna()]:
        assert (column == column[0]).all()
    assert frame["value"].iloc[-len(METRICS) :].reset_index(drop=True).equals(once)
    assert report_gpu(path) == "NVIDIA H100 80GB HBM3"


def test_parts_hold_every_launch_once_and_one_at_least() -> None:
    assert parts([10]) == [0, 1]
    assert parts([5 * 2**20] * 3) == [0, 1, 2, 3]
    assert parts([2**30, 2**30]) == [0, 1, 2]
    assert parts([2**20] * 20) == [0, 8, 16, 20]


def test_report_of_several_processes(path: Path, strange: ModuleType) -> None:
    whole = FOREIGN.read_bytes()
    (result,) = (block for block in strange.blocks(whole) if block.fields.get(2))
    process = strange.field(1, 4711) + strange.field(2, b"127.0.0.1") + strange.field(3, b"/usr/bin/other")
    other = {**result.fields, 4: b"", 6: process}
    path.write_bytes(whole + strange.block(other, whole[result.payload : result.end]))
    frame = read_reports([path], path.parent)
    assert list(frame["launch"].unique()) == [0, 1]
    assert frame["value"].notna().sum() == 2 * read_reports([FOREIGN], FOREIGN.parent)["value"].notna().sum()


@pytest.mark.parametrize(
    ("name", "read"),
    [
        (b"", ""),
        ("Σ_kernel<日本, 🚀>".encode(), "Σ_kernel<日本, 🚀>"),
        (b"range", "range"),
        (b"a|b`<script>\n\x1b[31m", "a|b`<script>\n\x1b[31m"),
        (b"k" * LONGEST_TEXT, "k" * LONGEST_TEXT),
        (b"k" * 3_000_000, "k" * LONGEST_TEXT + "... (3000000 characters)"),
    ],
    ids=["empty", "unicode", "range", "markup", "long", "very long"],
)
def test_kernel_of_any_name(path: Path, strange: ModuleType, name: bytes, read: str) -> None:
    path.write_bytes(strange.rename(FOREIGN.read_bytes(), name))
    frame = read_reports([path], path.parent)
    assert set(frame["kernel"]) == {read}
    assert frame["value"].equals(read_reports([FOREIGN], FOREIGN.parent)["value"])


def test_kernel_whose_name_is_no_text_can_be_written(path: Path, strange: ModuleType) -> None:
    path.write_bytes(strange.rename(FOREIGN.read_bytes(), b"kernel\xff\xfe"))
    assert set(read_reports([path], path.parent)["kernel"]) == {"kernel??"}


# --- the reading process


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a line of Python in the place of NVIDIA's reader."""

    def put(line: str) -> None:
        (tmp_path / "ncu_report.py").write_text(f"import os, signal\ndef load_report(path): {line}\n")
        monkeypatch.syspath_prepend(tmp_path)

    return put


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_crash_of_the_native_reader_is_an_error_here(reader: Callable[[str], None], name: str) -> None:
    reader(f"os.kill(os.getpid(), signal.{name})")
    assert refusal(FOREIGN) == f"damaged: the program that reads it was ended by {name}"


def test_exception_of_the_native_reader_is_told(reader: Callable[[str], None]) -> None:
    reader("raise RuntimeError('bad section')")
    assert refusal(FOREIGN) == "damaged: RuntimeError: bad section"


def test_end_without_an_answer_is_no_answer(reader: Callable[[str], None]) -> None:
    reader("os._exit(0)")
    assert refusal(FOREIGN).startswith("damaged")
    reader("os._exit(7)")
    assert refusal(FOREIGN).startswith("damaged")


def test_answer_that_lacks_launches_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "ask", lambda *_, **__: subprocess.CompletedProcess([], 0, b"[0,2]\n"))
    assert refusal(FOREIGN) == "damaged: 0 of 2 answers about its launches"
    with pytest.raises(ReportFault, match="0 of 1 answers about its device"):
        report_gpu(FOREIGN)


def test_memory_without_end_is_not_given(reader: Callable[[str], None]) -> None:
    reader("bytearray(2**40)")
    assert "memory" in refusal(FOREIGN)


@pytest.mark.parametrize(
    "line", ["[None for _ in iter(int, 1)]", "__import__('time').sleep(600)"], ids=["busy", "idle"]
)
def test_reader_that_never_ends_is_ended(reader: Callable[[str], None], line: str) -> None:
    reader(line)
    with pytest.raises(ReportFault, match="not read within 1 s of processor time"):
        reports._ask(FOREIGN, "device", Device, Limits(memory_bytes=2**31, cpu_s=1))


def test_reader_writes_no_file_and_sees_no_secret(
    reader: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "planted")
    reader("raise RuntimeError(os.environ.get('SERVICE_TOKEN', 'no token'))")
    assert refusal(FOREIGN).endswith("no token")
    reader(f"open({str(tmp_path / 'written')!r}, 'w').write('x' * 99)")
    assert refusal(FOREIGN)
    assert not (tmp_path / "written").read_bytes()


def test_module_of_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ncu_report", "msgspec", "rooflift"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert report_gpu(FOREIGN) == "NVIDIA H100 80GB HBM3"


def test_words_of_the_native_reader_are_no_answer(reader: Callable[[str], None]) -> None:
    reader("os.write(1, b'{}\\n') and 1 / 0")
    assert refusal(FOREIGN) == "damaged: ZeroDivisionError: division by zero"


# --- mutants


@pytest.mark.parametrize("mutants", [FEW_MUTANTS, pytest.param(MUTANTS, marks=pytest.mark.slow)])
def test_mutants_read_as_they_are_or_are_refused(reliability: ModuleType, mutants: int) -> None:
    """ROOFLIFT_MUTANTS asks for more of them; `make reliability` reads 2 000."""
    fuzzed = reliability.fuzz(range(mutants))
    assert fuzzed.wrong == []
    assert fuzzed.read + sum(fuzzed.refused.values()) == mutants
    assert fuzzed.read > mutants / 10
    assert fuzzed.changed
    assert len(fuzzed.refused) > 3


def test_value_that_the_file_does_not_hold_would_be_found(
    reliability: ModuleType, strange: ModuleType, path: Path
) -> None:
    path.write_bytes(FOREIGN.read_bytes())
    frame = read_reports([path], path.parent)
    (bare,) = strange.bare([path], reliability.NAMES)
    sound, broken = reliability.Fuzzed(1), reliability.Fuzzed(1)
    reliability.judge(sound, path, frame, bare, frame)
    assert sound.wrong == []
    row = frame["value"].first_valid_index()
    reliability.judge(broken, path, frame.assign(value=frame["value"].where(frame.index != row, 12.34)), bare, frame)
    assert len(broken.wrong) == 2  # neither the bare reader nor the file has it


def test_rules_of_a_report_are_read_by_the_same_process(path: Path) -> None:
    path.write_bytes(FOREIGN.read_bytes()[:-1])
    with pytest.raises(ReportFault, match="cut off"):
        read_rules([path])
    with pytest.raises(ReportFault, match="cut off"):
        reports._ask(path, "rules", RuleResult)
