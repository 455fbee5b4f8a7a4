"""What only the hardware can show: right results on the GPU, offsets of 64 bits, counters that the report holds."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rooflift as rl
from rooflift.analysis.suite import kind
from rooflift.compile.module import load_module
from rooflift.ncu.metrics import ncu_names
from rooflift.project.cases import Case
from rooflift.project.operator import Operator, Version, load_operator, operator_names
from rooflift.runs.run import read_run
from rooflift.schema import MeasureOptions
from rooflift.worker.inputs import make_inputs
from rooflift.worker.tensors import make_reference, make_version

pytestmark = pytest.mark.gpu
Rooflift = Callable[..., Any]
CHECKOUT = Path(__file__).parents[1]
FAMILIES = [load_operator(CHECKOUT, name) for name in operator_names(CHECKOUT)]
DEPTHWISE = load_operator(CHECKOUT, "depthwise_conv2d")
# 3.2e9 elements: 67 planes begin beyond element 2^31, plane 127 lies across it
LARGE = Case("large", {"in_channels": 64, "kernel_size": 3, "padding": 1}, [[3, 64, 4096, 4100]], ("float16",))
PLANES = (0, 127, 128, 191)


def pair(reference: ModuleType, version: ModuleType, case: Case) -> tuple[Any, Any]:
    """The reference and a version on the GPU, with the same parameters."""
    expected = make_reference(reference, case, "cuda", 0)
    return expected, make_version(version, reference, expected, case, "cuda", 0)[0]


@pytest.mark.timeout(1200)  # a ladder of 21 versions is some 1 200 kernels, compiled for each case and dtype
@pytest.mark.parametrize("operator", FAMILIES, ids=lambda operator: operator.name)
def test_every_version_agrees_with_the_reference_on_the_gpu(rooflift: Rooflift, operator: Operator) -> None:
    said = rooflift("verify", operator.name, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert "NVIDIA" in found["where"]
    wanted = [
        (version.name, case.name, dtype, seed)
        for case in operator.select_cases([], "test")
        for dtype in case.dtypes
        for version in operator.versions
        for seed in range(MeasureOptions().seeds)
    ]
    assert Counter((c["version"], c["case"], c["dtype"], c["seed"]) for c in found["checks"]) == Counter(wanted)


@pytest.mark.parametrize("version", DEPTHWISE.versions, ids=lambda version: version.name)
def test_offsets_beyond_2_to_the_31_are_right(version: Version) -> None:
    import torch

    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("the tensors take 13 GB")
    reference, module = load_module(DEPTHWISE.reference), load_module(version.path)
    expected_model, model = pair(reference, module, LARGE)
    (x,) = make_inputs(reference, LARGE, "cuda", seed=1)
    assert x.numel() > 2**31
    with torch.no_grad():
        out = model(x)
        filters = expected_model.conv2d.weight.double()
        for plane in PLANES:
            n, c = divmod(plane, 64)
            expected = torch.nn.functional.conv2d(x[n, c].double()[None, None], filters[c : c + 1], padding=1)[0, 0]
            size = float(expected.square().mean().sqrt())
            # rounded once to 11 bits, and room for as much again; a plane at a wrong offset is another plane
            torch.testing.assert_close(out[n, c].double(), expected, rtol=2**-10, atol=2**-10 * size)


@pytest.mark.parametrize(
    ("operator", "version"),
    [
        pytest.param(operator, version, id=f"{operator.name}-{version.name}")
        for operator in FAMILIES
        for version in operator.versions
    ],
)
def test_tensor_of_the_cpu_is_refused_in_words(operator: Operator, version: Version) -> None:
    case = operator.select_cases([], "test")[0]
    plan = case.with_dtype(case.dtypes[0])
    reference, module = load_module(operator.reference), load_module(version.path)
    _, model = pair(reference, module, plan)
    with pytest.raises((TypeError, ValueError), match=r"(?i)cpu|cuda"):
        model(*make_inputs(reference, plan, "cpu", seed=0))


@pytest.mark.ncu
def test_profile_leaves_a_run_whose_table_is_what_the_report_holds(rooflift: Rooflift, tmp_path: Path) -> None:
    import ncu_report

    said = rooflift("profile", "depthwise_conv2d", "--metrics", "basic", "--out", tmp_path / "run", "--json")
    assert said.code == 0, said.err
    run = read_run(tmp_path / "run")
    (report,) = run.reports
    context = ncu_report.load_report(str(report))
    actions = [
        r.action_by_idx(i)
        for r in map(context.range_by_idx, range(context.num_ranges()))
        for i in range(r.num_actions())
    ]
    launches = [rows for _, rows in run.metrics.groupby(["version", "launch"], sort=False)]
    assert set(run.metrics["version"]) == {version.name for version in DEPTHWISE.versions}
    assert len(actions) == len(launches)
    for action, rows in zip(actions, launches, strict=True):
        present = rows[rows["missing"] == ""].set_index("ncu_name")["value"].to_dict()
        assert present.keys() >= set(ncu_names("seed"))
        assert present == {name: pytest.approx(action.metric_by_name(name).value(), rel=1e-12) for name in present}
        assert rows["kernel"].unique().tolist() == [action.name()]
        absent = set(rows.loc[rows["missing"] != "", "ncu_name"])
        assert not [name for name in absent & set(action.metric_names()) if action.metric_by_name(name).has_value()]
    assert {row["version"] for row in json.loads(said.out)["summary"] if 0 < row["sol_pct"] <= 105} == {
        version.name for version in DEPTHWISE.versions
    }


@pytest.mark.ncu
def test_suite_times_every_case_beside_the_slow_baselines_and_profiles_those_with_metrics(
    rooflift: Rooflift, make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> None:
    cases = """
