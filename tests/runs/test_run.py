"""Run folders: a round trip changes nothing, every damage is named, and a folder appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rooflift.errors import RunFault
from rooflift.runs.atomic import writing
from rooflift.runs.find import find_runs, newest_run, recorded_cases, resolve_folders, resolve_run
from rooflift.runs.roofs import newest_roofs, read_roofs, roofs_path, write_roofs
from rooflift.runs.run import read_run, read_table, to_frame
from rooflift.runs.verify import Verified, verify, write_manifest
from rooflift.schema import CompiledRow, MetricRow, Roofs, TimingRow


@pytest.fixture
def run_copy(h100_run: Path, tmp_path: Path) -> Path:
    """A copy of the H100 run that a test may damage."""
    return Path(shutil.copytree(h100_run, tmp_path / "damaged"))


@pytest.fixture
def reports(h100_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes reports/<operator>/<name>/run.json for each (operator, name, created)."""

    def make(*runs: tuple[str, str, str]) -> Path:
        manifest = read_run(h100_run).manifest
        for operator, name, created in runs:
            folder = tmp_path / "reports" / operator / name
            folder.mkdir(parents=True)
            write_manifest(folder, msgspec.structs.replace(manifest, operator=operator, name=name, created=created))
        return tmp_path / "reports"

    return make


# --- round trip


def test_run_that_is_read_and_written_again_is_the_same(h100_run: Path, tmp_path: Path) -> None:
    run = read_run(h100_run)
    with writing(tmp_path / "again") as folder:
        run.metrics.to_csv(folder / "metrics.csv", index=False)
        run.timings.to_csv(folder / "timings.csv", index=False)
        run.samples.to_parquet(folder / "samples.parquet", index=False)
        shutil.copytree(h100_run / "ncu", folder / "ncu")
        write_manifest(folder, run.manifest)
    again = read_run(tmp_path / "again")
    assert [report.name for report in again.reports] == ["depthwise_conv2d.ncu-rep"]
    for name in ("metrics", "timings", "samples", "compiled"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(run, name), check_exact=True)
    parquet_aside = {"samples.parquet": ""}  # its bytes depend on the writer's version
    assert msgspec.structs.replace(
        again.manifest, sha256=again.manifest.sha256 | parquet_aside, sha256_self=None
    ) == msgspec.structs.replace(run.manifest, sha256=run.manifest.sha256 | parquet_aside, sha256_self=None)


def test_run_without_compiled_kernels_has_an_empty_table_of_them(h100_run: Path) -> None:
    compiled = read_run(h100_run).compiled
    assert compiled.empty
    assert tuple(compiled.columns) == CompiledRow.__struct_fields__


def test_compiled_kernels_come_back(run_copy: Path) -> None:
    row = CompiledRow("v0_baseline", "main", "float32", "sm_90", "kernel", 40, 0, 0, 1024, 75.0, "registers")
    to_frame([row], CompiledRow).to_csv(run_copy / "compiled.csv", index=False)
    assert [CompiledRow(**record) for record in read_run(run_copy).compiled.to_dict("records")] == [row]


def test_run_without_counters_needs_no_metrics(run_copy: Path) -> None:
    (run_copy / "metrics.csv").unlink()
    manifest = msgspec.structs.replace(read_run(run_copy).manifest, metric_set="none")
    write_manifest(run_copy, manifest)
    metrics = read_run(run_copy).metrics
    assert metrics.empty
    assert tuple(metrics.columns) == MetricRow.__struct_fields__


def test_texts_that_look_like_numbers_or_nothing_stay_texts(tmp_path: Path) -> None:
    row = MetricRow("007", "NA", "null", "None", 0, "sm_pct", 1.5, "%", "nan", "1e5", "")
    to_frame([row], MetricRow).to_csv(tmp_path / "metrics.csv", index=False)
    assert [MetricRow(**r) for r in read_table(tmp_path / "metrics.csv", MetricRow).to_dict("records")] == [row]


