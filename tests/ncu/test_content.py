"""What a file is: reports in any wrapping are read, everything else is named, with what to do."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from rooflift.errors import ReportFault
from rooflift.ncu.content import MOST_TIMES, open_report, recognize
from rooflift.ncu.report import read_reports, report_gpu

FOREIGN = Path(__file__).parents[1] / "fixtures" / "h100_flat_depthwise.ncu-rep"
DATA = FOREIGN.read_bytes()


@pytest.mark.parametrize("name", ["a.ncu-rep.gz", "A.NCU-REP", "a.nsight-cuprof-report", "a", "a.txt"])
@pytest.mark.parametrize("data", [DATA, gzip.compress(DATA)], ids=["as it is", "gzip"])
def test_a_report_is_known_by_its_content_whatever_its_name(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    frame, there = read_reports([tmp_path / name], tmp_path), read_reports([FOREIGN], FOREIGN.parent)
    pd.testing.assert_frame_equal(frame.drop(columns="source"), there.drop(columns="source"))
    assert report_gpu(tmp_path / name) == "NVIDIA H100 80GB HBM3"


OTHERS = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer", "git lfs pull"),
    "systems": (b"SQLite format 3\0" + b"\0" * 99, "Nsight Systems", "ncu -o"),
    "page": (b"\n<!DOCTYPE html>\n<html>", "HTML page", "Raw"),
    "utf-16": ("\ufeff==PROF== Connected".encode("utf-16-le"), "UTF-16", "utf8"),
    "utf-16 without a mark": ('"ID","Process ID"'.encode("utf-16-be"), "UTF-16", "utf8"),
    "zip": (b"PK\3\4", "zip archive", "Unpack"),
    "tar in gzip": (gzip.compress(b"a".ljust(257, b"\0") + b"ustar"), "tar archive", "Unpack"),
    "json": (b'{"kernel": {}}', "JSON, no report", "rooflift import"),
    "csv": (b'==PROF== Connected\n"ID","Kernel Name","Grid Size"\n', "CSV, no report", "rooflift import"),
    "printed": (b"==PROF== Connected\n  k (1, 1, 1)\n    Section: GPU", "what ncu prints", "--csv --page raw"),
    "half of gzip": (gzip.compress(DATA)[:2000], "cut off", "again"),
    "damaged gzip": (gzip.compress(DATA)[:-8] + bytes(8), "damaged", "again"),
    "gzip in gzip": (gzip.compress(gzip.compress(DATA)), "gzip twice", "Unpack"),
    "annex": (b"/annex/objects/MD5E-s3--0.ncu-rep\n", "a pointer of git-annex", "git annex get"),
    "refusal": (b"404: Not Found", "a server's refusal", "Download"),
    "nvprof": (b'==7== NVPROF is profiling process 7\n"Type","Time(%)","Time"\n', "nvprof", "ncu --csv"),
    "nvprof metrics": (
        b'"Device","Kernel","Invocations","Metric Name","Metric Description","Min"\n',
        "nvprof",
        "ncu -o",
    ),
    "nsys stats": (b"Processing\n\nTime (%),Total Time (ns),Instances,Name\n99,1,1,k\n", "`nsys stats`", "ncu -o"),
    "source page": (b'"#","Address","Source","# Samples"\n', "the source page", "rooflift hotspots"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_report_is_named_with_what_to_do(tmp_path: Path, other: str) -> None:
    data, what, remedy = OTHERS[other]
    path = tmp_path / "a.ncu-rep"
    path.write_bytes(data)
    with pytest.raises(ReportFault) as caught:
        open_report(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert what in caught.value.message
    assert remedy in caught.value.remedy


def test_a_report_of_nsight_systems_is_known_by_its_name_alone() -> None:
    assert "Nsight Systems" in recognize(b"\n\x0b\x12" * 99, "report1.nsys-rep").what


def test_gzip_that_unpacks_to_far_more_than_a_report_does_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ncu-rep.gz"
    path.write_bytes(gzip.compress(b"NVR\0" + bytes(2**28)))
    assert MOST_TIMES * path.stat().st_size < 2**28
    with pytest.raises(ReportFault, match="more in it than a report has"):
        open_report(path)


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "a.ncu-rep.gz"
    path.write_bytes(gzip.compress(DATA))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for data in (gzip.compress(DATA), b"no report", gzip.compress(b"no report"), gzip.compress(DATA)[:99]):
        path.write_bytes(data)
        with suppress(ReportFault):
            open_report(path).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