main = { init = {}, inputs = [[4, 8]], counters = ["float32", "float16"], use = ["bench"] }
planes = { init = {}, inputs = [[2, 2, 4, 4]], use = ["bench"] }
"""
    operator = make_operator(
        *[version_text()] * 3, cases=cases
    )  # enough to be checked in parts where there are 4 cores
    said = rooflift(
        "profile", "twice", "--suite", "--metrics", "basic", "--out", tmp_path / "run", folder=operator.folder
    )
    assert said.code == 0, said.err
    run = read_run(tmp_path / "run")
    assert (run.manifest.suite, run.manifest.notes) == (True, [])
    providers = {"v0_probe", "v1_probe", "v2_probe", "torch_eager", "torch_compile", "stream", "copy"}
    for (case, _), rows in run.timings.groupby(["case", "dtype"]):
        assert set(rows["provider"]) == providers | ({"torch_channels_last"} if case == "planes" else set())
    assert len(run.timings) == 3 * (7 + 8)
    assert len(run.manifest.checks) == 6 * 3 * MeasureOptions().seeds
    assert set(run.metrics.groupby(["case", "dtype"]).groups) == {("main", "float32"), ("main", "float16")}
    assert "as fast as the best baseline in" in (tmp_path / "run" / "report.md").read_text()


def test_time_of_a_short_call_holds_no_gap_of_the_host() -> None:
    """A call that costs the host 300 us, and the GPU a few, is timed like the same call without the cost."""
    import time

    import torch

    from rooflift.schema import Sampling
    from rooflift.worker.protocol import BUDGET_S
    from rooflift.worker.timing import time_providers

    x = torch.ones(1024, device="cuda")

    def slow_host() -> None:
        until = time.perf_counter() + 300e-6
        while time.perf_counter() < until:
            pass
        x.add_(1)

    calls = {"fast": lambda: x.add_(1), "slow": slow_host}
    times = time_providers(calls, Sampling(0, 50, None, BUDGET_S), "short").times_us
    fast, slow = (sorted(times[name])[25] for name in ("fast", "slow"))
    assert slow < fast + 10


def test_rounds_noise_and_states_of_the_gpu_are_recorded(
    rooflift: Rooflift, make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> None:
    operator = make_operator(version_text(), version_text(), cases=None)
    words = ["--metrics", "none", "--noise", "--precision", "1%", "--budget", "5", "--out", tmp_path / "run"]
    said = rooflift("profile", "twice", *words, folder=operator.folder)
    assert said.code == 0, said.err
    run = read_run(tmp_path / "run")
    providers = {"v0_probe", "v1_probe", "v1_probe again", "torch_eager", "stream", "copy"}
    assert set(run.samples["provider"]) == providers
    rounds = run.samples.groupby("round")["position"].agg(sorted)
    assert all(places == list(range(len(providers))) for places in rounds)
    assert [state.at for state in run.manifest.gpu_states] == ["before", "during", "after"]
    assert all((state.temperature_c or 0) > 0 for state in run.manifest.gpu_states)
    (noise,) = run.manifest.noise
    assert noise.low <= noise.time_x <= noise.high
    assert rooflift("compare", f"{tmp_path / 'run'}:v0", ":v1", folder=operator.folder).code == 0


@pytest.mark.ncu
def test_revisions_are_measured_in_one_go(
    rooflift: Rooflift, make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> None:
    operator = make_operator(version_text(), cases=None)
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message", "base"]):
        subprocess.run(["git", *words], cwd=operator.folder.parents[1], check=True)
    said = rooflift("compare", "HEAD..", "twice", "--out", tmp_path / "run", "--json", folder=operator.folder)
    assert said.code == 0, said.err
    (found,) = json.loads(said.out)
    assert {row["verdict"] for row in found["cases"]} <= {"faster", "slower", "within noise"}
    assert all(row["paired"] for row in found["cases"])
    assert [version.version for version in read_run(tmp_path / "run").manifest.versions] == ["v0_base", "v1_head"]


@pytest.mark.ncu
def test_problem_without_cases_is_profiled_on_its_own_inputs_and_an_autotuned_kernel_once(
    rooflift: Rooflift, make_operator: Callable[..., Operator], version_text: Callable[..., str], tmp_path: Path
) -> None:
    configurations = "[triton.Config({'BLOCK': 64}), triton.Config({'BLOCK': 128})]"
    tuned = version_text(
        top=f"@triton.autotune(configs={configurations}, key=['n'])", launch="twice[(1,)](x, y, x.numel())"
    )
    operator = make_operator(version_text(), tuned, cases=None)
    said = rooflift("profile", "twice", "--out", tmp_path / "run", folder=operator.folder)
    assert said.code == 0, said.err
    run = read_run(tmp_path / "run")
    (case,) = run.manifest.cases
    assert (case.case, case.dtype, case.init, case.inputs) == ("main", "float32", [], [[4, 8]])
    assert case.compulsory_bytes == 2 * 4 * 8 * 4
    assert case.flop is None
    assert case.flop_source == "ncu's instruction counters (torch's FLOP counter knows no operation of it)"
    assert run.metrics.groupby("version")["launch"].nunique().to_dict() == {"v0_probe": 1, "v1_probe": 1}


def test_an_operators_own_baselines_are_timed_beside_torchs_and_the_missing_one_is_named(
    rooflift: Rooflift, make_operator: Callable[..., Operator], tmp_path: Path
) -> None:
    operator = make_operator()
    (operator.folder / "baselines.py").write_text(
        "def doubled(model, inputs):\n    return lambda: inputs[0] + inputs[0]\n\n\n"
        "def absent(model, inputs):\n    import a_library_that_nobody_has\n"
    )
    words = ("profile", "twice", "--baselines", "--metrics", "none", "--out", tmp_path / "run")
    said = rooflift(*words, folder=operator.folder)
    assert said.code == 0, said.err
    run = read_run(tmp_path / "run")
    kinds = {provider: kind(run.manifest, provider) for provider in run.timings["provider"]}
    assert kinds["doubled"] == kinds["torch_eager"] == kinds["torch_compile"] == "baseline"
    assert (kinds["v0_probe"], kinds["copy"]) == ("version", "memory")
    assert any("absent is left out (ModuleNotFoundError)" in note for note in run.manifest.notes)
    assert "kernels/twice/baselines.py" in run.manifest.sha256


IN_CUDA = """
import torch
from torch.utils.cpp_extension import load_inline