def test_missing_value_comes_back_missing_and_never_0(tmp_path: Path) -> None:
    rows = [
        MetricRow("v0_a", "main", "float32", "k", 0, "sm_pct", None, "%", "n", "s", "not collected"),
        MetricRow("v0_a", "main", "float32", "k", 0, "dram_pct", 0.0, "%", "n", "s", ""),
    ]
    to_frame(rows, MetricRow).to_csv(tmp_path / "metrics.csv", index=False)
    read = read_table(tmp_path / "metrics.csv", MetricRow)
    assert list(read["value"].isna()) == [True, False]
    assert list(read["missing"]) == ["not collected", ""]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=30))
def test_every_number_comes_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, times: list[float]) -> None:
    path = tmp_path_factory.mktemp("numbers") / "timings.csv"
    to_frame([TimingRow("v0_a", "main", "float32", 1, t, t, t, t) for t in times], TimingRow).to_csv(path, index=False)
    assert list(read_table(path, TimingRow)["median_us"]) == times


def test_manifest_holds_the_sha256_of_every_file(h100_run: Path) -> None:
    manifest = read_run(h100_run).manifest
    files = {p.relative_to(h100_run).as_posix(): p for p in h100_run.rglob("*") if p.is_file()}
    files.pop("run.json")
    assert {name for name in manifest.sha256 if not name.startswith("kernels/")} == set(files)
    for name, path in files.items():
        assert manifest.sha256[name] == hashlib.sha256(path.read_bytes()).hexdigest(), name


def test_written_manifest_adds_the_sha256_of_the_folder_to_those_of_the_kernels(h100_run: Path, tmp_path: Path) -> None:
    manifest = msgspec.structs.replace(read_run(h100_run).manifest, sha256={"kernels/a/v0_b.py": "0" * 64})
    (tmp_path / "ncu").mkdir()
    (tmp_path / "ncu" / "a.ncu-rep").write_bytes(b"report")
    (tmp_path / "run.json").write_text("an older one")
    write_manifest(tmp_path, manifest)
    assert read_run(tmp_path).manifest.sha256 == {
        "kernels/a/v0_b.py": "0" * 64,
        "ncu/a.ncu-rep": hashlib.sha256(b"report").hexdigest(),
    }


# --- damage


def test_folder_without_a_manifest_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunFault) as caught:
        read_run(tmp_path / "nowhere")
    assert caught.value.message == f"{tmp_path / 'nowhere'}: not a run folder, it has no run.json"


