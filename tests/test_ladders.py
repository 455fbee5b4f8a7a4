"""Ladders side by side: the newest run of each, its fastest version, and a heat map of all."""

from __future__ import annotations

import pytest

import rooflift as rl
from rooflift.api.ladders import Ladders


@pytest.fixture(scope="module")
def ladders() -> Ladders:
    return rl.runs("softmax", "add_rms_norm", "rms_norm", "depthwise_conv2d", gpu="H100", metrics=True).ladders()


def test_a_ladder_has_its_first_and_its_fastest_version_of_the_newest_run(ladders: Ladders) -> None:
    for row in ladders.table().itertuples():
        run = rl.latest(row.operator, gpu="H100", metrics=True)
        progress = run.progress()
        assert row.run == run.name
        assert row.first == run.versions[0]
        assert row.time_us == progress.rows["time_us"].min()
        assert row.version in set(progress.rows["version"])  # of the same machine code the first stands for all
        assert progress.baseline is not None
        assert row.lead == pytest.approx(progress.baseline.time_us / row.time_us)


def test_every_version_of_a_run_has_a_row(ladders: Ladders) -> None:
    found = ladders.versions().groupby("operator", sort=False)["version"].agg(list)
    assert list(found.index) == sorted(found.index)
    assert all(found[one] == rl.latest(one, gpu="H100", metrics=True).versions for one in found.index)


def test_the_heat_map_has_a_cell_a_version_under_its_number_and_the_baseline_last(ladders: Ladders) -> None:
    (panel,) = ladders.figure().axes
    headings = [label.get_text() for label in panel.get_xticklabels()]
    assert headings == [*(f"v{number}" for number in range(11)), "best baseline"]
    rows = [label.get_text() for label in panel.get_yticklabels()]
    cells = [text.get_text() for text in panel.texts if text.get_gid() == "cell"]
    assert len(cells) == len(ladders.versions()) + len(rows)
    bottom = [text.get_text() for text in panel.texts if text.get_position()[1] == rows.index("rms norm")]
    assert bottom.count("-") == 10


def test_each_gpu_has_a_panel_and_imports_are_left_out() -> None:
    found = rl.runs("depthwise_conv2d").ladders()
    assert found.table()["gpu"].tolist() == ["NVIDIA H100 80GB HBM3", "NVIDIA H200"]
    assert [panel.get_title(loc="left") for panel in found.figure().axes] == ["NVIDIA H100 80GB HBM3", "NVIDIA H200"]


def test_no_run_is_no_ladder() -> None:
    assert rl.runs(gpu="no such GPU").ladders().versions().empty
