"""Batches on a cluster of this machine: what is resumed, what outlives a worker, who has a GPU."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

import rooflift as rl
from rooflift.api import work
from rooflift.errors import CatalogError, EnvironmentFault, NoGpu
from rooflift.project.operator import load_operator
from rooflift.schema import LeftOutVersion

pytest.importorskip("distributed")
import cloudpickle

from rooflift.batch.batch import JOURNAL, batch, read_journal
from rooflift.batch.cluster import connected
from rooflift.batch.jobs import CPU, GPU, Job, Outcome, do, jobs_of
from rooflift.batch.schedule import schedule

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]


def job(number: int, resource: str = GPU, **options: Any) -> Job:
    return Job(f"job {number}", "profile", "", f"operator_{number}", ("v0",), resource, options)


def done(one: Job, **more: Any) -> Outcome:
    return Outcome(one.key, one.operator, one.versions, **{"state": "done", "seconds": 0.0, **more})


def kill_the_first(mark: Path, one: Job) -> Outcome:
    """Stand for a job that takes its worker with it, once."""
    if one.options.get("kills") and not mark.exists():
        mark.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return done(one)


def kill_always(one: Job) -> Outcome:
    if one.options.get("kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    return done(one)


def watch(folder: Path, one: Job) -> Outcome:
    """Stand for a measurement that leaves when it had which worker's GPU."""
    begun = time.monotonic()
    time.sleep(0.05)
    devices = os.environ["CUDA_VISIBLE_DEVICES"]
    (folder / one.operator).write_text(f"{devices or 'none'} {begun} {time.monotonic()}")
    return done(one)


def lose_a_gpu(one: Job) -> Outcome:
    """Stand for a GPU that fell off the bus: the first one."""
    if os.environ["CUDA_VISIBLE_DEVICES"] == "0":
        return done(one, state="failed", result="NoGpu: no NVIDIA GPU: fell off", remedy="Look at dmesg.")
    return done(one)


