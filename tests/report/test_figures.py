"""The figures as a reader of a pull request sees them: nothing overlaps, nothing is clipped, nothing is made up."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as FilePath

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox
from PIL import Image

from rooflift.analysis.roofline import Roof
from rooflift.report.figures.panels import DEFAULT_PANELS, metrics_figure, stalls_figure
from rooflift.report.figures.roofline import roofline_figure
from rooflift.report.figures.style import save

H100 = (
    Roof("DRAM copy", "bandwidth", 3.00e12, "measured, device copy of 2 GiB", measured=True),
    Roof("DRAM", "bandwidth", 3.35e12, "H100 SXM datasheet", measured=False),
    Roof("FP32", "compute", 66.9e12, "H100 SXM datasheet", measured=False),
)
TENSOR = (
    *H100[:2],
    Roof("BF16 tensor", "compute", 780e12, "measured, matrix product of 8192 cubed", measured=True),
    Roof("BF16 tensor", "compute", 989e12, "H100 SXM datasheet", measured=False),
)
MEASURED = (
    Roof("DRAM copy", "bandwidth", 2.99e12, "measured in this run", measured=True),
    Roof("L2 read", "bandwidth", 5.7e12, "measured 2026-11-22", measured=True),
    Roof("FP32", "compute", 61e12, "measured 2026-11-22", measured=True),
    Roof("DRAM", "bandwidth", 3.35e12, "datasheet", measured=False),
    Roof("FP32", "compute", 66.9e12, "datasheet", measured=False),
)
TF32 = (
    *MEASURED,
    Roof("TF32 tensor", "compute", 400e12, "measured 2026-11-22", measured=True),
    Roof("TF32 tensor", "compute", 495e12, "datasheet", measured=False),
)
FOOTNOTE = (
    "Measured on NVIDIA H100 80GB HBM3, driver 570.86, CUDA 12.8, ncu 2025.1, torch 2.9, triton 3.5; clocks none."
)
NAMES = ("baseline", "grid", "coarsen_rows", "vectorise", "hints", "persistent", "tma_store", "split_channels")
TRAILS: dict[str, list[float]] = {
    "two versions": [35, 70],
    "crowded under the roof": [35, 70, 96, 97, 98],
    "crowded and falling": [35, 70, 98, 97, 96],
    "all the same": [97, 97, 97, 97],
    "thirteen": [30, 41, 52, 55, 71, 69, 80, 88, 93, 96, 97, 98, 99],
    "one version": [35],
    "above the roof": [35, 70, 104],
    "far below the roof": [1, 1.1, 1.2],
}
STALLS = ("long_scoreboard", "wait", "selected", "lg_throttle", "barrier", "not_selected", "branch", "mio", "sleeping")


def trail(roof_pcts: list[float]) -> pd.DataFrame:
    """Versions of a depthwise convolution, 4.794e9 FLOP and a floor of 0.71 ms, at nearly one intensity."""
    times_us = [71150 / pct for pct in roof_pcts]
    return pd.DataFrame(
        {
            "version": [f"v{i}_{NAMES[i % len(NAMES)]}" for i in range(len(roof_pcts))],
            "intensity": [2.25 + 0.004 * (i % 2) for i in range(len(roof_pcts))],
            "flops_per_s": [4.794e9 / time_us * 1e6 for time_us in times_us],
            "sol_pct": roof_pcts,
            "time_us": times_us,
        }
    )


def with_metrics(summary: pd.DataFrame) -> pd.DataFrame:
    counters = {panel.column: [10.5 + row for row in range(len(summary))] for panel in DEFAULT_PANELS}
    stalls = {f"stall_{name}": [9.5 - i + row for row in range(len(summary))] for i, name in enumerate(STALLS)}
    return summary.assign(**counters, **stalls)


def roofline(summary: pd.DataFrame, roofs: tuple[Roof, ...] = H100) -> Figure:
    return roofline_figure(summary, roofs, title="Depthwise convolution, case main, float32", footnote=FOOTNOTE)


def counters(summary: pd.DataFrame) -> Figure:
    return metrics_figure(summary, title="Counters: depthwise convolution", footnote=FOOTNOTE)


def stalls(summary: pd.DataFrame) -> Figure:
    return stalls_figure(summary, title="Warp stalls: depthwise convolution", footnote=FOOTNOTE)


def texts(figure: Figure) -> list[Text]:
    """Everything that can be read in the figure, laid out."""
    figure.draw_without_rendering()
    found = [item for item in figure.findobj(Text) if isinstance(item, Text)]
    undrawn = beyond_the_axes(figure)
    return [text for text in found if text.get_text() and text.get_visible() and text not in undrawn]


def beyond_the_axes(figure: Figure) -> set[Text]:
    """The labels of ticks outside the limits: matplotlib keeps them and does not draw them."""
    labels: set[Text] = set()
    for axes in figure.axes:
        for axis, (start, end) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            labels |= {tick.label1 for tick in axis.get_major_ticks() if not start <= tick.get_loc() <= end}
    return labels


def words(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in texts(figure)]


def outline(text: Text) -> Path:
    """The box of a text, or of the badge around it, in pixels; a rotated text has a rotated box."""
    badge, angle = text.get_bbox_patch(), text.get_rotation()
    if badge is not None:
        return box(badge.get_window_extent())
    text.set_rotation(0)
    upright = box(Text.get_window_extent(text))
    text.set_rotation(angle)
    if text.get_rotation_mode() != "anchor":
        return upright if angle == 0 else box(text.get_window_extent())
    anchor = text.get_transform().transform(text.get_position())
    return Affine2D().rotate_deg_around(anchor[0], anchor[1], angle).transform_path(upright)


def box(extent: Bbox) -> Path:
    (x0, y0), (x1, y1) = extent.get_points()
    return Path([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], closed=True)


def dots(figure: Figure) -> list[Line2D]:
    return [line for line in figure.axes[0].lines if line.get_gid() == "dot"]


def assert_all_inside(figure: Figure) -> None:
    for text in texts(figure):
        (x0, y0), (x1, y1) = outline(text).get_extents().get_points()
        inside = x0 >= 0 and y0 >= 0 and x1 <= figure.bbox.x1 and y1 <= figure.bbox.y1
        assert inside, f"{text.get_text()!r} leaves the figure"


def assert_apart(figure: Figure) -> None:
    outlines = [(text.get_text(), outline(text)) for text in texts(figure)]
    for (one, its_box), (other, other_box) in itertools.combinations(outlines, 2):
        assert not its_box.intersects_path(other_box, filled=True), f"{one!r} overlaps {other!r}"


@pytest.mark.parametrize("name", TRAILS)
def test_no_label_of_a_roofline_overlaps_another_or_leaves_the_figure(name: str) -> None:
    figure = roofline(trail(TRAILS[name]))
    assert_apart(figure)
    assert_all_inside(figure)


@pytest.mark.parametrize("name", TRAILS)
def test_no_label_of_a_roofline_covers_a_dot_or_crosses_a_roof(name: str) -> None:
    figure = roofline(trail(TRAILS[name]))
    labels = [text for text in texts(figure) if text.get_gid() in {"label", "badge", "roof-label"}]
    lines = figure.axes[0].lines
    marks = [box(line.get_window_extent()) for line in dots(figure)]
    roofs = [line.get_transform().transform_path(line.get_path()) for line in lines if line.get_gid() != "dot"]
    assert len(roofs) == len(H100)
    for label in labels:
        assert not any(outline(label).intersects_path(mark, filled=True) for mark in marks), label.get_text()
        assert not any(roof.intersects_path(outline(label), filled=False) for roof in roofs), label.get_text()


@pytest.mark.parametrize("roofs", [MEASURED, TF32], ids=["FP32", "tensor"])
@pytest.mark.parametrize("name", TRAILS)
def test_measured_roofs_beside_the_datasheets_are_labelled_without_touching_a_line(
    name: str, roofs: tuple[Roof, ...]
) -> None:
    figure = roofline(trail(TRAILS[name]), roofs)
    assert_apart(figure)
    assert_all_inside(figure)
    lines = [line for line in figure.axes[0].lines if line.get_gid() != "dot"]
    styles = [(line.get_linestyle(), line.get_linewidth()) for line in lines]
    assert {style for style, roof in zip(styles, roofs, strict=True) if roof.measured} == {("-", 1.4)}
    assert {style for style, roof in zip(styles, roofs, strict=True) if not roof.measured} == {("--", 0.8)}
    paths = [line.get_transform().transform_path(line.get_path()) for line in lines]
    for label in (text for text in texts(figure) if text.get_gid() == "roof-label"):
        assert not any(path.intersects_path(outline(label), filled=False) for path in paths), label.get_text()


@pytest.mark.parametrize("versions", [9, 21])
def test_labels_of_many_versions_below_the_lower_of_two_compute_roofs_find_room(versions: int) -> None:
    """Seven by seven filters, some of them on the tensor cores: the FP32 roof is right above the versions."""
    roof_pcts = [40 + 45 * number / versions for number in range(versions)]
    summary = trail(roof_pcts)
    summary = summary.assign(intensity=[24 + number % 9 for number in range(versions)])
    figure = roofline(summary.assign(flops_per_s=[pct * 0.56e12 for pct in roof_pcts]), TF32)
    assert_apart(figure)
    assert_all_inside(figure)
    lines = [line for line in figure.axes[0].lines if line.get_gid() != "dot"]
    paths = [line.get_transform().transform_path(line.get_path()) for line in lines]
    labels = [text for text in texts(figure) if text.get_gid() in {"label", "badge", "roof-label"}]
    for label in labels:
        assert not any(path.intersects_path(outline(label), filled=False) for path in paths), label.get_text()


def test_labels_of_versions_right_under_a_compute_roof_stay_clear_of_its_label() -> None:
    summary = trail([20, 55, 96, 97, 98])
    figure = roofline(
        summary.assign(intensity=[300, 700, 1500, 1510, 1520], flops_per_s=summary["sol_pct"] * 7.8e12), TENSOR
    )
    assert_apart(figure)
    assert_all_inside(figure)


@pytest.mark.parametrize("draw", [counters, stalls])
@pytest.mark.parametrize("name", TRAILS)
def test_no_text_of_a_bar_figure_overlaps_another_or_leaves_the_figure(
    draw: Callable[[pd.DataFrame], Figure], name: str
) -> None:
    figure = draw(with_metrics(trail(TRAILS[name])))
    assert_apart(figure)
    assert_all_inside(figure)


def test_every_label_says_version_time_and_share_of_the_roof() -> None:
    assert "v0 baseline  2.033 ms  35 %" in words(roofline(trail([35, 70])))


def test_every_roof_says_name_value_and_source_along_its_line() -> None:
    figure = roofline(trail([35, 70]))
    labels = {text.get_text(): text for text in texts(figure) if text.get_gid() == "roof-label"}
    assert list(labels) == [
        "DRAM copy 3.00 TB/s\nmeasured, device copy of 2 GiB",
        "DRAM 3.35 TB/s, H100 SXM datasheet",
        "FP32 66.9 TFLOP/s\nH100 SXM datasheet",
    ]
    lines = [line for line in figure.axes[0].lines if line.get_gid() != "dot"]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "--"]
    for line, label in zip(lines, labels.values(), strict=True):
        (x0, y0), (x1, y1) = line.get_transform().transform(line.get_xydata())
        assert label.get_rotation() == pytest.approx(math.degrees(math.atan2(y1 - y0, x1 - x0)))


def test_dots_stand_at_the_measured_place_and_arrows_lead_from_version_to_version() -> None:
    summary = trail([35, 70, 96])
    figure = roofline(summary)
    places = np.array([dot.get_xydata() for dot in dots(figure)])
    np.testing.assert_allclose(places[:, 0, 0], summary["intensity"])
    np.testing.assert_allclose(places[:, 0, 1], summary["flops_per_s"] / 1e12)
    arrows = [note for note in figure.axes[0].texts if note.get_text() == ""]
    assert len(arrows) == 2


def test_axes_show_the_trail_and_the_ridge_and_little_else() -> None:
    axes = roofline(trail([35, 70])).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 2.25
    assert right > 66.9 / 3.00
    assert top > 66.9
    assert right / left < 100
    assert top / bottom < 150


def test_version_without_dram_counters_is_left_out_and_named_in_the_footnote() -> None:
    summary = trail([35, 70, 96])
    summary.loc[1, "intensity"] = math.nan
    figure = roofline(summary)
    assert len(dots(figure)) == 2
    assert any(
        text.startswith("Measured on") and "Not drawn, no DRAM metrics: v1_grid." in text for text in words(figure)
    )


def test_version_that_counted_no_flop_is_left_out_and_named_in_the_footnote() -> None:
    summary = trail([35, 70])
    summary.loc[0, ["intensity", "flops_per_s"]] = 0.0
    assert any("Not drawn, no FLOP/s: v0_baseline." in text for text in words(roofline(summary)))


@pytest.mark.parametrize("roofs", [H100, H100[:1], H100[2:], ()])
def test_run_without_any_counters_still_shows_the_roofs(roofs: tuple[Roof, ...]) -> None:
    figure = roofline(trail([35, 70]).assign(intensity=math.nan), roofs)
    assert not dots(figure)
    assert_apart(figure)
    assert_all_inside(figure)


def test_version_above_its_roof_is_hollow_and_called_suspect() -> None:
    figure = roofline(trail([35, 104]))
    assert [to_hex(str(dot.get_markerfacecolor())) == "#ffffff" for dot in dots(figure)] == [False, True]
    assert [text for text in words(figure) if "suspect" in text] == ["v1 grid  684.1 µs  104 % suspect"]


def test_unknown_share_of_the_roof_is_said() -> None:
    assert "v0 baseline  2.033 ms  SOL missing" in words(roofline(trail([35]).assign(sol_pct=math.nan)))


def test_missing_counter_reads_missing_and_has_no_bar() -> None:
    summary = with_metrics(trail([35, 70])).drop(columns="l2_pct")
    summary.loc[1, "sm_pct"] = math.nan
    panels = {axes.get_title(loc="left"): axes for axes in counters(summary).axes}
    assert [text.get_text() for text in panels["SM Throughput %"].texts] == ["10.5", "missing"]
    assert [text.get_text() for text in panels["L2 Throughput %"].texts] == ["missing", "missing"]
    bars = panels["SM Throughput %"].collections[0].get_paths()
    assert [bool(np.isfinite(bar.vertices).all()) for bar in bars] == [True, False]


def test_percent_panels_run_from_zero_to_a_hundred() -> None:
    axes = counters(with_metrics(trail([35, 70]))).axes
    assert [panel.get_xlim() for panel in axes[:10]] == [(0, 100)] * 10


def test_version_keeps_its_colour_from_figure_to_figure() -> None:
    summary = with_metrics(trail([35, 70, 96]))
    bars = counters(summary).axes[0].collections[0].get_colors()  # type: ignore[attr-defined]  # a LineCollection
    left_out = roofline(summary.drop(index=1))
    assert [str(dot.get_markerfacecolor()).lower() for dot in dots(left_out)] == [to_hex(bars[0]), to_hex(bars[2])]


def test_stalls_show_the_six_largest_reasons_and_the_rest_as_other() -> None:
    figure = stalls(with_metrics(trail([35, 70])))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["Long Scoreboard", "Wait", "Selected", "LG Throttle", "Barrier", "Not Selected", "other"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["49.5", "58.5"]
    figure.draw_without_rendering()
    assert legend.get_window_extent().y0 >= figure.axes[0].get_window_extent().y1 - 0.01


def test_stalls_say_what_is_missing() -> None:
    summary = with_metrics(trail([35, 70, 96]))
    summary.loc[1, "stall_wait"] = math.nan
    summary.loc[2, [f"stall_{name}" for name in STALLS]] = math.nan
    assert [text.get_text() for text in stalls(summary).axes[0].texts] == ["49.5", "49.0 (1 missing)", "missing"]


def test_stalls_without_any_value_say_so() -> None:
    assert any(text.startswith("No stall reasons") for text in words(stalls(trail([35, 70]))))


@pytest.mark.parametrize("draw", [roofline, counters, stalls])
def test_saving_the_same_input_twice_gives_the_same_bytes(
    draw: Callable[[pd.DataFrame], Figure], tmp_path: FilePath
) -> None:
    summary = with_metrics(trail(TRAILS["thirteen"]))
    first, second = (save(draw(summary), tmp_path / stem, png=True) for stem in ("first", "v1.second"))
    assert [path.name for path in second] == ["v1.second.svg", "v1.second.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("draw", [roofline, counters, stalls])
def test_png_looks_as_drawn_in_half_of_the_bytes(draw: Callable[[pd.DataFrame], Figure], tmp_path: FilePath) -> None:
    summary = with_metrics(trail(TRAILS["thirteen"]))
    figure = draw(summary)
    png = save(figure, tmp_path / "figure", png=True)[1]
    figure.savefig(tmp_path / "drawn.png", dpi=150)
    drawn, saved = (np.asarray(Image.open(path).convert("RGB"), int) for path in (tmp_path / "drawn.png", png))
    assert abs(saved - drawn).max() <= 16  # of 255; 8 was measured, and twice that still looks the same
    assert png.stat().st_size < (tmp_path / "drawn.png").stat().st_size / 2


@pytest.mark.parametrize("draw", [roofline, counters, stalls])
def test_svg_of_thirteen_versions_is_small_and_its_text_is_text(
    draw: Callable[[pd.DataFrame], Figure], tmp_path: FilePath
) -> None:
    svg = save(draw(with_metrics(trail(TRAILS["thirteen"]))), tmp_path / "figure")[0]
    assert svg.stat().st_size < 100_000
    assert "v12 hints" in svg.read_text(encoding="utf-8")


def test_settings_of_the_caller_neither_change_a_figure_nor_are_changed(tmp_path: FilePath) -> None:
    plain = save(roofline(trail([35, 70])), tmp_path / "plain")
    with matplotlib.rc_context({"figure.facecolor": "black", "text.color": "white", "font.size": 20}):
        before = dict(matplotlib.rcParams)
        dark = save(roofline(trail([35, 70])), tmp_path / "dark")
        assert dict(matplotlib.rcParams) == before
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in dark]


def test_importing_the_module_imports_neither_matplotlib_nor_pandas() -> None:
    code = "import sys, rooflift.report.figures.panels; print({'matplotlib', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_drawing_does_not_import_pyplot() -> None:
    code = (
        "import sys, pandas as pd; from rooflift.report.figures.panels import stalls_figure;"
        "stalls_figure(pd.DataFrame({'version': ['v0_baseline']}), title='', footnote='');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
