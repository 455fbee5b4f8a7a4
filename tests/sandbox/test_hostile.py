"""Hostile candidates, past the linter: none reaches beyond its folder or its limits, and nothing of it is left.

They are run as the gates, the timing and ncu run them.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rooflift import pipeline
from rooflift.errors import KernelFault
from rooflift.measure import children, session
from rooflift.measure.evaluate import Evaluation, evaluate
from rooflift.measure.request import Request
from rooflift.project.cases import Case
from rooflift.project.operator import Operator
from rooflift.runs.run import read_run
from rooflift.sandbox.enter import PROFILER_PLACES, Extent
from rooflift.sandbox.sandbox import Limits, find_sandbox
from rooflift.schema import MeasureOptions
from rooflift.worker import protocol
from rooflift.worker.protocol import Plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(find_sandbox().missing), reason=f"not sandboxed here: {find_sandbox().missing}"),
]
BREAKOUTS = (Path(__file__).parent / "breakouts.py").read_text()
RIGHT = "twice[(triton.cdiv(x.numel(), 64),)](x, y, x.numel(), BLOCK=64)"
ELSEWHERE = pytest.mark.skipif(
    any(Path(__file__).is_relative_to(place) for place in PROFILER_PLACES),
    reason="this checkout lies where what ncu profiles may write",
)
WHERE = [pytest.param(True, id="interpreter"), pytest.param(False, id="gpu", marks=pytest.mark.gpu)]
Through = Callable[..., Evaluation]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What a kernel file is not to reach, as the arguments of `tries`: files, sockets that listen, and this process."""
    build = Path(__file__).parents[2] / "build"  # not the temporary folder: what ncu runs may write there
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build, prefix="outside-") as name:
        place = Path(name)
        for file in ("planted", "to_empty", "to_remove", "to_rename"):
            (place / file).write_text("a planted secret")
        monkeypatch.setenv("PLANTED_TOKEN", "a planted secret")
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
            monkeypatch.chdir(place)  # the path of a UNIX socket may have 107 characters
            local.bind("socket")
            local.listen()
            yield f"{name!r}, {server.getsockname()[1]}, {os.getpid()}"


@pytest.fixture
def through(
    make_operator: Callable[..., Operator],
    version_text: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Through:
    """Return a function: how a candidate comes through the gates; of its processes and files nothing may be left."""
    staging = tmp_path / "staging"
    staging.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(staging))
    operator = make_operator()

    def run(limits: Limits | None = None, interpret: bool = True, **parts: str) -> Evaluation:
        candidate = tmp_path / "candidate.py"
        candidate.write_text(version_text(**parts))
        held = replace(find_sandbox(), limits=limits or Limits())
        found = evaluate(operator, candidate, held, [3], lambda _: None, interpret=interpret)
        assert list(staging.iterdir()) == []
        deadline = time.monotonic() + 30  # a GPU takes its time to drop what runs on it
        while left := at_work_in(staging):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        return found

    return run


