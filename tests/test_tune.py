"""A version tuned: real compilation without a GPU, and on a GPU that stands in by giving times of a rule."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

import rooflift as rl
from rooflift.api.tune import read
from rooflift.compile.module import load_module
from rooflift.errors import CatalogError, KernelFault, RunFault
from rooflift.measure import configurations, environment, tune
from rooflift.measure.children import Measurement, hear
from rooflift.project.operator import Operator
from rooflift.project.space import AS_IT_STANDS
from rooflift.schema import CompiledKernel, MachineCode
from rooflift.worker.protocol import Code, Compiled, Device, Doing, Plan, Samples, Trying, Unfit

MakeOperator = Callable[..., Operator]
Text = Callable[..., str]
CONFIGS = [f'triton.Config({{"BLOCK": {block}}}, num_warps={warps})' for block, warps in ((32, 1), (64, 2))]
TUNED = f'@triton.autotune([{", ".join(CONFIGS)}], key=["n"])\n'
GRID = "twice[lambda META: (triton.cdiv(x.numel(), META['BLOCK']),)](x, y, x.numel())"
HOST = """SIZE = 64
"""
ON_HOST = """block = SIZE
        twice[(triton.cdiv(x.numel(), block),)](x, y, x.numel(), BLOCK=block)"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))


def of(found: rl.api.tune.Tune, name: str) -> dict[str, Any]:
    """Return the row of a configuration."""
    return found.table().set_index("configuration").loc[name].to_dict()


# --- without a GPU: compiled in fact


def test_configurations_of_autotune_are_compiled_one_by_one_and_nothing_is_said_to_have_run(
    rooflift: Callable[..., Any], make_operator: MakeOperator, version_text: Text, no_gpu: None
) -> None:
    folder = make_operator(version_text(top=TUNED, launch=GRID)).folder
    said = rooflift("tune", "twice", "v0", "--json", folder=folder)
    assert said.code == 0, said.err
    assert "none was run" in said.err
    found = json.loads(said.out)
    rows = found["cases"][0]["configurations"]
    assert [row["configuration"] for row in rows] == [
        "BLOCK=32 num_warps=1 num_stages=3",
        "BLOCK=64 num_warps=2 num_stages=3",
    ]
    assert {row["status"] for row in rows} == {"compiled"}
    assert {row["time_us"] for row in rows} == {None}
    assert min(row["registers"] for row in rows) > 0
    assert (found["measured"], found["keep"]) == (False, "")


def test_values_reach_constexpr_options_and_host_code_and_what_cannot_launch_says_why(
    make_operator: MakeOperator, version_text: Text, no_gpu: None, tmp_path: Path
) -> None:
    folder = make_operator(version_text(top=HOST, launch=ON_HOST)).folder
    values = {"SIZE": [64, 4096, 2097152], "num_warps": [1, 3, 64]}
    found = rl.tune("twice", "v0", values=values, out=tmp_path / "out", root=folder)
    assert len(found.table()) == 9
    assert of(found, "SIZE=4096 num_warps=1")["registers"] > of(found, "SIZE=64 num_warps=1")["registers"]
    assert "power of 2" in of(found, "SIZE=64 num_warps=3")["reason"]
    assert of(found, "SIZE=64 num_warps=64")["status"] == "cannot be launched"
    assert "2048 threads" in of(found, "SIZE=64 num_warps=64")["reason"]
    assert of(found, "SIZE=2097152 num_warps=1")["status"] == "does not compile"  # above Triton's largest block
    written = pd.read_csv(tmp_path / "out" / "tune.csv")
    assert list(written["configuration"]) == list(found.table()["configuration"])
    assert "SIZE: set in the host's code" in (tmp_path / "out" / "tune.md").read_text()


