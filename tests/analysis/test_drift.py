"""What two runs differ by where nothing changed: judged on every pair of recorded runs of one kind of GPU."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from rooflift.analysis.compare import Side, compare
from rooflift.analysis.drift import drift, same_versions, student_t
from rooflift.runs.find import find_runs
from rooflift.runs.run import Run, read_run
from rooflift.schema import MachineCode, Manifest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Run, Run]]:
    runs = [read_run(folder) for folder in find_runs(CHECKOUT / "reports")]
    timed = [run for run in runs if len(run.samples)]
    told = [
        (one, other)
        for one, other in itertools.combinations(timed, 2)
        if (one.manifest.operator, one.manifest.machine.gpu) == (other.manifest.operator, other.manifest.machine.gpu)
    ]
    assert len(told) > 20
    return told


def changed(run: Run, version: str, factor: float = 1.0) -> Side:
    """The version as if its file were another one: not known to be the same, and slower by a factor."""
    manifest = run.manifest
    files = {name: digest for name, digest in manifest.sha256.items() if Path(name).stem != version}
    code = [record for record in manifest.machine_code if record.version != version]
    own = run.samples.assign(time_us=run.samples["time_us"].astype(float))
    own.loc[own["provider"] == version, "time_us"] *= factor
    return Side(msgspec.structs.replace(manifest, sha256=files, machine_code=code), version, own, run.metrics)


def verdicts(pairs: list[tuple[Run, Run]], factor: float) -> list[str]:
    """The verdicts on each version that two runs share, which its own times say nothing about."""
    found: list[str] = []
    for one, other in pairs:
        for base, head in same_versions(one.manifest, other.manifest):
            cases = compare(changed(one, base), changed(other, head, factor)).cases
            found += [str(verdict) for verdict in cases["verdict"] if verdict != "not comparable"]
    return found


@pytest.mark.slow
def test_one_file_in_two_runs_is_seldom_called_faster_or_slower_and_five_percent_are_found(
    pairs: list[tuple[Run, Run]],
) -> None:
    """At most 2 false verdicts in 100, at least 95 of 100 changes of 5 % found, whichever card measured which run."""
    same = verdicts(pairs, 1.0)
    assert len(same) > 200
    assert same.count("within noise") >= 0.98 * len(same)
    assert verdicts(pairs, 1.05).count("slower") >= 0.95 * len(same)
    assert verdicts(pairs, 1 / 1.05).count("faster") >= 0.95 * len(same)


def test_one_file_in_two_runs_is_never_called_faster_or_slower(pairs: list[tuple[Run, Run]]) -> None:
    one, other = max(pairs, key=lambda pair: len(same_versions(pair[0].manifest, pair[1].manifest)))
    for base, head in same_versions(one.manifest, other.manifest):
        cases = compare(
            Side(one.manifest, base, one.samples, one.metrics), Side(other.manifest, head, other.samples, other.metrics)
        ).cases
        judged = cases[cases["verdict"] != "not comparable"]
        assert set(judged["verdict"]) <= {"within noise"}
        assert set(judged["cause"]) <= {"the same machine code"}


def test_the_same_machine_code_under_two_names_of_one_run_is_within_noise(h100_run: Path) -> None:
    run = read_run(h100_run)
    base, head = (version.version for version in run.manifest.versions[:2])
    case = run.manifest.cases[0]
    for hashes, verdict in ((("a", "a"), "within noise"), (("a", "b"), "faster")):
        pairs = zip((base, head), hashes, strict=True)
        code = [MachineCode(version, case.case, case.dtype, digest) for version, digest in pairs]
        manifest = msgspec.structs.replace(run.manifest, machine_code=code)
        sides = [Side(manifest, version, run.samples, run.metrics) for version in (base, head)]
        assert compare(*sides).cases["verdict"].tolist() == [verdict]


def test_drift_is_the_farthest_of_a_case_and_what_most_are_within(h100_run: Path) -> None:
    run = read_run(h100_run)
    manifest: Manifest = run.manifest
    versions = [version.version for version in manifest.versions]
    moved = run.samples.assign(time_us=run.samples["time_us"].astype(float))
    moved.loc[moved["provider"] == versions[-1], "time_us"] *= 1.03
    found = drift(manifest, run.samples, manifest, moved)
    assert min(found.values()) >= 0.03 - 1e-9
    assert max(drift(manifest, run.samples, manifest, run.samples).values()) == 0


@pytest.mark.parametrize("freedom", [3, 5, 10, 100])
def test_the_quantile_of_students_t(freedom: int) -> None:
    assert student_t(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.02)
    assert np.isclose(student_t(0.5, freedom), 0)