def damaged_manifest(folder: Path, damage: Callable[[dict[str, object]], object]) -> str:
    """Read the run after its manifest was damaged; the message of the fault, less the path in front."""
    path = folder / "run.json"
    manifest = json.loads(path.read_bytes())
    damage(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(RunFault) as caught:
        read_run(folder)
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value.message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_manifest_that_is_cut_off_is_named(run_copy: Path, part: float) -> None:
    data = (run_copy / "run.json").read_bytes()
    (run_copy / "run.json").write_bytes(data[: int(part * len(data))])
    with pytest.raises(RunFault, match=re.escape(f"{run_copy / 'run.json'}: Input data was truncated")):
        read_run(run_copy)


@pytest.mark.parametrize("data", [b"[]", b"null", b"schema: 1", b'{"schema": 1, "operator": "caf\xe9"}'])
def test_manifest_that_is_no_json_object_is_named(run_copy: Path, data: bytes) -> None:
    (run_copy / "run.json").write_bytes(data)
    with pytest.raises(RunFault, match=re.escape(f"{run_copy / 'run.json'}: ")):
        read_run(run_copy)


@pytest.mark.parametrize("schema", [0, 1, "2", None])
def test_manifest_of_another_schema_is_named(run_copy: Path, schema: object) -> None:
    assert f"schema is {schema!r}" in damaged_manifest(run_copy, lambda m: m.update(schema=schema))


def test_manifest_without_its_schema_is_refused(run_copy: Path) -> None:
    assert "schema is None" in damaged_manifest(run_copy, lambda m: m.pop("schema"))


def test_missing_field_of_the_manifest_is_named(run_copy: Path) -> None:
    assert "missing required field `operator`" in damaged_manifest(run_copy, lambda m: m.pop("operator"))


def test_unknown_field_of_the_manifest_is_named(run_copy: Path) -> None:
    assert "unknown field `host`" in damaged_manifest(run_copy, lambda m: m.update(host="somewhere"))


def test_field_of_another_type_is_named(run_copy: Path) -> None:
    def damage(manifest: dict[str, object]) -> None:
        assert isinstance(manifest["machine"], dict)
        manifest["machine"]["sm_count"] = "many"

    assert "$.machine.sm_count" in damaged_manifest(run_copy, damage)


def damaged_table(folder: Path, name: str, damage: Callable[[list[str]], object]) -> RunFault:
    """Read a table after its lines were damaged, and return the fault."""
    path = folder / f"{name}.csv"
    lines = path.read_text().splitlines()
    damage(lines)
    path.write_text("\n".join(lines) + "\n")
    run = read_run(folder)
    with pytest.raises(RunFault) as caught:
        getattr(run, name)
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value


@pytest.mark.parametrize("name", ["metrics", "timings"])
def test_missing_table_is_named(run_copy: Path, name: str) -> None:
    (run_copy / f"{name}.csv").unlink()
    with pytest.raises(RunFault, match=re.escape(f"{run_copy / name}.csv: the run folder lacks it")):
        getattr(read_run(run_copy), name)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"\n\n"])
def test_file_that_is_no_table_is_named(run_copy: Path, data: bytes) -> None:
    (run_copy / "timings.csv").write_bytes(data)
    with pytest.raises(RunFault, match=re.escape(f"{run_copy / 'timings.csv'}: ")):
        _ = read_run(run_copy).timings


def test_missing_column_is_told_from_those_that_are_there(run_copy: Path) -> None:
    def damage(lines: list[str]) -> None:
        lines[:] = [line.rpartition(",")[0] for line in lines]

    fault = damaged_table(run_copy, "timings", damage)
    assert "min_us" not in fault.message
    assert "min_us" in fault.remedy


def test_extra_column_is_named(run_copy: Path) -> None:
    def damage(lines: list[str]) -> None:
        lines[:] = [f"{line},{'p99_us' if row == 0 else 1}" for row, line in enumerate(lines)]

    assert "p99_us" in damaged_table(run_copy, "timings", damage).message


@pytest.mark.parametrize(
    ("name", "row", "field", "wrong"),
    [
        ("timings", 2, "n", "100.5"),
        ("timings", 2, "n", ""),
        ("timings", 2, "median_us", "fast"),
        ("timings", 0, "median_us", ""),
        ("metrics", 7, "value", "many"),
        ("metrics", 7, "launch", "first"),
    ],
)
def test_text_where_a_number_belongs_is_named_with_row_and_field(
    run_copy: Path, name: str, row: int, field: str, wrong: str
) -> None:
    def damage(lines: list[str]) -> None:
        cells = lines[1 + row].split(",")
        cells[lines[0].split(",").index(field)] = wrong
        lines[1 + row] = ",".join(cells)

    fault = damaged_table(run_copy, name, damage)
    assert f"$[{row}].{field}" in fault.message


def test_value_with_a_reason_why_it_is_missing_is_refused(run_copy: Path) -> None:
    def damage(lines: list[str]) -> None:
        lines[3] += "not collected"

    assert "either a value or the reason" in damaged_table(run_copy, "metrics", damage).message


def test_missing_value_without_a_reason_is_refused(run_copy: Path) -> None:
    def damage(lines: list[str]) -> None:
        cells = lines[3].split(",")
        cells[6] = ""
        lines[3] = ",".join(cells)

    assert "$[2]" in damaged_table(run_copy, "metrics", damage).message


