"""The record of versions that need not be interpreted again: what it rests on, and what goes into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rooflift.compile.module import load_module
from rooflift.project.operator import Operator


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module with a record of its own, and none yet."""
    module = load_module(Path(__file__).with_name("verified.py"))
    monkeypatch.setattr(module, "RECORD", tmp_path / "verified.json")
    return module


def passed(verified: ModuleType, operator: Operator, *outcomes: str) -> Any:
    """What pytest would report of the two tests of the operator's first version."""
    found = verified.Passed()
    name = verified.version_id(operator, operator.versions[0])
    for test, outcome in zip(("agrees", "any_layout"), outcomes, strict=True):
        report = pytest.TestReport(f"t.py::{test}[{name}]", ("t.py", 1, test), {}, outcome, None, "call")  # type: ignore[arg-type]
        found.pytest_runtest_logreport(report)
    return found


def test_version_is_verified_until_something_that_makes_its_result_changes(
    verified: ModuleType, make_operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = make_operator()
    (version,) = operator.versions
    assert not verified.verified(operator, version)
    verified.record([(operator, version)], passed(verified, operator, "passed", "passed"))
    assert verified.verified(operator, version)
    for file in (version.path, operator.reference, operator.folder / "cases.toml"):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert not verified.verified(operator, version), file.name
        file.write_bytes(before)
    assert verified.verified(operator, version)
    monkeypatch.setattr(verified.metadata, "version", lambda name: "99.0")
    assert not verified.verified(operator, version)


@pytest.mark.parametrize("outcomes", [("passed", "failed"), ("failed", "passed"), ("skipped", "passed")])
def test_version_that_did_not_pass_both_tests_is_not_recorded(
    verified: ModuleType, make_operator: Callable[..., Operator], outcomes: tuple[str, str]
) -> None:
    operator = make_operator()
    (version,) = operator.versions
    verified.record([(operator, version)], passed(verified, operator, *outcomes))
    assert verified.recorded() == {}


def test_record_keeps_what_holds_and_drops_what_is_gone_or_changed(
    verified: ModuleType, make_operator: Callable[..., Operator], version_text: Callable[..., str]
) -> None:
    operator = make_operator(version_text(), version_text())
    both = [(operator, version) for version in operator.versions]
    ids = [verified.version_id(operator, version) for version in operator.versions]
    every = verified.Passed()
    for name in ids:
        every.tests[name] = {"agrees", "any_layout"}
    verified.record(both, every)
    assert list(verified.recorded()) == ids
    operator.versions[1].path.write_text(version_text() + "# changed\n")
    verified.record(both, verified.Passed())
    assert list(verified.recorded()) == ids[:1]
    verified.record([], verified.Passed())
    assert verified.recorded() == {}


def test_ids_and_tests_are_those_of_the_test_file(verified: ModuleType) -> None:
    """Otherwise nothing would ever be recorded."""
    tests = load_module(verified.TESTS)
    assert sum(name.startswith("test_version_") for name in vars(tests)) == verified.TESTS_A_VERSION
    ids = [verified.version_id(operator, version) for operator, version in verified.every_version()]
    assert [parameter.id for parameter in tests.EVERY_VERSION] == ids
    assert len(set(ids)) == len(ids)