def at_work_in(folder: Path) -> list[str]:
    """Return the processes whose working directory is in a folder, also a removed one; zombies have none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(str(folder)):
                found.append(process.name)
        except OSError:
            continue
    return found


def only(found: Evaluation) -> str:
    """Return the one reason for which a candidate was rejected."""
    (reason,) = found.reasons()
    return reason


def attempts_in(text: str) -> dict[str, str]:
    """Return what `tries` said of each attempt."""
    line = next(line for line in text.splitlines() if '{"write to the home folder"' in line)
    found: dict[str, str] = json.loads(line[line.index("{") : line.index("}") + 1])
    assert len(found) > 20
    return found


def test_unconfined_each_attempt_succeeds(outside: str) -> None:
    """So that a refusal says something of the sandbox; who is not root may not read the shadow file."""
    program = f"{BREAKOUTS}\nprint(tries({outside}))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    Path("/dev/shm", Path.cwd().name).unlink()
    found = attempts_in(said.stdout)
    assert [name for name, end in found.items() if end != "done"] in ([], ["read the shadow file"])


@pytest.mark.parametrize("interpret", WHERE)
def test_no_attempt_of_a_reply_succeeds(interpret: bool, outside: str, through: Through) -> None:
    reason = only(through(interpret=interpret, top=BREAKOUTS, launch=f"raise ValueError(tries({outside}))"))
    assert reason.startswith("runs: small float32: candidate.py:")
    assert {name: end for name, end in attempts_in(reason).items() if end == "done"} == {}
    assert sorted(os.listdir()) == ["planted", "socket", "to_empty", "to_remove", "to_rename"]  # noqa: PTH208


@pytest.mark.parametrize("interpret", WHERE)
def test_what_is_timed_is_confined_as_in_the_gates(
    interpret: bool,
    outside: str,
    make_operator: Callable[..., Operator],
    version_text: Callable[..., str],
) -> None:
    operator = make_operator(version_text(top=BREAKOUTS, launch=f"raise ValueError(tries({outside}))"))
    environment = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if interpret else {}
    task = "check" if interpret else "time"
    plan = Plan(work=[Case("small", {}, [[3, 5]], ("float32",))], options=MeasureOptions(seeds=1))
    with children.staged(operator, operator.versions, plan) as stage:
        running = children.run_worker(
            stage, task, environment, children.Measurement(), lambda _: None, sandbox=find_sandbox()
        )
        with pytest.raises(KernelFault) as caught:
            asyncio.run(running)
    assert "done" not in attempts_in(caught.value.message).values()


@pytest.mark.parametrize("extent", ["all", pytest.param("profiled", marks=ELSEWHERE)])
def test_what_ncu_profiles_is_kept_off_files_and_the_rest_off_all(extent: Extent, outside: str, tmp_path: Path) -> None:
    program = f"from rooflift.sandbox.enter import *\nenter_if_asked()\n{BREAKOUTS}\nprint(tries({outside}))"
    said: list[str] = []
    ended = asyncio.run(find_sandbox().run([sys.executable, "-c", program], tmp_path, {}, said.append, extent))
    assert ended.returncode == 0, ended.output
    found = {name for name, end in attempts_in(ended.output).items() if end == "done"}
    open_to_ncu = {
        *("open a file to others", "set a file's times", "write to shared memory"),
        *("open a TCP connection", "send a datagram", "talk to a UNIX socket"),
        *("reach another process", "leave the process group"),
        *("limit another process", "move another process", "send a UNIX datagram", "make a user namespace"),
    }
    assert found == (open_to_ncu if extent == "profiled" else set())
    if extent == "profiled":
        assert "/dev/shm" in PROFILER_PLACES
        Path("/dev/shm", Path.cwd().name).unlink()


NCU = """#!/bin/sh
[ "$1" = --version ] && exit
while [ "$1" != --export ]; do shift; done
shift 2
exec "$@"
"""


@ELSEWHERE
def test_what_ncu_starts_confines_itself(
    outside: str, make_operator: Callable[..., Operator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for ncu starts a stand-in for the target, whose tries are the report."""
    program = f"""from rooflift.sandbox.enter import *
enter_if_asked()
{BREAKOUTS}
Path("report.ncu-rep").write_text(tries({outside}))"""
    (tmp_path / "ncu").write_text(NCU)
    (tmp_path / "ncu").chmod(0o755)
    monkeypatch.setenv("ROOFLIFT_NCU", str(tmp_path / "ncu"))
    monkeypatch.setattr(protocol, "worker_command", lambda task: [sys.executable, "-c", program])
    counters = session.MetricRequest(["metric"], [], False, tmp_path / "report")
    operator = make_operator()
    with children.staged(operator, operator.versions, Plan(work=[])) as stage:
        asyncio.run(session.profile_staged(stage, counters, lambda _: None, find_sandbox()))
    found = attempts_in(counters.report.read_text())
    assert found["write to shared memory"] == "done"
    Path("/dev/shm", Path.cwd().name).unlink()
    for name in ("write to the home folder", "read a file", "read an environment secret", "read another's environment"):
        assert found[name] != "done"


@pytest.mark.gpu
@pytest.mark.ncu
def test_what_ncu_profiles_is_a_plan_and_no_host_code(
    outside: str, make_operator: Callable[..., Operator], version_text: Callable[..., str], ask: Callable[..., Request],
    tmp_path: Path,
) -> None:  # fmt: skip
    """What ncu profiles could write there; the version's Python could not where its plan was recorded."""
    open_to_ncu = Path("/dev/shm", Path.cwd().name)
    writes = f"""for path in ({str(Path.cwd() / "left_behind")!r}, {str(open_to_ncu)!r}):
            try:
                open(path, "w").close()
            except OSError:
                pass
        {RIGHT}"""
    operator = make_operator(version_text(launch=writes))
    request = replace(ask(operator, use="bench", timeout_s=240, root=tmp_path / "project"), sandbox=find_sandbox())
    told = pipeline.profile(request, tmp_path / "run", lambda _: None)
    assert not open_to_ncu.exists()
    metrics = read_run(told.folder).metrics
    assert set(metrics[metrics["metric"] == "grid_size"]["value"]) == {1}
    assert sorted(os.listdir()) == ["planted", "socket", "to_empty", "to_remove", "to_rename"]  # noqa: PTH208


def test_a_reply_that_forks_without_end_is_ended(through: Through) -> None:
    bomb = """import os, time
        for _ in range(3000):  # a bomb with an end, should nobody stop it
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)"""
    reason = only(through(launch=bomb))
    assert reason.startswith("limits: it held ")
    assert "processes, of at most 64" in reason


def test_a_reply_that_sleeps_is_ended(through: Through) -> None:
    reason = only(through(Limits(time_s=6), launch="import time; time.sleep(600)"))
    assert reason.startswith("limits: it ran past 6 s.")


def test_a_reply_that_allocates_without_end_is_ended(through: Through) -> None:
    hoard = """self.hoard = []
        while len(self.hoard) < 200:
            self.hoard.append(torch.ones(2**26, dtype=torch.uint8))"""
    reason = only(through(Limits(memory_bytes=2**30), launch=hoard))
    assert reason.startswith("limits: it held ")
    assert "GiB of memory, of at most 1.0 GiB" in reason


