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


def interpreted(verified: ModuleType, operator: Operator, *told: bool) -> Any:
    """What becomes of the record when each of the two tests says of the operator's first version that it passed."""
    found = verified.Passed([(operator, version) for version in operator.versions])
    name = verified.version_id(operator, operator.versions[0])
    for test, passed in zip(("agree", "any_layout"), told, strict=True):
        said = [(verified.PASSED, name)] if passed else []
        report = pytest.TestReport(
            f"t.py::{test}[a group]", ("t.py", 1, test), {}, "failed", None, "call", user_properties=said
        )  # failed, for another version of the group
        found.pytest_runtest_logreport(report)
    return found


def test_version_is_verified_until_something_that_makes_its_result_changes(
    verified: ModuleType, make_operator: Callable[..., Operator], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = make_operator()
    (version,) = operator.versions
    assert not verified.verified(operator, version)
    interpreted(verified, operator, True, True)  # and is recorded at once: a run that is stopped keeps it
    assert verified.verified(operator, version)
    for file in (version.path, operator.reference, operator.folder / "cases.toml"):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert not verified.verified(operator, version), file.name
        file.write_bytes(before)
    assert verified.verified(operator, version)
    monkeypatch.setattr(verified.metadata, "version", lambda name: "99.0")
    assert not verified.verified(operator, version)


@pytest.mark.parametrize("told", [(True, False), (False, True)])
def test_version_that_did_not_pass_both_tests_is_not_recorded(
    verified: ModuleType, make_operator: Callable[..., Operator], told: tuple[bool, bool]
) -> None:
    interpreted(verified, make_operator(), *told).record()
    assert verified.recorded() == {}


def test_version_that_was_edited_while_it_was_interpreted_has_not_passed(
    verified: ModuleType, make_operator: Callable[..., Operator]
) -> None:
    operator = make_operator()
    (version,) = operator.versions
    passed = interpreted(verified, operator, True, False)
    version.path.write_text(version.path.read_text() + "# changed\n")
    passed.tests[verified.version_id(operator, version)].add("any_layout")
    passed.record()
    assert not verified.verified(operator, version)


def test_record_keeps_what_holds_and_drops_what_is_gone_or_changed(
    verified: ModuleType, make_operator: Callable[..., Operator], version_text: Callable[..., str]
) -> None:
    operator = make_operator(version_text(), version_text())
    both = [(operator, version) for version in operator.versions]
    ids = [verified.version_id(operator, version) for version in operator.versions]
    every = verified.Passed(both)
    for name in ids:
        every.tests[name] = {"agrees", "any_layout"}
    every.record()
    assert list(verified.recorded()) == ids
    operator.versions[1].path.write_text(version_text() + "# changed\n")
    verified.Passed(both).record()
    assert list(verified.recorded()) == ids[:1]
    verified.Passed([]).record()
    assert verified.recorded() == {}


def test_versions_and_tests_are_those_of_the_test_file(verified: ModuleType) -> None:
    """Otherwise nothing would ever be recorded."""
    tests = load_module(verified.TESTS)
    assert sum(name.startswith("test_versions_") for name in vars(tests)) == verified.TESTS_A_VERSION
    groups = [(operator, version) for operator, group in (one.values for one in tests.GROUPS) for version in group]
    assert groups == verified.every_version()
    ids = [verified.version_id(operator, version) for operator, version in groups]
    assert len(set(ids)) == len(ids)
