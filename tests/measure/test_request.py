"""What a request asks for: everyday work stays small, a suite times all, and a name given is a name measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from rooflift.errors import CatalogError
from rooflift.measure.checking import checking_processes
from rooflift.measure.request import Request, command_line, profile_request, request_for
from rooflift.project.cases import Case
from rooflift.project.operator import Operator
from rooflift.schema import MeasureOptions
from rooflift.worker.protocol import shard

CASES = """
main = { init = {}, inputs = [[4, 8]], metrics = ["float32", "float16"], use = ["bench"] }
large = { init = {}, inputs = [[64, 64]], use = ["bench"] }
small = { init = {}, inputs = [[3, 5]], use = ["test"] }
"""
THREE = ("float32", "float16", "bfloat16")


def names(plans: Sequence[Case]) -> list[tuple[str, str]]:
    return [(case.name, case.dtype) for case in plans]


@pytest.fixture
def everyday(make_operator: Callable[..., Operator], ask: Callable[..., Request]) -> Request:
    return ask(make_operator(cases=CASES), use="bench")


def test_everyday_work_is_the_first_dtype_with_metrics(everyday: Request) -> None:
    assert names(everyday.profiled) == names(everyday.timed) == [("main", "float32")]


def test_suite_times_every_case_and_profiles_those_with_metrics(everyday: Request) -> None:
    suite = replace(everyday, suite=True)
    assert names(suite.timed) == [(case, dtype) for case in ("main", "large") for dtype in THREE]
    assert names(suite.profiled) == [("main", "float32"), ("main", "float16")]


@pytest.mark.parametrize("suite", [False, True])
def test_named_case_is_timed_and_profiled(everyday: Request, suite: bool) -> None:
    named = replace(everyday, cases=[everyday.operator.cases["large"]], named=True, suite=suite)
    assert names(named.profiled) == names(named.timed) == [("large", dtype) for dtype in THREE]


def test_named_dtype_replaces_those_of_the_metrics(everyday: Request) -> None:
    half = replace(everyday, dtypes=["bfloat16"])
    assert names(half.profiled) == names(half.timed) == [("main", "bfloat16")]
    suite = replace(half, suite=True)
    assert names(suite.profiled) == [("main", "bfloat16")]
    assert names(suite.timed) == [("main", "bfloat16"), ("large", "bfloat16")]


@pytest.mark.parametrize(
    "words",
    [[], ["-c", "large"], ["-d", "float16"], ["--suite"], ["--baselines"], ["--suite", "-c", "main", "-d", "float16"]],
    ids=" ".join,
)
def test_command_line_asks_for_what_it_says(
    everyday: Request, rooflift: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    asked: list[Request] = []

    def stop(request: Request, *_: Any) -> None:
        asked.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("rooflift.pipeline.profile", stop)
    rooflift("profile", "twice", *words, folder=everyday.operator.folder)
    (request,) = asked
    cases = ["large"] if "large" in words else ["main"] if "main" in words else ["main", "large"]
    assert [case.name for case in request.cases] == cases
    assert request.named == ("-c" in words)
    assert request.suite == ("--suite" in words)
    assert request.options.slow_baselines == bool({"--suite", "--baselines"} & set(words))
    assert request.dtypes == (["float16"] if "-d" in words else [])
    assert [word for word in words if word in ("--suite", "--baselines")] == [
        word for word in request.command if word in ("--suite", "--baselines")
    ]


def test_shards_hold_all_of_the_work_once_and_the_large_cases_apart() -> None:
    work = [Case(f"case_{size}", {}, [[size, 2]], ("float32",)) for size in (1, 50, 2, 40, 3, 30, 4)]
    shards = [shard(work, f"{index}/3") for index in range(3)]
    assert [part[0].name for part in shards] == ["case_50", "case_40", "case_30"]
    assert sorted(case.name for part in shards for case in part) == sorted(case.name for case in work)
    assert shard(work, "0/1") == work


@pytest.mark.parametrize(
    ("cases", "versions", "cores", "processes"),
    [(36, 9, 16, 8), (36, 9, 192, 8), (36, 9, 8, 4), (3, 9, 16, 3), (1, 99, 16, 0), (3, 2, 16, 0), (36, 9, 2, 0)],
)
def test_checks_are_spread_over_processes_where_much_is_to_be_compiled(
    cases: int, versions: int, cores: int, processes: int
) -> None:
    assert checking_processes(cases, versions, cores) == processes


def test_command_line_names_what_was_given_and_nothing_else() -> None:
    words = command_line(
        "profile", "twice", version=["v0", "v1"], case=None, dtype=[], suite=True, noise=False, budget=2.5, max_spills=0
    )
    assert words == [
        *("rooflift", "profile", "twice", "--version", "v0", "--version", "v1", "--suite"),
        *("--budget", "2.5", "--max-spills", "0"),
    ]


@pytest.mark.parametrize(
    ("baselines", "slow", "word"), [(None, True, None), (True, True, "--baselines"), (False, False, "--no-baselines")]
)
def test_profile_request_records_the_options_that_it_holds(
    make_operator: Callable[..., Operator], baselines: bool | None, slow: bool, word: str | None
) -> None:
    operator = make_operator()
    request = profile_request(
        *(operator.folder.parents[1], "twice"),
        versions=["v0"],
        dtypes=["float16"],
        metric_set="none",
        suite=True,
        baselines=baselines,
        options=MeasureOptions(precision=0.005),
        timeout_s=60,
    )
    assert (request.suite, request.options.slow_baselines, request.options.precision) == (True, slow, 0.005)
    baseline_words = {words for words in request.command if "baselines" in words}
    assert baseline_words == ({word} if word else set())
    assert request.command[:7] == ["rooflift", "profile", "twice", "--version", "v0", "--dtype", "float16"]
    assert request.command[-4:] == ["--metrics", "none", "--precision", "0.5%"]


@pytest.mark.parametrize(("dtypes", "metric_set", "remedy"), [(["float23"], "none", "float32"), ([], "basik", "basic")])
def test_unknown_name_in_a_request_is_answered_with_a_near_one(
    make_operator: Callable[..., Operator], dtypes: list[str], metric_set: str, remedy: str
) -> None:
    root = make_operator().folder.parents[1]
    with pytest.raises(CatalogError, match=f"Did you mean {remedy}"):
        request_for(root, "twice", dtypes=dtypes, use="test", timeout_s=60, metric_set=metric_set)