def test_a_reply_that_fills_the_disk_is_ended(through: Through) -> None:
    fill = """import os, time
        files = [os.open(f"file{n}", os.O_CREAT | os.O_WRONLY) for n in range(8)]
        for n in range(8):
            os.unlink(f"file{n}")  # a file without a name takes space, too
        for _ in range(32):
            for file in files:
                os.write(file, bytes(2**23))
            time.sleep(0.1)
        time.sleep(60)"""
    reason = only(through(Limits(disk_bytes=2**28), launch=fill))
    assert reason.startswith("limits: the disk lost ")


def test_a_file_has_a_largest_size(through: Through) -> None:
    reason = only(through(launch="""open("large", "wb").truncate(2**30 + 1)"""))
    assert reason.startswith("runs: ")
    assert "File too large" in reason


def test_a_daemon_does_not_outlive_the_candidate(through: Through) -> None:
    """It is none of the candidate's threads; that it was started is seen, and it is gone before results are judged."""
    daemon = f"""import os, signal, time
        {RIGHT}
        if os.fork() == 0:
            if os.fork() == 0:
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                time.sleep(600)
            os._exit(0)"""
    reason = only(through(launch=daemon))
    assert reason.startswith("plan: ")
    assert "the file does os.fork" in reason


def test_a_reply_cannot_change_what_it_is_judged_by(through: Through) -> None:
    change = f"""from pathlib import Path
        Path("reference.py").write_text(Path("reference.py").read_text().replace("2 * x", "0 * x"))
        Path("trial.json").write_text('{{"reference": "reference.py", "candidate": "candidate.py", "trials": []}}')
        {RIGHT}
        y.zero_()"""
    reason = only(through(launch=change))
    assert reason.startswith("plan: ")
    assert "the file does open" in reason


@pytest.mark.parametrize(
    "instead",
    ["os.mkfifo('plans/0.plan')", "os.rmdir('plans')", "os.symlink('/dev/zero', 'plans/0.plan')"],
    ids=["pipe", "nothing", "link to a device"],
)
def test_plans_that_are_no_file_keep_nobody_waiting(instead: str, through: Through) -> None:
    reason = only(through(Limits(time_s=20), launch=f"import os; {instead}; os._exit(0)"))
    assert reason.startswith("runs: small float32: the process ended before it had a result")


def test_a_state_that_takes_the_judge_s_memory_is_the_reply_s_fault(through: Through) -> None:
    forge = """import os
        torch.save({"w": torch.zeros(1).expand(2**29)}, "plans/0.pt")
        open("plans/0.plan", "wb").write(b"none")
        os._exit(0)"""
    first, *_ = through(Limits(memory_bytes=2**30), launch=forge).reasons()
    assert first.startswith(("limits: when its results", "plan: "))


def test_the_last_words_of_a_reply_are_no_other_file_s(through: Through, tmp_path: Path) -> None:
    (tmp_path / "planted").write_text("a planted secret")
    link = f"""import os
        os.unlink("output.log")
        os.symlink({str(tmp_path / "planted")!r}, "output.log")
        os._exit(7)"""
    reason = only(through(launch=link))
    assert "ended with code 7" in reason
    assert "secret" not in reason


@pytest.mark.gpu
@pytest.mark.parametrize(
    "more",
    [
        "held.append(torch.empty(2**30, dtype=torch.uint8, device=x.device))",
        """if cuda.cuMemAlloc_v2(ctypes.byref(ctypes.c_uint64()), ctypes.c_size_t(2**30)) != 0:
                raise MemoryError("the GPU is full")""",
    ],
    ids=["torch", "driver"],
)
def test_a_reply_that_exhausts_the_gpu_s_memory_leaves_it_to_the_next(more: str, through: Through) -> None:
    exhaust = f"""import ctypes
        held, cuda = [], ctypes.CDLL("libcuda.so.1")
        while True:
            {more}"""
    reason = only(through(interpret=False, launch=exhaust))
    assert reason.startswith("runs: ")
    assert "Memory" in reason
    assert through(interpret=False, launch=RIGHT).reasons() == []


ENDLESS = """
@triton.jit
def endless(flag_ptr):
    flag = tl.load(flag_ptr, volatile=True)
    while flag == 0:
        flag = tl.load(flag_ptr, volatile=True)
"""


@pytest.mark.gpu
def test_a_kernel_that_never_ends_is_ended_and_the_next_reply_runs(through: Through) -> None:
    hang = "endless[(1,)](torch.zeros(1, dtype=torch.int32, device=x.device))"
    started = time.monotonic()
    reason = only(through(Limits(time_s=60), interpret=False, top=ENDLESS, launch=hang))
    assert reason.startswith("limits: it ran past 60 s.")
    assert time.monotonic() - started < 120
    assert through(interpret=False, launch=RIGHT).reasons() == []
