"""What names a person or a machine is found wherever ncu puts it, overwritten in reports, and refused in runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from rooflift.errors import ReportFault
from rooflift.ncu.report import read_reports
from rooflift.runs import redact

HIDDEN = {
    "home folder": "/home/alice",
    "checkout": "/srv/jobs/checkout",
    "host name": "kiln42",
    "user name": "alice",
}
# What the real report says at these places, and as many bytes that name somebody: the program that was profiled,
# the folder of the kernels in the line table of the binary, the command line.
PLANTS = {
    b"/usr/bin/python3.12": b"/home/alice/python3",
    b"/tmp/rooflift-8stm06tb": b"/srv/jobs/checkout/krn",
    b"/xxxxxxxxxxxxxxx/bin/python3": b"/alice@kiln42/vx/bin/python3",
}


@pytest.fixture
def planted(tmp_path: Path, h100_report: Path) -> Path:
    """A run folder with a real report that names its author's home, checkout, host and user."""
    data = h100_report.read_bytes()
    for said, secret in PLANTS.items():
        assert said in data
        assert len(said) == len(secret)
        data = data.replace(said, secret)
    (tmp_path / "ncu").mkdir()
    (tmp_path / "ncu" / "report.ncu-rep").write_bytes(data)
    return tmp_path


def test_blotted_report_keeps_its_length_and_reads_as_before(planted: Path, h100_report: Path) -> None:
    report = planted / "ncu" / "report.ncu-rep"
    before = report.read_bytes()
    after = redact.redact_bytes(before, HIDDEN)
    assert len(after) == len(before)
    assert after != before
    report.write_bytes(after)
    redact.refuse(planted, HIDDEN)
    assert not [what for what, text in HIDDEN.items() if text.encode() in after]
    frames = [read_reports([path], path.parent).drop(columns="source") for path in (report, h100_report)]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize("what", HIDDEN)
def test_each_plant_is_refused_and_named_but_not_repeated(planted: Path, what: str) -> None:
    with pytest.raises(ReportFault) as fault:
        redact.refuse(planted, {what: HIDDEN[what]})
    assert f"report.ncu-rep: it holds the {what}" in fault.value.message
    assert HIDDEN[what] not in fault.value.message
    assert fault.value.remedy


def test_path_is_found_whatever_length_stands_before_it() -> None:
    """A report is made of fields: a tag, the length of the text in one byte, the text. Many lengths are letters."""
    hidden = {"home folder": "/home/alice"}
    fields = {n: b"\x1a" + bytes([n]) + b"/home/alice/".ljust(n, b"d") + b"\x20\x01" for n in range(12, 128)}
    assert [length for length, field in fields.items() if b"alice" in redact.redact_bytes(field, hidden)] == []


@pytest.mark.parametrize("text", ["/home/alice", "alice"])
def test_whole_field_is_found_whatever_field_comes_next(text: str) -> None:
    """The tag of a text is its number times 8 plus 2: fields 6 and 8 to 15 look like a digit or a letter."""
    field = b"\x0a" + bytes([len(text)]) + text.encode()
    followed = {number: field + bytes([number << 3 | 2]) + b"\x03abc" for number in range(1, 16)}
    assert [n for n, data in followed.items() if b"alice" in redact.redact_bytes(data, {"secret": text})] == []


@pytest.mark.parametrize("text", ["malice", "alice2", "alice_in_chains", "chalices", "/srv/home/alicent", "ALICE"])
def test_word_that_merely_contains_the_name_is_left_alone(tmp_path: Path, text: str) -> None:
    hidden = {"user name": "alice", "home folder": "/home/alice"}
    assert redact.redact_bytes(f"<{text}>".encode(), hidden) == f"<{text}>".encode()
    (tmp_path / "report.md").write_text(text)
    redact.refuse(tmp_path, hidden)


@pytest.mark.parametrize("text", ["alice@kiln42", "by alice.", "/mnt/alice/x", "alice-laptop", "alice"])
def test_name_is_found_between_signs_and_at_the_ends(tmp_path: Path, text: str) -> None:
    assert b"alice" not in redact.redact_bytes(text.encode(), {"user name": "alice"})
    (tmp_path / "report.md").write_text(text)
    with pytest.raises(ReportFault, match=r"report\.md: it holds the user name"):
        redact.refuse(tmp_path, {"user name": "alice"})