def test_row_that_is_too_long_is_refused(run_copy: Path) -> None:
    def damage(lines: list[str]) -> None:
        lines[3] += ",,"

    assert "not a table" in damaged_table(run_copy, "metrics", damage).message


def test_row_that_is_cut_off_is_refused(run_copy: Path) -> None:
    def damage(lines: list[str]) -> None:
        lines[-1] = ",".join(lines[-1].split(",")[:7])[:-3]  # in the middle of the value

    assert damaged_table(run_copy, "metrics", damage)


@pytest.mark.parametrize("data", [None, b"", b"PAR1"])
def test_samples_that_are_missing_or_broken_are_named(run_copy: Path, data: bytes | None) -> None:
    path = run_copy / "samples.parquet"
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RunFault, match=re.escape(f"{path}: cannot be read")):
        _ = read_run(run_copy).samples


# --- finding


def test_runs_come_oldest_first_also_within_a_day(reports: Callable[..., Path]) -> None:
    folder = reports(
        ("rms_norm", "2026-11-22-h100-aaaaaaa", "2026-11-22T09:00:00Z"),
        ("rms_norm", "2026-11-22-h100-bbbbbbb", "2026-11-22T08:00:00Z"),
        ("rms_norm", "2026-11-22-h100-aaaaaaa-2", "2026-11-22T10:00:00Z"),
        ("rms_norm", "2026-11-03-rtx4090-ccccccc", "2026-11-03T23:00:00Z"),
        ("twice", "2026-01-01-h100-ddddddd", "2026-01-01T00:00:00Z"),
    )
    assert [path.name[-9:] for path in find_runs(folder, "rms_norm")] == [
        "0-ccccccc",
        "0-bbbbbbb",
        "0-aaaaaaa",
        "aaaaaaa-2",
    ]
    assert find_runs(folder)[0] == folder / "twice" / "2026-01-01-h100-ddddddd"
    assert newest_run(folder, "rms_norm").folder.name == "2026-11-22-h100-aaaaaaa-2"


def test_run_of_another_name_is_as_old_as_it_says(reports: Callable[..., Path]) -> None:
    folder = reports(
        ("twice", "2026-11-22-h100-aaaaaaa", "2026-11-22T09:00:00Z"), ("twice", "before", "2026-01-01T09:00:00Z")
    )
    assert newest_run(folder, "twice").folder.name == "2026-11-22-h100-aaaaaaa"


def test_folders_that_are_no_runs_are_not_found(reports: Callable[..., Path]) -> None:
    folder = reports(("twice", "2026-11-22-h100-aaaaaaa", "2026-11-22T09:00:00Z"))
    (folder / "twice" / "notes").mkdir()
    (folder / "README.md").write_text("reports")
    assert [path.name for path in find_runs(folder)] == ["2026-11-22-h100-aaaaaaa"]
    assert find_runs(folder / "nowhere") == []


def test_run_that_is_being_written_is_not_found(reports: Callable[..., Path]) -> None:
    folder = reports(("twice", ".writing-2026-11-22-h100-aaaaaaa-4711", "2026-11-22T09:00:00Z"))
    assert find_runs(folder) == []


def test_unreadable_run_hides_no_other(reports: Callable[..., Path]) -> None:
    folder = reports(("twice", "2026-11-22-h100-aaaaaaa", "2026-11-22T09:00:00Z"))
    for name, data in {"2026-11-22-h100-bbbbbbb": b"{", "2026-11-22-h100-ccccccc": b'{"operator": "\xe9"}'}.items():
        (folder / "twice" / name).mkdir()
        (folder / "twice" / name / "run.json").write_bytes(data)
    assert newest_run(folder, "twice").folder.name == "2026-11-22-h100-aaaaaaa"


