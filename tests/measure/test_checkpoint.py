"""What an interrupted measurement leaves for the next call, and when nothing of it may be resumed."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rooflift.errors import KernelFault, RunFault
from rooflift.measure import checkpoint
from rooflift.measure.checkpoint import Checkpoint, Start, open_checkpoint, record
from rooflift.measure.environment import Driver
from rooflift.measure.request import Request
from rooflift.project.operator import Operator
from rooflift.runs import atomic
from rooflift.schema import MeasureOptions, Sampling

NOW = datetime.datetime.now(datetime.UTC)
SAMPLING = Sampling(seed=7, samples=50, precision=None, budget_s=3)
H100 = Driver("580.1", ["NVIDIA H100 80GB HBM3"])


def measured(
    root: Path, about: dict[str, Any], end: BaseException | None = None, begun: datetime.datetime = NOW
) -> bool:
    """Measure, or resume what was measured, and end so; return whether it was resumed."""
    with open_checkpoint(root, about) as found:
        found.start = found.start or Start(begun, SAMPLING)
        times = found.load("times", list[int])
        if times is None:
            found.save("times", [1, 2, 3])
        else:
            assert times == [1, 2, 3]
            assert "times of " in found.in_words()
        if end is not None:
            raise end
    return times is not None


def stop(root: Path, about: dict[str, Any], end: BaseException, begun: datetime.datetime = NOW) -> None:
    with pytest.raises(type(end)):
        measured(root, about, end, begun)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143), RunFault("full", "Free some."), OSError("full")])
def test_what_was_finished_is_resumed_once_the_call_was_stopped(tmp_path: Path, end: BaseException) -> None:
    stop(tmp_path, {"command": "profile"}, end)
    assert measured(tmp_path, {"command": "profile"})
    assert list(tmp_path.iterdir()) == []  # it came to its end: nothing is kept
    assert not measured(tmp_path, {"command": "profile"})


def test_measurement_that_failed_keeps_nothing(tmp_path: Path) -> None:
    stop(tmp_path, {}, KernelFault("v1 does not run", "Fix the file."))
    assert list(tmp_path.iterdir()) == []


def test_parts_older_than_a_day_are_thrown_away(tmp_path: Path) -> None:
    stop(tmp_path, {}, KeyboardInterrupt(), NOW - checkpoint.OLDEST - datetime.timedelta(minutes=1))
    assert not measured(tmp_path, {})
    stop(tmp_path, {"another": 1}, KeyboardInterrupt(), NOW - checkpoint.OLDEST - datetime.timedelta(minutes=1))
    measured(tmp_path, {})
    assert list(tmp_path.iterdir()) == []  # those of other requests as well


def test_parts_of_a_run_that_became_whole_are_not_resumed_again(tmp_path: Path) -> None:
    run = tmp_path / "reports" / "run"
    stop(tmp_path, {}, KeyboardInterrupt())
    (begun,) = tmp_path.rglob(checkpoint.START)
    Checkpoint(begun.parent).save("run", str(run))  # and killed behind the rename
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    assert not measured(tmp_path, {})


def test_parts_do_not_count_before_their_beginning_is_written(tmp_path: Path) -> None:
    stop(tmp_path, {}, KeyboardInterrupt())
    (begun,) = tmp_path.rglob(checkpoint.START)
    begun.unlink()
    assert not measured(tmp_path, {})


def test_remains_of_a_removal_hinder_nobody(tmp_path: Path) -> None:
    (tmp_path / "build" / "unfinished" / "half-removed").mkdir(parents=True)
    (tmp_path / "build" / "unfinished" / "stray").write_text("")
    stop(tmp_path, {}, KeyboardInterrupt())
    assert measured(tmp_path, {})
    assert [path.name for path in (tmp_path / "build" / "unfinished").iterdir()] == ["stray"]


def test_two_processes_that_measure_the_same_do_not_share_parts(tmp_path: Path) -> None:
    with open_checkpoint(tmp_path, {}) as mine, open_checkpoint(tmp_path, {}) as theirs:
        mine.start = theirs.start = Start(NOW, SAMPLING)
        mine.save("times", [1])
        assert theirs.load("times", list[int]) is None
        assert theirs.folder != mine.folder


def test_where_nothing_can_be_kept_the_measurement_goes_on(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file in the way")
    assert not measured(tmp_path, {})
    Checkpoint(None).save("times", [1])
    assert Checkpoint(None).load("times", list[int]) is None


@pytest.fixture
def request_(make_operator: Callable[..., Operator], ask: Callable[..., Request], tmp_path: Path) -> Request:
    return replace(ask(make_operator(), use="bench", root=tmp_path), metric_set="none")


def digest(request: Request, driver: Driver = H100, commit: str | None = "a" * 40, dirty: bool = False) -> bytes:
    told = record(request, driver, commit, dirty=dirty)
    return msgspec.json.encode(told, order="sorted")


def test_record_tells_whatever_may_change_a_measurement_apart(
    request_: Request, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same = digest(request_)
    assert digest(replace(request_, timeout_s=1, root=tmp_path / "elsewhere")) == same
    others = [
        digest(replace(request_, command=["rooflift", "profile", "other"])),
        digest(replace(request_, options=MeasureOptions(precision=0.01))),
        digest(replace(request_, dtypes=["float16"])),
        digest(request_, Driver("580.2", H100.gpus)),
        digest(request_, Driver("580.1", ["NVIDIA H200"])),
        digest(request_, commit="b" * 40),
        digest(request_, dirty=True),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "package_version", lambda name: "2.12.0")
        others.append(digest(request_))
    with monkeypatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "1")
        others.append(digest(request_))
    with monkeypatch.context() as patch:
        (tmp_path / "boot_id").write_text("another boot")
        patch.setattr(checkpoint, "BOOT", tmp_path / "boot_id")
        others.append(digest(request_))
    with request_.versions[0].path.open("a") as file:
        file.write("# changed\n")
    others.append(digest(request_))
    assert len({same, *others}) == 1 + len(others)


def test_part_that_cannot_be_written_hinders_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RunFault("full", "Free some.")

    monkeypatch.setattr(atomic, "write_file", full)
    assert not measured(tmp_path, {})
