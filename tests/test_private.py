"""Nothing that a command leaves behind names its author: every byte of every file is searched, unpacked, for plants.

The commands run as somebody types them: home, user, host, checkout and environment are somebody's. What ncu and a
agent say is full of them.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import html
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec
import pandas as pd
import pyarrow.parquet
import pytest
from PIL import Image

from rooflift.runs.run import read_run
from rooflift.worker import protocol

TESTS = Path(__file__).parent
UTS = ["unshare", "--map-root-user", "--uts"]
USER, HOST = "quillfeather", "zinnober-17"
CHECKOUT_NAME = "krn'äpfel & <co>"  # escaped in another way by shells, JSON, HTML and addresses
CONFIDENTIAL = {
    "AWS_SECRET_ACCESS_KEY": "wJalr/K7MDENG+bPxRfi&Y",
    "HF_TOKEN": "hf_plantedQjXwVbNmKp",
    "GIT_AUTHOR_EMAIL": "q.feather@zinnober.example",
    "PIP_INDEX_URL": "https://mirror:pass-zebra-9@packages.example/simple",
}
STRANGER = "/home/ferdinanda/work/kernel.py"  # of a report that comes from elsewhere
CASES = (TESTS / "fixtures" / "two_cases.toml").read_text()
NCU = (TESTS / "fixtures" / "stand_in_ncu.sh").read_text() + 'cp {planted} "$report"\n'
ROOM = re.compile(rb"[A-Z][A-Za-z0-9 ,.;:()/%#'=-]{200,}")  # ncu's descriptions, in every report with sections


def forms(text: str) -> Iterator[bytes]:
    """A text as a file may hold it."""
    for codec in ("utf-8", "utf-16-le", "utf-16-be"):
        yield text.encode(codec)
    for form in (json.dumps(text)[1:-1], html.escape(text), quote(text), quote(text, safe="")):
        yield form.encode()


def unpacked(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The bytes of a file, and of all that is packed into it."""
    yield name, data
    if data.startswith(b"PK\3\4"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                yield from unpacked(f"{name}:{member}", archive.read(member))
    elif data.startswith(b"PAR1"):
        table = pyarrow.parquet.read_table(io.BytesIO(data))
        yield name, table.to_pandas().to_csv().encode() + repr(table.schema.metadata).encode()
    elif data.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(data)) as image:
            yield name, repr(image.info).encode()
    for start in (match.start() for match in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data)):
        try:
            inner = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data[start:], 2**26)
        except zlib.error:  # what looked like the beginning of a stream
            continue
        yield f"{name}:{start}", inner
    for match in re.finditer(rb"[A-Za-z0-9+/]{24,}={0,2}", data):
        for shift in range(4):  # it may begin behind what is no part of it
            part = match[0].rstrip(b"=")[shift:]
            try:
                yield f"{name}:{match.start()}", base64.b64decode(part[: len(part) // 4 * 4])
            except binascii.Error:
                continue


def leaks(folder: Path, secrets: Mapping[str, str]) -> set[str]:
    """What the files of a folder say of the secrets: "report.md: host"."""
    found = set()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        for name, data in unpacked(str(path.relative_to(folder)), path.read_bytes()):
            found |= {f"{name}: {what}" for what, text in secrets.items() if any(f in data for f in forms(text))}
        found |= {f"{path.name}: its name holds {what}" for what, text in secrets.items() if text in path.name}
    return found


class Somebody:
    """A project with a recorded run on somebody's machine, and commands typed there."""

    def __init__(self, folder: Path, checkout: Path, run: Path) -> None:
        self.folder = folder
        self.project, self.home, self.stand = folder / CHECKOUT_NAME, folder / "homes" / USER, folder / "stand"
        self.secrets = {
            "home": str(self.home),
            "user": USER,
            "host": HOST,
            "checkout": str(self.project),
            "Python": sys.prefix,
            "stranger": "ferdinanda",
            **CONFIDENTIAL,
            "PIP_INDEX_URL": "pass-zebra-9",
        }
        operator = self.project / "kernels" / "depthwise_conv2d"
        for made in (operator, self.home, self.stand):
            made.mkdir(parents=True)
        for name in ("reference", "v0_baseline", "v1_grid"):
            shutil.copy(checkout / "kernels" / "depthwise_conv2d" / f"{name}.py", operator)
        (operator / "cases.toml").write_text(CASES)
        shutil.copytree(run, self.project / "reports" / "depthwise_conv2d" / "recorded")
        self._stand_in(run)
        outside = subprocess.run([*UTS, "true"], capture_output=True, check=False).returncode
        self.uts = UTS if outside == 0 else []
        inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        places = {"MPLCONFIGDIR": "mpl", "TRITON_CACHE_DIR": "triton", "XDG_CACHE_HOME": "cache"}
        self.environment = {
            **inherited,
            **{name: str(folder / place) for name, place in places.items()},
            **CONFIDENTIAL,
            "HOME": str(self.home),
            "USER": USER,
            "LOGNAME": USER,
            "HOST_NAME": HOST,
            "OUTER_UTS": os.readlink("/proc/self/ns/uts"),  # noqa: PTH115  # no file's path
            "PYTHONPATH": str(checkout / "profiling"),
            "ROOFLIFT_NCU": str(self.stand / "ncu"),
            "CUDA_VISIBLE_DEVICES": "",
        }

    @property
    def own(self) -> list[str]:
        """The secrets of this machine; of a stranger's the folder alone gives the name away."""
        return [text for what, text in self.secrets.items() if what != "stranger"]

    @property
    def all_said(self) -> str:
        """Everything that names somebody, a line each."""
        return "\n".join([*self.own, STRANGER])

    def _stand_in(self, run: Path) -> None:
        """Write what the programs say that would run on the GPU, and an ncu whose report is full of plants."""
        recorded = read_run(run)
        manifest = recorded.manifest
        (case,) = manifest.cases
        device = {field: getattr(manifest.machine, field) for field in protocol.Device.__struct_fields__}
        checks = [protocol.Checked(check) for check in manifest.checks]
        times = [
            protocol.Samples(str(name), 0, case.case, case.dtype, own["time_us"].to_list(), own["position"].to_list())
            for name, own in recorded.samples.groupby("provider", sort=False)
        ]
        told = [protocol.Device(**device), *checks, *times, protocol.Resolved(case)]
        for task, events in (("time", told), ("profile", checks)):
            (self.stand / f"{task}.jsonl").write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in events))
        data = recorded.reports[0].read_bytes()
        texts = [STRANGER.encode(), *dict.fromkeys(form for text in self.own for form in forms(text))]
        for spot in sorted(set(ROOM.findall(data)), key=len, reverse=True):
            said = b""
            while texts and len(said) + len(texts[-1]) + 4 <= len(spot):
                said += b"by " + texts.pop() + b" "
            data = data.replace(spot, said + spot[len(said) :], 1)
        assert not texts
        (self.stand / "planted.ncu-rep").write_bytes(data)
        (self.stand / "ncu").write_text(NCU.format(planted=shlex.quote(str(self.stand / "planted.ncu-rep"))))
        (self.stand / "ncu").chmod(0o755)

    def types(self, *words: str | Path) -> str:
        """Run a command in the project and return what it prints on standard output."""
        program = [sys.executable, str(TESTS / "private_machine.py"), str(self.stand)]
        ended = subprocess.run(
            [*self.uts, *program, *map(str, words)],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def somebody(checkout: Path, h100_run: Path) -> Iterator[Somebody]:
    """Somebody whose measured run lies in build/run; the paths are short enough for ncu's descriptions."""
    with tempfile.TemporaryDirectory(prefix="zq-") as folder:
        one = Somebody(Path(folder).resolve(), checkout, h100_run)
        asked = ("-v", "v0", "-v", "v1", "-c", "main", "-d", "float32")
        one.types("profile", "depthwise_conv2d", *asked, "--out", "build/run")
        yield one


def test_measured_run_names_nobody_although_ncu_does(somebody: Somebody) -> None:
    planted = leaks(somebody.stand, somebody.secrets)
    assert {found for found in planted if found.startswith("planted.ncu-rep: ")} == {
        f"planted.ncu-rep: {what}" for what in somebody.secrets
    }
    written = {path.suffix for path in (somebody.project / "build" / "run").rglob("*")}
    assert written >= {".json", ".csv", ".md", ".svg", ".parquet", ".ncu-rep"}
    assert leaks(somebody.project / "build" / "run", somebody.secrets) == set()


def test_report_from_elsewhere_names_nobody_when_it_is_imported(somebody: Somebody) -> None:
    somebody.types("import", somebody.stand / "planted.ncu-rep", "--out", "build/imported")
    assert leaks(somebody.project / "build" / "imported", somebody.secrets) == set()
    assert read_run(somebody.project / "build" / "imported").metrics["value"].notna().sum() > 100


def test_bundle_holds_what_was_told_and_nothing_that_lay_beside_it(somebody: Somebody) -> None:
    told = somebody.project / "build" / "told"
    told.mkdir(parents=True)
    (told / "notes.txt").write_text(somebody.all_said)
    somebody.types("report", "build/run", "--bundle", "--out", told)
    (told / "notes.txt").unlink()
    assert {path.suffix for path in told.iterdir()} == {".md", ".html", ".svg", ".zip"}
    assert leaks(told, somebody.secrets) == set()


@pytest.mark.slow
def test_loop_leaves_nothing_private_of_what_candidates_and_faults_said(somebody: Somebody, checkout: Path) -> None:
    right = (checkout / "kernels" / "depthwise_conv2d" / "v1_grid.py").read_text()
    said = "".join(f"# {line}\n" for line in somebody.all_said.splitlines())
    candidates = somebody.folder / "candidates"
    candidates.mkdir()
    for number, candidate in enumerate((somebody.all_said, f"{right}# breaks\n{said}", right + said), 1):
        (candidates / f"{number}.txt").write_text(candidate)
    (candidates / "list").write_text("1.txt\n2.txt\n3.txt\n")
    agent = shlex.join([sys.executable, str(TESTS / "optimize" / "play.py"), str(candidates / "list")])
    words = ["optimize", "depthwise_conv2d", "--no-gpu", "--trust", "--stages", "grid", "--agent", agent, "--json"]
    told = json.loads(somebody.types(*words, "--out", "build/optimize", "--keep", "build/kept"))
    assert [one["at"] for one in told["iterations"]] == ["lint", "evaluation", None]
    assert "site-packages" in told["iterations"][1]["why"][0]
    assert "HF_TOKEN=xxx" in (somebody.project / "build" / "optimize" / "iterations" / "003" / "prompt.md").read_text()
    assert len(list((somebody.project / "build" / "kept").iterdir())) == 1
    for folder in ("optimize", "kept"):
        assert leaks(somebody.project / "build" / folder, somebody.secrets) == set()


@pytest.mark.parametrize(
    "command",
    [
        "prompt depthwise_conv2d v1 --stage tiling --gpu h100 --run build/run",
        "compare build/run:v0 :v1 --json",
        *(
            pytest.param(command, marks=pytest.mark.slow)
            for command in (
                "prompt depthwise_conv2d v1 --stage tiling --gpu h100 --run build/run --format json",
                "advise build/run v1 --json",
                "gate build/run --max-slowdown 2% --min-sol 10% --json",
                "estimate build/run --against recorded --out build/table.md --json",
                "show --json",
            )
        ),
    ],
)
def test_answer_that_goes_into_a_file_names_nobody(somebody: Somebody, command: str, tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(somebody.types(*command.split()))
    assert (tmp_path / "answer").stat().st_size > 200
    for path in (somebody.project / "build").glob("*.md"):
        shutil.move(path, tmp_path)
    assert leaks(tmp_path, somebody.secrets) == set()


def packed(text: str) -> dict[str, bytes]:
    """A text in every packing that the search looks into."""
    archive, table = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inner.txt", gzip.compress(text.encode()))
    pd.DataFrame({"column": [text]}).to_parquet(table)
    return {
        "zip.bin": archive.getvalue(),
        "gzip.bin": b"before" + gzip.compress(text.encode()),
        "parquet.bin": table.getvalue(),
        "base64.bin": b"url(data:x;base64," + base64.b64encode(f"before {text} behind".encode()) + b")",
        **{f"{place}.bin": b"before" + form + b"behind" for place, form in enumerate(forms(text))},
    }


@pytest.mark.parametrize("packing", packed(""))
def test_search_looks_into_every_packing(packing: str, tmp_path: Path) -> None:
    text = "/srv/krn'äpfel & <co>"
    (tmp_path / packing).write_bytes(packed(text)[packing])
    assert any(found.endswith(": what") for found in leaks(tmp_path, {"what": text}))