@pytest.mark.parametrize(
    ("words", "what", "remedy"),
    [
        ((), "launches no kernel with @triton.autotune on main", "--set NAME=64,128"),
        (("--set", "BLOK=32"), "no parameter 'BLOK'", "BLOCK"),
        (("--set", "once.BLOCK=32"), "no kernel 'once'", "twice"),
        (("--set", "BLOCK"), "says no parameter and its values", "--set NAME=64,128"),
        (("--set", "BLOCK=8..4"), "ends before it begins", "--set NAME=2..5"),
        (("--set", "BLOCK=1", "--set", "BLOCK=2"), "given twice", "at once"),
        (("--set", "num_warps=4", "--search", "grid"), "no way to search called 'grid'", "random"),
    ],
)
def test_what_cannot_be_tried_is_named_with_the_remedy(
    rooflift: Callable[..., Any],
    make_operator: MakeOperator,
    no_gpu: None,
    words: Sequence[str],
    what: str,
    remedy: str,
) -> None:
    said = rooflift("tune", "twice", "v0", *words, folder=make_operator().folder)
    assert said.code == 2
    assert what in said.err
    assert remedy in said.err


# --- on a GPU that stands in: its children say the times of a rule


class StandIn:
    """Children that fit, check and time by a rule; some configurations are wrong, one ends its process."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int]] = []
        self.crash: tuple[str, str] = ("", "")  # the task and the configuration at which the child dies
        self.stopped_at = -1  # the number of a tune task at which the disk is full

    async def run(self, stage: Path, task: str, _: object, seen: Measurement, progress: Any, part: str = "0/1") -> None:
        plan = msgspec.json.decode((stage / "plan.json").read_bytes(), type=Plan)
        self.tasks.append((task, len(plan.versions)))
        if task == "tune" and len([one for one, _ in self.tasks if one == "tune"]) == self.stopped_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        (case,) = plan.work
        index, count = map(int, part.split("/"))
        for event in (self.fit if task == "fit" else self.tune)(plan, case, index, count):
            hear(msgspec.json.encode(event).decode(), seen, progress)
            if isinstance(event, Unfit) and "illegal" in event.reason:
                raise KernelFault("the program that runs the kernels ended with code 3", "")
            if isinstance(event, Trying) and (task, event.version) == self.crash:
                raise KernelFault("the program that runs the kernels ended with code -6:\nLLVM ERROR", "")

    def fit(self, plan: Plan, case: Any, index: int, count: int) -> Any:
        for name in list(plan.versions)[index::count]:
            yield Trying(name)
            if plan.configurations[name]["num_warps"] == 64:
                yield Unfit(name, case.name, case.dtype, "launch", "no block fits on an SM")
            else:
                yield Compiled(kernel(name, case.name, case.dtype))

    def tune(self, plan: Plan, case: Any, *_: int) -> Any:
        yield Device("NVIDIA H100 80GB HBM3", "9.0", 132, 50 * 2**20, 80 * 2**30, "12.8", "2.9", "3.6", "3.12")
        yield Doing("checking")
        timed = {}
        for name in plan.versions:
            yield Trying(name)
            configuration = plan.configurations[name]
            if configuration.get("BLOCK") == 16:
                yield Unfit(name, case.name, case.dtype, "result", "3 of 32 elements are wrong")
            elif configuration.get("BLOCK") == 8:
                yield Unfit(name, case.name, case.dtype, "run", "illegal memory access")
            else:
                timed[name] = time_us(configuration)
        yield Trying("")
        assert plan.sampling is not None
        for name, one in timed.items():
            shown = plan.configurations[name] or {"BLOCK": 64, "num_warps": 4}
            digest = hashlib.sha256(str(sorted(shown.items())).encode()).hexdigest()
            yield Code(MachineCode(name, case.name, case.dtype, digest))
            times = [one * (1 + 0.001 * (number % 5)) for number in range(plan.sampling.samples)]
            yield Samples(name, 0, case.name, case.dtype, times, [0] * len(times))


def time_us(configuration: dict[str, Any]) -> float:
    """Return the time of a configuration: 128 by 8 is the best, 128 by 4 within noise of it; 64 by 4 stands."""
    block, warps = configuration.get("BLOCK", 64), configuration.get("num_warps", 4)
    return 100.0 * (1 + abs(block - 128) / 256) * {8: 1.0, 4: 1.004 if block == 128 else 1.1}.get(warps, 1.3)


def kernel(name: str, case: str, dtype: str) -> CompiledKernel:
    return CompiledKernel(
        version=name,
        case=case,
        dtype=dtype,
        target="sm_90",
        kernel="twice",
        launch=0,
        config="",
        grid=(1,),
        num_warps=4,
        registers=32,
        stack_bytes=0,
        spill_instructions=0,
        shared_bytes=0,
        code_sha256="",
        sass={},
        opcodes={},
        occupancy_pct=50.0,
        occupancy_limit="warps",
    )


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    found = StandIn()
    driver = environment.Driver("575.57", ["NVIDIA H100 80GB HBM3"])
    monkeypatch.setattr(environment, "driver", lambda: driver)
    monkeypatch.setattr(configurations, "run_worker", found.run)
    return found


SPACE = {"BLOCK": [8, 16, 64, 128, 256], "num_warps": [4, 8, 64]}


def tuned(folder: Path, **options: Any) -> rl.api.tune.Tune:
    return rl.tune("twice", "v0", values=SPACE, metrics="none", root=folder, **options)


def test_a_walk_names_the_best_what_is_within_noise_of_it_and_what_stands_loses(
    make_operator: MakeOperator, gpu: StandIn
) -> None:
    found = tuned(make_operator().folder)
    status = found.table()["status"].value_counts().to_dict()
    assert status == {
        "timed": 7,
        "cannot be launched": 5,
        "does not run": 2,
        "wrong result": 2,
    }  # with the version as it stands
    best = found.best.set_index("configuration")
    assert list(best.index[:2]) == ["BLOCK=128 num_warps=8", "BLOCK=128 num_warps=4"]
    assert list(best["verdict"][:2]) == ["best", "within noise"]
    assert best.loc[AS_IT_STANDS, "verdict"] == "slower"
    (text,) = [part for part in found.parts() if isinstance(part, str) and part.startswith("Best: ")]
    assert "(BLOCK=64 num_warps=4) takes 137.8" in text
    assert "loses 37.5 %" in text
    assert found.keep == '[\n    triton.Config({"BLOCK": 128}, num_warps=8),\n]'


def test_after_an_illegal_access_another_process_tries_the_rest(make_operator: MakeOperator, gpu: StandIn) -> None:
    found = tuned(make_operator().folder)
    assert of(found, "BLOCK=8 num_warps=4")["reason"] == "illegal memory access"
    assert [count for task, count in gpu.tasks if task == "tune"][:3] == [11, 10, 9]


@pytest.mark.parametrize(("task", "status"), [("fit", "does not compile"), ("tune", "does not run")])
def test_a_configuration_that_kills_its_child_is_named_and_the_others_go_on(
    make_operator: MakeOperator, gpu: StandIn, task: str, status: str
) -> None:
    gpu.crash = (task, "BLOCK=256 num_warps=8")
    found = tuned(make_operator().folder)
    row = of(found, "BLOCK=256 num_warps=8")
    assert row["status"] == status
    assert row["reason"] == "the program that runs the kernels ended with code -6: LLVM ERROR"
    assert found.best.iloc[0]["configuration"] == "BLOCK=128 num_warps=8"
    assert len(found.table()) == 16


def test_the_folder_holds_table_record_report_and_a_figure_that_marks_failures(
    make_operator: MakeOperator, gpu: StandIn
) -> None:
    found = tuned(make_operator().folder)
    assert found.folder is not None
    assert found.folder.parent.name == "tune"
    assert {path.name for path in found.folder.iterdir()} == {"tune.csv", "tune.json", "tune.md", "tune.svg"}
    record = json.loads((found.folder / "tune.json").read_text())
    assert record["parameters"] == SPACE
    assert record["command"][:4] == ["rooflift", "tune", "twice", "v0"]
    picture = (found.folder / "tune.svg").read_text()
    assert ">x 3<" in picture  # BLOCK=8 and 16 never run
    assert ">x 5<" in picture  # num_warps=64, neither
    assert rl.runs("twice", root=found.folder.parents[3]) is not None
    assert len(rl.runs("twice", root=found.folder.parents[3])) == 0  # it is no run


def test_the_readme_shows_the_newest_tuning(make_operator: MakeOperator, gpu: StandIn, checkout: Path) -> None:
    readme, root = load_module(checkout / "scripts" / "readme.py"), make_operator().folder.parents[1]
    assert readme.tuned(root) == []
    found = tuned(root)
    assert found.folder is not None
    about, table = readme.tuned(root)
    assert f"({found.folder.relative_to(root).as_posix()}/tune.md), main float32. Best: BLOCK=128" in about
    assert table.splitlines()[2].startswith("| BLOCK=128 num_warps=8 | 100.2 µs |")


def test_what_a_folder_holds_shows_itself_as_the_tuning_did(make_operator: MakeOperator, gpu: StandIn) -> None:
    found = tuned(make_operator().folder)
    assert found.folder is not None
    again = read(found.folder)
    assert str(again.parts()) == str(found.parts())  # as text: a cell without a number is NaN
    assert again.record()["keep"] == found.record()["keep"] != ""
    (found.folder / "tune.csv").write_text("case,dtype\n")
    with pytest.raises(RunFault, match="it has no column configuration"):
        read(found.folder)


def test_a_search_that_was_interrupted_goes_on_where_it_was(
    make_operator: MakeOperator, gpu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_operator().folder
    monkeypatch.setattr(tune, "BATCH", 4)
    gpu.stopped_at = 3
    with pytest.raises(OSError, match="No space left"):
        tuned(folder, search="random", evaluations=12)
    fitted = [count for task, count in gpu.tasks if task == "fit"]
    gpu.stopped_at, gpu.tasks = -1, []
    found = tuned(folder, search="random", evaluations=12)
    assert sum(fitted) + sum(count for task, count in gpu.tasks if task == "fit") in (12, 16)  # one batch again
    assert sum(count for task, count in gpu.tasks if task == "fit") < 12
    assert len(found.table()) == 13
    assert "Resumed" in found.data.notes[0]


def test_a_version_that_is_wrong_as_it_stands_is_not_tuned(make_operator: MakeOperator, gpu: StandIn) -> None:
    def wrong(plan: Plan, case: Any, *_: int) -> Any:
        yield Unfit(AS_IT_STANDS, case.name, case.dtype, "result", "all elements are wrong")

    gpu.tune = wrong  # type: ignore[method-assign]
    with pytest.raises(KernelFault, match="as it stands is not fit on main float32: all elements are wrong"):
        tuned(make_operator().folder)


def test_where_nothing_fits_the_reason_is_named(make_operator: MakeOperator, gpu: StandIn) -> None:
    with pytest.raises(KernelFault, match="none of 1 configurations fits, most often: no block fits on an SM"):
        rl.tune("twice", "v0", values=["num_warps=64"], metrics="none", root=make_operator().folder)


def test_a_run_tunes_a_version_of_its_own_on_its_case(gpu: StandIn, checkout: Path, tmp_path: Path) -> None:
    run = rl.latest("depthwise_conv2d", gpu="H100", versions=["v1"], root=checkout)
    found = run.tune("v1", values=["num_warps=4,8"], metrics="none", out=tmp_path / "out")
    assert found.data.cases == [("main", "float32")]
    assert found.data.title == "depthwise_conv2d v1_grid, configurations"
    with pytest.raises(CatalogError, match="no version 'v99'"):
        run.tune("v99")