def test_family_without_a_run_says_how_to_make_one(reports: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(RunFault, match=r"twice has no run yet\n.*`rooflift profile twice`"):
        newest_run(tmp_path / "reports", "twice")


@pytest.fixture
def two_days(reports: Callable[..., Path]) -> Path:
    return reports(
        ("rms_norm", "2026-11-21-h100-aaaaaaa", "2026-11-21T09:00:00Z"),
        ("rms_norm", "2026-11-22-h100-bbbbbbb", "2026-11-22T09:00:00Z"),
    )


def test_a_case_is_what_the_newest_run_that_has_it_recorded(two_days: Path) -> None:
    newest = two_days / "rms_norm" / "2026-11-22-h100-bbbbbbb"
    manifest = read_run(newest).manifest
    (main,) = manifest.cases
    half = msgspec.structs.replace(main, dtype="float16", compulsory_bytes=7)
    write_manifest(newest, msgspec.structs.replace(manifest, name=newest.name, cases=[half]))
    found = recorded_cases(two_days, "rms_norm")
    assert [(case.compulsory_bytes, run.created[:10]) for case, run in found.values()] == [
        (main.compulsory_bytes, "2026-11-21"),
        (7, "2026-11-22"),
    ]
    assert list(found) == [("main", "float32"), ("main", "float16")]


def test_run_is_found_by_path_by_name_and_by_operator(two_days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = two_days / "rms_norm" / "2026-11-21-h100-aaaaaaa"
    assert resolve_run(two_days, str(first)).folder == first
    assert resolve_run(two_days, first.name).folder == first
    assert resolve_run(two_days, "rms_norm").folder.name == "2026-11-22-h100-bbbbbbb"
    monkeypatch.chdir(two_days.parent)
    assert resolve_run(two_days, f"reports/rms_norm/{first.name}").folder.resolve() == first.resolve()


@pytest.mark.parametrize(
    ("typo", "meant"), [("rms_nrom", "rms_norm"), ("2026-11-21-h100-aaaaaab", "2026-11-21-h100-aaaaaaa")]
)
def test_unknown_run_suggests_the_near_name(two_days: Path, typo: str, meant: str) -> None:
    with pytest.raises(RunFault) as caught:
        resolve_run(two_days, typo)
    assert caught.value.message == f"{typo}: no such run"
    assert caught.value.remedy.startswith(f"Did you mean {meant}")


def test_name_that_two_families_share_is_not_guessed(reports: Callable[..., Path]) -> None:
    name = "2026-11-22-h100-8d0b822"
    folder = reports(("rms_norm", name, "2026-11-22T09:00:00Z"), ("twice", name, "2026-11-22T10:00:00Z"))
    with pytest.raises(RunFault, match=r"(?s)rms_norm.*twice"):
        resolve_run(folder, name)
    assert resolve_run(folder, str(folder / "twice" / name)).manifest.operator == "twice"


# --- measured roofs


def test_roofs_come_back_as_they_were_written(tmp_path: Path, h100_roofs: Callable[..., Roofs]) -> None:
    path = roofs_path(tmp_path, h100_roofs())
    assert path == tmp_path / "roofs" / "2026-11-22-h100-3d4a7f3.json"
    write_roofs(path, h100_roofs())
    assert read_roofs(path) == h100_roofs()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_roofs_replace_none_unless_forced(tmp_path: Path, h100_roofs: Callable[..., Roofs]) -> None:
    path = tmp_path / "h100.json"
    write_roofs(path, h100_roofs())
    before = path.read_bytes()
    with pytest.raises(RunFault, match="exists"):
        write_roofs(path, h100_roofs(created="2027-01-01T00:00:00Z"))
    assert path.read_bytes() == before
    write_roofs(path, h100_roofs(created="2027-01-01T00:00:00Z"), force=True)
    assert read_roofs(path).created == "2027-01-01T00:00:00Z"


def test_newest_roofs_are_those_of_the_same_gpu(tmp_path: Path, h100_roofs: Callable[..., Roofs]) -> None:
    h100 = "NVIDIA H100 80GB HBM3"
    assert newest_roofs(tmp_path, h100) is None
    for day in ("2026-11-22", "2026-12-01", "2026-11-30"):
        roofs = h100_roofs(created=f"{day}T10:00:00Z")
        write_roofs(roofs_path(tmp_path, roofs), roofs)
    write_roofs(tmp_path / "roofs" / "h200.json", h100_roofs(gpu="NVIDIA H200", created="2027-01-01T00:00:00Z"))
    (tmp_path / "roofs" / "torn.json").write_text("<<<<<<< HEAD")
    found = newest_roofs(tmp_path, h100)
    assert found is not None
    assert found.created == "2026-12-01T10:00:00Z"
    assert find_runs(tmp_path) == []  # roofs are no run


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 99}', '{"schema": 1, "created": 3}'])
def test_file_that_holds_no_roofs_is_told_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "h100.json"
    path.write_text(text)
    with pytest.raises(RunFault, match=r"h100\.json"):
        read_roofs(path)
    with pytest.raises(RunFault, match=r"nowhere\.json"):
        read_roofs(tmp_path / "nowhere.json")


# --- verified


@pytest.fixture
def sealed(h100_run: Path, tmp_path: Path) -> Path:
    """A run whose run.json holds its own sha256."""
    folder = Path(shutil.copytree(h100_run, tmp_path / "sealed"))
    write_manifest(folder, read_run(folder).manifest)
    return folder


def test_whole_run_has_no_faults(sealed: Path, h100_run: Path) -> None:
    assert verify(sealed) == Verified(sealed, [], [])
    assert verify(h100_run) == Verified(h100_run, [], [])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_altered_byte_is_found(sealed: Path, data: st.DataObject) -> None:
    files = sorted(path for path in sealed.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from([*files, sealed / "run.json"]))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    other = data.draw(st.integers(1, 255))
    path.write_bytes(before[:at] + bytes([before[at] ^ other]) + before[at + 1 :])
    try:
        assert next(file for file, _ in verify(sealed).faults) == path.relative_to(sealed).as_posix()
    finally:
        path.write_bytes(before)
    assert verify(sealed).whole


def test_files_that_are_missing_additional_or_none_are_named(sealed: Path, tmp_path: Path) -> None:
    (sealed / "timings.csv").unlink()
    (sealed / "ncu" / "notes.txt").write_text("mine")
    (sealed / ".hidden").write_text("")
    (sealed / "metrics.csv").rename(tmp_path / "metrics.csv")
    (sealed / "metrics.csv").symlink_to(tmp_path / "metrics.csv")  # the same bytes, elsewhere
    (sealed / "samples.parquet").unlink()
    os.mkfifo(sealed / "samples.parquet")  # whoever opened it would wait
    assert dict(verify(sealed).faults) == {
        "timings.csv": "missing",
        "ncu/notes.txt": "additional",
        ".hidden": "additional",
        "metrics.csv": "no regular file",
        "samples.parquet": "no regular file",
    }


def test_kernel_files_that_changed_since_are_a_note(sealed: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "kernels" / "twice" / "v0_probe.py"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("x = 1")
    sha256 = {"kernels/twice/v0_probe.py": hashlib.sha256(b"x = 1").hexdigest(), "kernels/twice/v1.py": "0" * 64}
    write_manifest(sealed, msgspec.structs.replace(read_run(sealed).manifest, sha256=sha256))
    found = verify(sealed, tmp_path)
    assert (found.whole, found.notes) == (True, ["changed since it was measured, or gone: kernels/twice/v1.py"])


def test_names_and_families_stand_for_their_folders(two_days: Path) -> None:
    folders = sorted((two_days / "rms_norm").iterdir())
    (folders[0] / "run.json").write_text("{")
    assert resolve_folders(two_days, "rms_norm") == folders
    assert resolve_folders(two_days, folders[0].name) == folders[:1]
    with pytest.raises(RunFault, match="no such run"):
        resolve_folders(two_days, "nothing")