def outcomes_of(jobs: list[Job], do: Callable[[Job], Outcome], gpus: int, cpus: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    with connected(None, gpus, cpus) as client:
        schedule(client, jobs, do, lambda one: found.update({one.key: one}))
    return found


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_is_done_by_another_and_says_so(tmp_path: Path) -> None:
    jobs = [job(n, kills=n == 1) for n in range(6)]
    found = outcomes_of(jobs, partial(kill_the_first, tmp_path / "mark"), gpus=2, cpus=0)
    assert {one.state for one in found.values()} == {"done"}
    assert "a worker died with it" in found["job 1"].notes[0]


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_lost_and_hinders_no_other() -> None:
    found = outcomes_of([job(n, kills=n == 1) for n in range(4)], kill_always, gpus=2, cpus=0)
    assert [one.key for one in found.values() if one.state == "lost"] == ["job 1"]
    assert len(found["job 1"].notes) == 3  # given to a worker once, and twice again
    assert sum(one.state == "done" for one in found.values()) == 3


@pytest.mark.slow
def test_one_measurement_at_a_time_owns_a_gpu_while_others_work_beside(tmp_path: Path) -> None:
    jobs = [job(n) for n in range(6)] + [job(n, CPU) for n in range(6, 9)]
    assert len(outcomes_of(jobs, partial(watch, tmp_path), gpus=2, cpus=1)) == 9
    spans: dict[str, list[tuple[float, float]]] = {}
    for file in tmp_path.iterdir():
        devices, begun, ended = file.read_text().split()
        spans.setdefault(devices, []).append((float(begun), float(ended)))
    assert spans.keys() == {"0", "1", "none"}
    for own in spans.values():
        own.sort()
        assert all(before[1] <= after[0] for before, after in pairwise(own))


@pytest.mark.slow
def test_jobs_of_a_lost_gpu_go_to_another_and_it_gets_no_more() -> None:
    found = outcomes_of([job(n) for n in range(6)], lose_a_gpu, gpus=2, cpus=0)
    assert {one.state for one in found.values()} == {"done"}
    assert any("could not use its GPU" in note for one in found.values() for note in one.notes)


def test_a_job_that_profiles_names_the_versions_that_its_run_left_out(
    h100_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rl.open(h100_run)
    gone = LeftOutVersion("v9_gone", "main", "float32", "WrongResult", "4 of 8 are wrong", "")
    partly = replace(run, manifest=msgspec.structs.replace(run.manifest, left_out=[gone]))
    monkeypatch.setattr(work, "profile", lambda *_, **__: partly)
    assert do(job(1)).result.endswith(" us; v9_gone is left out (WrongResult)")


def test_a_version_each_is_verified_and_a_ladder_together_is_profiled(checkout: Path) -> None:
    verified = jobs_of(checkout, "verify", ["softmax"], on_gpu=False)
    assert len(verified) == len(load_operator(checkout, "softmax").versions) > 2
    assert {(len(one.versions), one.resource) for one in verified} == {(1, CPU)}
    (profiled,) = jobs_of(checkout, "profile", ["softmax"], on_gpu=True)
    assert (len(profiled.versions), profiled.resource) == (len(verified), GPU)
    (one,) = jobs_of(checkout, "compile", ["softmax:v1"], on_gpu=True)
    assert (one.versions[0].partition("_")[0], one.resource) == ("v1", CPU)
    with pytest.raises(CatalogError, match="no operator"):
        jobs_of(checkout, "verify", ["rms_nrm"], on_gpu=False)


def test_what_tunes_itself_is_tuned_a_loop_starts_at_its_base_and_a_candidate_is_a_job(
    checkout: Path, tmp_path: Path
) -> None:
    tuned = jobs_of(checkout, "tune", ["cumsum"], on_gpu=True, values=[])
    assert {one.versions[0].partition("_")[0] for one in tuned} >= {"v4"}
    assert not any(one.versions[0].startswith("v0") for one in tuned)  # without @triton.autotune
    (one,) = jobs_of(checkout, "tune", ["cumsum:v0"], on_gpu=False, values=["num_warps=2,4"])
    assert (one.resource, one.options["values"]) == (CPU, ["num_warps=2,4"])
    (loop,) = jobs_of(checkout, "optimize", ["cumsum"], on_gpu=True, agent="cat")
    assert (len(loop.versions), loop.versions[0][:2], loop.resource) == (1, "v0", GPU)
    file = tmp_path / "mine.py"
    file.write_text("first")
    (before,) = jobs_of(checkout, "verify", [f"cumsum:{file}"], on_gpu=False)
    file.write_text("second")
    (after,) = jobs_of(checkout, "verify", [f"cumsum:{file}"], on_gpu=False)
    assert (before.versions, before.options["candidate"]) == (("mine",), str(file))
    assert before.key != after.key


def test_loops_need_an_agent(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no agent"):
        batch("optimize", root=tmp_path)


def test_a_journal_keeps_what_is_done_whatever_a_kill_left_of_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL
    assert read_journal(path) == {}
    lines = [msgspec.json.encode(done(job(1))), msgspec.json.encode(done(job(2), state="failed")), b'{"key": "torn']
    path.write_bytes(b"\n".join(lines))
    assert read_journal(path).keys() == {"job 1"}


@pytest.mark.usefixtures("no_gpu")
def test_no_gpu_and_no_scheduler_are_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    with pytest.raises(NoGpu):
        batch("profile", root=tmp_path)
    with pytest.raises(EnvironmentFault, match="no scheduler answers"), connected("tcp://127.0.0.1:9", 0, 0):
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_the_same_command_resumes_and_a_changed_version_is_done_again(
    rooflift: Callable[..., Any], tmp_path: Path
) -> None:
    for name in ("first", "second"):
        assert rooflift("new", name, folder=tmp_path).code == 0
    said = rooflift("batch", "verify", folder=tmp_path)
    assert said.code == 0
    assert "2 of 2 done, 0 of them before" in said.out
    version = tmp_path / "kernels" / "second" / "v0_baseline.py"
    version.write_text(version.read_text().replace("2 * x)", "3 * x)"))
    said = rooflift("batch", "verify", folder=tmp_path)
    assert said.code == 1
    assert "1 of 2 done, 1 of them before" in said.out
    assert "WrongResult" in said.out


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_configurations_are_compiled_and_loops_run_in_the_interpreter(
    rooflift: Callable[..., Any], checkout: Path, tmp_path: Path
) -> None:
    for folder in ("kernels", "reports"):  # without a GPU the first prompt of a loop is about a recorded run
        shutil.copytree(checkout / folder / "rms_norm", tmp_path / folder / "rms_norm")
    said = rooflift("batch", "tune", "rms_norm:v0", "--set", "num_warps=2,4", folder=tmp_path)
    assert said.code == 0, said.err
    assert "2 configurations compiled, none timed" in said.out
    agent = f"cat {tmp_path / 'kernels' / 'rms_norm' / 'v0_baseline.py'}"
    loop = ["--agent", agent, "--stages", "tiling", "--iterations", "1"]
    said = rooflift("batch", "optimize", "rms_norm", *loop, folder=tmp_path)
    assert said.code == 0, said.err
    assert "1 iterations, kept:" in said.out