def test_longer_secret_is_blotted_whole_although_it_contains_a_shorter_one() -> None:
    hidden = {"user name": "alice", "home folder": "/home/alice", "checkout": "/home/alice/krn"}
    assert redact.redact_bytes(b"at /home/alice/krn/v0.py", hidden) == b"at /xxxxxxxxxxxxxx/v0.py"


def test_every_file_of_the_folder_is_looked_through(tmp_path: Path, h100_run: Path) -> None:
    shutil.copytree(h100_run, tmp_path / "run")
    redact.refuse(tmp_path / "run", HIDDEN)
    (tmp_path / "run" / "figures").mkdir()
    (tmp_path / "run" / "figures" / "roofline.svg").write_text("<!-- /srv/jobs/checkout -->")
    with pytest.raises(ReportFault, match=r"roofline\.svg: it holds the checkout"):
        redact.refuse(tmp_path / "run", HIDDEN)


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process belongs to alice on kiln42."""
    for name in [*os.environ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    monkeypatch.setattr("socket.gethostname", lambda: "kiln42")
    monkeypatch.setattr("sys.prefix", "/srv/envs/kernels")
    monkeypatch.setattr("sys.base_prefix", "/usr")
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="alice"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    return monkeypatch


def test_secrets_of_a_machine_are_named_by_what_they_are(somebody: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert redact.secrets(tmp_path / "link") == {
        "home folder": "/home/alice",
        "checkout": str(tmp_path.resolve()),
        "Python environment": "/srv/envs/kernels",
        "host name": "kiln42",
        "user name": "alice",
    }


@pytest.mark.parametrize("name", ["bob", "root", "Ubuntu", "runner", "localhost"])
def test_short_or_generic_name_is_no_secret(somebody: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    somebody.setattr("getpass.getuser", lambda: name)
    somebody.setattr("socket.gethostname", lambda: name)
    assert {"host name", "user name"}.isdisjoint(redact.secrets(tmp_path))


@pytest.mark.parametrize("name", ["triton", "torch", "python"])
def test_user_called_like_a_tool_can_still_publish_a_run(
    somebody: pytest.MonkeyPatch, tmp_path: Path, h100_run: Path, name: str
) -> None:
    """Every run.json says triton, torch and python."""
    somebody.setattr("getpass.getuser", lambda: name)
    redact.refuse(h100_run, redact.secrets(tmp_path))


@pytest.mark.parametrize("folder", ["/", "/usr", "/usr/local", "/opt"])
def test_folder_that_everybody_has_is_no_secret(somebody: pytest.MonkeyPatch, tmp_path: Path, folder: str) -> None:
    somebody.setenv("HOME", folder)
    somebody.setattr("sys.prefix", folder)
    assert {"home folder", "Python environment"}.isdisjoint(redact.secrets(tmp_path))


def test_user_without_a_name_or_a_home_has_no_such_secret(somebody: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container started under a number alone."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    somebody.setattr("getpass.getuser", nobody)
    somebody.setattr(Path, "home", homeless)
    assert {"home folder", "user name"}.isdisjoint(redact.secrets(tmp_path))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"/data/ssd1/alice/sgemm/src/gemm.cu", b"/data/xxxx/xxxxx/xxxxx/src/gemm.cu"),
        (b"\x12/scratch2/alice/gemm.cu", b"\x12/scratch2/xxxxx/gemm.cu"),
        (b"/gpfs/projects/g42/alice/gemm.cu", b"/gpfs/xxxxxxxx/xxx/xxxxx/gemm.cu"),
        (b"/usr/local/cuda/include/mma.h", b"/usr/local/cuda/include/mma.h"),
        (b"/tmp/rooflift-8stm06tb/v1_grid.py", b"/tmp/rooflift-8stm06tb/v1_grid.py"),
        (b"/database/alice", b"/database/alice"),
    ],
)
def test_folders_below_the_mounts_of_clusters_are_overwritten(said: bytes, kept: bytes) -> None:
    assert redact.redact_bytes(said, {}) == kept
