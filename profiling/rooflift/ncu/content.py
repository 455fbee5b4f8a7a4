"""What a file is, by its content: a report, also in gzip, text with metrics, or something else, with what to do."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import zlib
from pathlib import Path
from typing import IO, Literal, NamedTuple

from rooflift.errors import ReportFault

MAGIC = b"NVR\0"  # NVIDIA, Customization Guide of Nsight Compute, Report File Format
GZIP = b"\x1f\x8b"
HEAD_BYTES = 4096
MOST_BYTES = 2**31  # a report of one launch with all sections takes 180 KB; protobuf ends at 2 GiB
MOST_TIMES = 300  # a report takes 3 to 20 times its bytes in gzip; one of zeros alone, which is none, 1000 times
REMEDY = "Profile again; a report is made by `rooflift profile` or `ncu -o`."
KINDS = "Name a .ncu-rep file, what `ncu --csv` printed, or metrics as JSON."

Form = Literal["report", "json", "csv", ""]


class Content(NamedTuple):
    """What a file is: `form` is "" where rooflift cannot read it, and then `what` and `remedy` say why."""

    form: Form
    what: str = ""
    remedy: str = ""


_PROFILE = "It holds a timeline, no metrics of kernels. Profile the kernel with `ncu -o NAME COMMAND`."
_UNPACK = "Unpack it, and name the report in it."
_UTF8 = "Write it in UTF-8: in PowerShell `ncu ... | Out-File -Encoding utf8 FILE`, or `iconv -f UTF-16 -t UTF-8`."
_OTHERS = (  # how a file begins, what it is, what to do
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself", "Run `git lfs pull` where it lies."),
    (rb"SQLite format 3\0", "an SQLite database, such as Nsight Systems exports", _PROFILE),
    (rb"/annex/objects/", "a pointer of git-annex, not the file itself", "Run `git annex get` where it lies."),
    (rb"\s*(?:404|403)\b|\s*(?:not found|access denied)\b", "a server's refusal, not the file", "Download it again."),
    (rb"\x1f\x8b", "compressed with gzip twice", _UNPACK),
    (rb"PK\x03\x04", "a zip archive", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (rb"\xfd7zXZ\0", "compressed with xz", _UNPACK),
    (rb"BZh\d1AY", "compressed with bzip2", _UNPACK),
    (rb"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (rb"\x89PNG|\xff\xd8\xff", "a picture", KINDS),
    (rb"%PDF-", "a PDF", KINDS),
    (rb"\x7fELF", "a program or a kernel's binary (ELF)", "Profile it with `ncu -o NAME PROGRAM`."),
    (rb"\xff\xfe|\xfe\xff|(?:[\t\n\r -~]\0){4}|(?:\0[\t\n\r -~]){4}", "text in UTF-16", _UTF8),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)\b", "an HTML page", "Download the file itself (GitHub: Raw)."),
)
_SYSTEMS = (".nsys-rep", ".qdrep", ".qdstrm")
_CSV = re.compile(rb'^(.*[,;\t])?"?(Kernel Name|Function Name|Metric Name)"?[,;\t]', re.MULTILINE)
_FOR_PROGRAMS = "Have ncu print values for programs: `ncu --csv --page raw`, or keep the report with `ncu -o`."
_LINES = "Keep the report with `ncu -o`: `rooflift hotspots` reads its lines, `rooflift show` its metrics."
_WITHIN = (  # what stands at the beginning of some line
    (rb'^==\d+== (NVPROF|Profiling)|Metric Description"?,|^"?Type"?,"?Time\(%\)', "what nvprof printed", _FOR_PROGRAMS),
    (rb'^"?Time ?\(%\)"?,"?Total Time', "a table of `nsys stats`", _PROFILE),
    (rb'^("?#"?,)?"?Address"?,"?Source"?', "the source page of ncu: lines, no metrics of a launch", _LINES),
)
_PRINTED = re.compile(rb"==PROF==|^ +Section: ", re.MULTILINE)


def recognize(head: bytes, name: str = "") -> Content:
    """Return what a file is by its first bytes; its name counts only where no byte tells.

    Example:
        >>> recognize(b'{"kernel": {}}').form
        'json'
    """
    if head.startswith(MAGIC):
        return Content("report")
    for begins, what, remedy in _OTHERS:
        if re.match(begins, head, re.DOTALL | re.IGNORECASE):
            return Content("", what, remedy)
    if name.lower().endswith(_SYSTEMS):
        return Content("", "a report of Nsight Systems", _PROFILE)
    text = head.removeprefix(b"\xef\xbb\xbf")
    if text.lstrip()[:1] in (b"{", b"["):
        return Content("json")
    for within, what, remedy in _WITHIN:
        if re.search(within, text, re.MULTILINE):
            return Content("", what, remedy)
    if _CSV.search(text):
        return Content("csv")
    if _PRINTED.search(text):
        return Content("", "what ncu prints for people", _FOR_PROGRAMS)
    return Content("", "no Nsight Compute report, no metrics as CSV or JSON", KINDS)


def open_file(path: Path) -> IO[bytes]:
    """Open what may be anything, and wait for nobody; of a file in gzip what is in it, in a file without a name.

    Raises:
        ReportFault: there is no file, none that may be read, no regular one, an empty one or one that is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ReportFault(f"{path}: no such file", "Name a .ncu-rep file or a run folder.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise ReportFault(f"{path}: {what}", "Name a .ncu-rep file that you may read.") from None
    wrong = _wrong(os.fstat(descriptor))
    if wrong:
        os.close(descriptor)
        raise ReportFault(f"{path}: {wrong}", REMEDY)
    file = os.fdopen(descriptor, "rb")
    if os.pread(descriptor, 2, 0) != GZIP:
        return file
    with file:
        unpacked = tempfile.TemporaryFile()  # noqa: SIM115  # it is what the caller asked for
        wrong = _unpack(file, unpacked)
    if wrong:
        unpacked.close()
        raise ReportFault(f"{path}: compressed with gzip, {wrong}", "Fetch or make it again.")
    return unpacked


def open_report(path: Path) -> IO[bytes]:
    """Open a report, as it is or in gzip.

    Raises:
        ReportFault: as `open_file`; or the file is something else, which the error names.
    """
    file = open_file(path)
    found = recognize(os.pread(file.fileno(), HEAD_BYTES, 0), path.name)
    if found.form != "report":
        file.close()
        what = {"json": "JSON, no report", "csv": "CSV, no report"}.get(found.form, found.what)
        raise ReportFault(f"{path}: {what}", found.remedy or f"`rooflift import {path.name}` takes metrics.")
    return file


def _wrong(found: os.stat_result) -> str:
    """Return why something is not read, "" when nothing is wrong with it."""
    if stat.S_ISDIR(found.st_mode):
        return "a folder, not a file"
    if not stat.S_ISREG(found.st_mode):
        return "a pipe, device or socket, not a file"
    if found.st_size > MOST_BYTES:
        return f"{found.st_size / 2**30:.1f} GiB are more than the {MOST_BYTES >> 30} GiB that are read"
    return "" if found.st_size else "an empty file"


def _unpack(file: IO[bytes], unpacked: IO[bytes]) -> str:
    """Write what is in a file in gzip, which may have several members; return what is wrong with it, "" for nothing."""
    most = min(MOST_BYTES, MOST_TIMES * os.fstat(file.fileno()).st_size)
    unpacker = zlib.decompressobj(wbits=31)  # 31: with the head of gzip
    try:
        while data := file.read(2**20):
            while data:
                unpacked.write(unpacker.decompress(data, 2**24))
                if unpacked.tell() > most:
                    return f"and more in it than a report has: over {most // 2**20} MiB"
                data = unpacker.unconsumed_tail
                if unpacker.eof and (data := unpacker.unused_data):
                    unpacker = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        return f"and damaged: {error}"
    unpacked.seek(0)
    return "" if unpacker.eof else "and cut off"
