"""How far `rooflift compare` can be trusted on this GPU: comparisons whose truth is known, all in one process.

`python benchmarks/compare_experiment.py [OUT.csv] [VERSION]` needs a GPU and takes one to two minutes. A comparison is
what `rooflift compare RUN:A :B` makes of one case: rounds of both subjects, an interval, a verdict. The truth is either
no change (the same version under two names) or one image more of fifty, which is 2 % more work of the same kind.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rooflift.analysis.compare import RatioEstimates, Rule, estimate_ratios, verdicts
from rooflift.compile.module import load_module
from rooflift.project.cases import Case
from rooflift.project.operator import find_root, load_operator
from rooflift.schema import Sampling
from rooflift.worker.inputs import make_inputs
from rooflift.worker.protocol import PRECISE_BUDGET_S
from rooflift.worker.tensors import make_model
from rooflift.worker.timing import Timed, time_providers

OPERATOR = "depthwise_conv2d"
COMPARISONS = 100
PRECISION = 0.005
IMAGES = 50  # and one more: 2 %
PLANES = {"in_channels": 64, "kernel_size": 3}
MAIN = Case("main", PLANES, [[16, 64, 512, 512]], ("float32",))
SMALL = Case("planes_14", {"in_channels": 576, "kernel_size": 3, "padding": 1}, [[128, 576, 14, 14]], ("float16",))
WORK = Case("images", PLANES, [[IMAGES + 1, 64, 256, 256]], ("float32",))

Call = Callable[[], Any]
Timer = Callable[[Mapping[str, Call], Sampling, str], Timed]


class Experiment(NamedTuple):
    """Base and head, and by how much head does more work."""

    name: str
    case: Case
    base: Call
    head: Call
    work_x: float


def experiments(version: str) -> Iterator[Experiment]:
    """Yield the experiments on this process's GPU; the tensors of one are made when it begins."""
    import torch

    operator = load_operator(find_root(Path(__file__).resolve().parent), OPERATOR)
    reference = load_module(operator.reference)
    module = load_module(operator.select_versions([version] if version else [])[-1].path)
    for name, case in (("same version", MAIN), ("same version, small case", SMALL), ("one image more of fifty", WORK)):
        model = make_model(module.ModelNew, reference, case, "cuda", seed=0)
        (x,) = make_inputs(reference, case, "cuda", seed=0)
        more = case is WORK
        base, head = (partial(model, x[:IMAGES] if more else x), partial(model, x))
        base(), head()  # compiled and tuned before the first comparison
        torch.cuda.synchronize()
        yield Experiment(name, case, base, head, 1 + 1 / IMAGES if more else 1.0)
        del model, x, base, head
        torch.cuda.empty_cache()


def compare_once(experiment: Experiment, number: int, timer: Timer) -> dict[str, Any]:
    """Time base and head once more, in rounds of an order of their own, and judge them alone."""
    sampling = Sampling(seed=number, samples=50, precision=PRECISION, budget_s=PRECISE_BUDGET_S)
    timed = timer({"base": experiment.base, "head": experiment.head}, sampling, experiment.name).times_us
    base, head = (np.array([timed[name]]) for name in ("base", "head"))
    rule = Rule()
    found: RatioEstimates = estimate_ratios(base, head, paired=True, alpha=rule.alpha)
    p, (verdict,) = verdicts(found, np.array([rule.min_effect]), rule)
    return {
        "experiment": experiment.name,
        "case": experiment.case.name,
        "dtype": experiment.case.dtype,
        "work_x": experiment.work_x,
        "number": number,
        "rounds": base.shape[1],
        "base_us": round(float(np.median(base)), 3),
        "head_us": round(float(np.median(head)), 3),
        "time_x": round(float(found.time_x[0]), 6),
        "low": round(float(found.low[0]), 6),
        "high": round(float(found.high[0]), 6),
        "p": float(p[0]),
        "verdict": verdict,
    }


def run(every: Iterator[Experiment], timer: Timer, comparisons: int = COMPARISONS) -> pd.DataFrame:
    """Return one row a comparison."""
    return pd.DataFrame(
        [compare_once(experiment, number, timer) for experiment in every for number in range(comparisons)]
    )


def main(out: Path, version: str) -> None:
    """Run the experiments, write one row a comparison, print what they come to."""
    import torch
    import triton

    with torch.no_grad():
        frame = run(experiments(version), time_providers)
    gpu = torch.cuda.get_device_properties(0).name
    frame = frame.assign(gpu=gpu, torch=str(torch.__version__), triton=triton.__version__)
    out.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out, index=False)
    for name, rows in frame.groupby("experiment", sort=False):
        counts = ", ".join(f"{count} {verdict}" for verdict, count in rows["verdict"].value_counts().items())
        print(f"{name}: {counts}; time ratio {rows['time_x'].min():.4f} to {rows['time_x'].max():.4f}")
    print(f"Wrote {out}")


if __name__ == "__main__":
    words = dict(enumerate(sys.argv))
    main(Path(words.get(1, "reports/experiments/compare.csv")), words.get(2, ""))