built = load_inline(
    name="twice_of_a_test",
    cpp_sources="torch::Tensor twice(torch::Tensor x);",
    cuda_sources='''
__global__ void twice_kernel(const float* x, float* y, long n) {
    long i = blockIdx.x * 256L + threadIdx.x;
    if (i < n) y[i] = 2 * x[i];
}
torch::Tensor twice(torch::Tensor x) {
    auto y = torch::empty_like(x);
    twice_kernel<<<(x.numel() + 255) / 256, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), x.numel());
    return y;
}
''',
    functions=["twice"],
)


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return built.twice(x)
"""


def test_a_candidate_in_cuda_is_verified_and_judged_as_kernelbench_does(rooflift: Rooflift, tmp_path: Path) -> None:
    assert rooflift("new", "my_op", folder=tmp_path).code == 0
    file = tmp_path / "in_cuda.py"
    file.write_text(IN_CUDA)
    said = rooflift("verify", "my_op", "--candidate", file, "-d", "float32", folder=tmp_path)
    assert said.code == 0, said.err
    said = rooflift("verify", "my_op", "--candidate", file, "--kernelbench", "--json", folder=tmp_path)
    (found,) = json.loads(said.out)
    assert (found["case"], found["correctness"], found["runtime_stats"]["num_trials"]) == ("main", True, 100)
    assert 0.1 < found["ref_runtime"] / found["runtime"] < 10


def test_configurations_are_timed_and_a_wrong_one_and_one_beyond_its_memory_are_named(
    make_operator: Callable[..., Operator], version_text: Callable[..., str]
) -> None:
    """Of 32 elements BLOCK=8 leaves most unwritten; FAR writes far behind them, which ends the CUDA context."""
    text = version_text(
        store="tl.store(y_ptr + at + far, y.to(y_ptr.dtype.element_ty), mask=at < n)",
        launch="FAR = 0\n        twice[(1,)](x, y, x.numel(), FAR, BLOCK=64)",
    ).replace("n, BLOCK: tl.constexpr", "n, far, BLOCK: tl.constexpr")
    found = rl.tune(
        "twice",
        "v0",
        values={"BLOCK": [8, 32, 64], "num_warps": [1, 2], "FAR": [0, 2**45]},
        metrics="none",
        root=make_operator(text).folder,
    )
    status = found.table().set_index("configuration")["status"]
    assert status["BLOCK=32 num_warps=1 FAR=0"] == "timed"
    assert status["BLOCK=8 num_warps=1 FAR=0"] == "wrong result"
    assert status["BLOCK=64 num_warps=2 FAR=35184372088832"] == "does not run"
    assert found.measured
    assert "triton.Config" in found.keep
