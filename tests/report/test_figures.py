"""The figures as a reader of a pull request sees them: nothing overlaps, nothing is clipped, nothing is made up."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox
from PIL import Image

from rooflift.analysis.roofline import Roof
from rooflift.report.figures.multiples import bottleneck_figure, stalls_figure
from rooflift.report.figures.progress import Level, progress_figure
from rooflift.report.figures.roofline import roofline_figure
from rooflift.report.figures.style import BAR, DARK, PAPER, SOFT, save

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
EVERY_DAY = {"two versions", "thirteen", "above the roof"}
FEW_TRAILS = [pytest.param(name, marks=[] if name in EVERY_DAY else [pytest.mark.slow]) for name in TRAILS]
STALLS = ("long_scoreboard", "wait", "lg_throttle", "barrier", "drain", "mio_throttle", "membar", "misc", "sleeping")


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
    """The same with times of steps, a DRAM share that grows and an ALU share that falls, and reasons to wait."""
    rows = range(len(summary))
    shares = {"dram_pct": [31.0 + 4 * row for row in rows], "alu_pct": [80.0 - 4 * row for row in rows]}
    stalls = {f"stall_{name}": [9.5 - i + row for row in rows] for i, name in enumerate(STALLS)}
    limits = ["ALU pipe" if alu > dram else "DRAM" for dram, alu in zip(*shares.values(), strict=True)]
    steps = summary["time_us"] / summary["time_us"].shift(1)
    verdicts = ["" if x != x else "faster" if x < 0.99 else "slower" if x > 1.01 else "within noise" for x in steps]
    return summary.assign(**shares, **stalls, tensor_pct=1.0, bottleneck=limits, step_x=steps, verdict=verdicts)


def with_levels(summary: pd.DataFrame) -> pd.DataFrame:
    """The same with the traffic of L2 and L1."""
    return summary.assign(flop=4.794e9, l2_bytes=4.794e9 / 1.2, l1_bytes=4.794e9 / 0.9)


def roofline(summary: pd.DataFrame, roofs: tuple[Roof, ...] = H100, **more: Sequence[str]) -> Figure:
    return roofline_figure(summary, roofs, title="Depthwise convolution, case main, float32", footnote=FOOTNOTE, **more)


EAGER = Level("torch_eager", 2500.0)


def progress(summary: pd.DataFrame, baseline: Level | None = EAGER) -> Figure:
    return progress_figure(summary, baseline=baseline, title="Progress: depthwise convolution", footnote=FOOTNOTE)


def bottleneck(summary: pd.DataFrame) -> Figure:
    return bottleneck_figure(summary, title="Bottleneck: depthwise convolution", footnote=FOOTNOTE)


def stalls(summary: pd.DataFrame) -> Figure:
    return stalls_figure(summary, title="Warp stalls: depthwise convolution", footnote=FOOTNOTE)


EVERY = [progress, roofline, *(pytest.param(draw, marks=pytest.mark.slow) for draw in (bottleneck, stalls))]


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
    """The marks of the versions at the traffic of DRAM."""
    return [line for line in figure.axes[0].lines if re.fullmatch(r"roofline-\d+", str(line.get_gid()))]


def bars(figure: Figure) -> list[Rectangle]:
    """The bars of the progress figure."""
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


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


@pytest.mark.parametrize("roofs", [H100, MEASURED, TF32], ids=["datasheet", "measured", "tensor"])
@pytest.mark.parametrize("name", FEW_TRAILS)
def test_no_name_of_a_roof_covers_a_mark(name: str, roofs: tuple[Roof, ...]) -> None:
    figure = roofline(with_levels(trail(TRAILS[name])), roofs)
    assert_apart(figure)
    assert_all_inside(figure)
    marks = [line for line in figure.axes[0].lines if str(line.get_gid()).startswith("roofline-")]
    for label in (text for text in texts(figure) if text.get_gid() == "roof-label"):
        for mark in marks:
            assert not outline(label).intersects_path(box(mark.get_window_extent()), filled=True), label.get_text()


def test_roofs_are_those_that_bind_at_the_points_and_the_others_are_named() -> None:
    figure = roofline(with_levels(trail([35, 70, 97])), TF32)
    assert [text.get_text() for text in texts(figure) if text.get_gid() == "roof-label"] == [
        "DRAM copy 2.99 TB/s",
        "L2 read 5.70 TB/s",
    ]
    (note,) = (text for text in words(figure) if "Roofs:" in text)
    assert "Roofs: DRAM copy measured in this run, L2 read measured 2026-11-22." in note
    assert "Out of view: FP32 61.0 TFLOP/s, TF32 tensor 400 TFLOP/s." in note


def test_a_product_under_the_tensor_roof_has_that_roof_and_not_the_one_of_the_pipe_below_it() -> None:
    """4096 cubed in bf16: 780 TFLOP/s at 630 FLOP a byte, the FP32 pipe at 64 is far below the points."""
    summary = trail([33, 94, 96]).assign(intensity=[540, 630, 632], flops_per_s=[260e12, 733e12, 755e12])
    figure = roofline(summary, (*TENSOR, Roof("FP32", "compute", 64e12, "measured", measured=True)))
    names = [text.get_text() for text in texts(figure) if text.get_gid() == "roof-label"]
    assert names == ["DRAM copy 3.00 TB/s", "BF16 tensor 780 TFLOP/s"]
    assert figure.get_size_inches()[1] < 5  # it was 25 inches tall once


def test_measured_roof_is_a_full_line_and_a_published_one_a_broken_line() -> None:
    def styles(*roofs: Roof) -> list[object]:
        lines = roofline(trail([35, 70]), roofs).axes[0].lines
        return [line.get_linestyle() for line in lines if line.get_gid() == "roof"]

    assert styles(*H100) == ["-"]
    assert styles(H100[1]) == ["--"]


def test_first_fastest_and_chosen_versions_have_labels_and_the_others_a_dot() -> None:
    summary = trail([35, 70, 98, 96])
    assert labels(roofline(summary)) == ["v2 coarsen rows", "v3 vectorise", "v0 baseline"]
    assert labels(roofline(summary, marked=["v1_grid"])) == ["v2 coarsen rows", "v1 grid", "v0 baseline"]
    sizes = [dot.get_markersize() for dot in dots(roofline(summary))]
    assert [size > 5 for size in sizes] == [True, False, True, True]


def test_fastest_version_is_the_one_with_the_least_time_though_another_does_more_flop() -> None:
    summary = trail([35, 70, 60])
    summary.loc[2, "flops_per_s"] = 9e12
    (best,) = (text for text in texts(roofline(summary)) if text.get_gid() == "label" and text.get_weight() == "bold")
    assert best.get_text().startswith("v1 grid\n1.016 ms, 70 % of SOL")


def labels(figure: Figure) -> list[str]:
    return [text.get_text().splitlines()[0] for text in texts(figure) if text.get_gid() == "label"]


def test_marked_versions_have_a_mark_a_level_at_its_own_traffic() -> None:
    figure = roofline(with_levels(trail([35, 70])), MEASURED)
    places = {str(line.get_gid()): float(line.get_xdata()[0]) for line in figure.axes[0].lines}  # type: ignore[index]
    assert places["roofline-0"] == pytest.approx(2.25)
    assert places["roofline-0-L2"] == pytest.approx(1.2)
    assert places["roofline-1-L1"] == pytest.approx(0.9)


@pytest.mark.parametrize("draw", [progress, bottleneck, stalls])
@pytest.mark.parametrize("name", FEW_TRAILS)
def test_no_text_of_a_bar_figure_overlaps_another_or_leaves_the_figure(
    draw: Callable[[pd.DataFrame], Figure], name: str
) -> None:
    figure = draw(with_metrics(trail(TRAILS[name])))
    assert_apart(figure)
    assert_all_inside(figure)


def test_dots_stand_at_the_measured_place_and_the_trail_goes_through_them() -> None:
    summary = trail([35, 70, 96])
    figure = roofline(summary)
    places = np.array([dot.get_xydata() for dot in dots(figure)])
    np.testing.assert_allclose(places[:, 0, 0], summary["intensity"])
    np.testing.assert_allclose(places[:, 0, 1], summary["flops_per_s"] / 1e12)
    (through,) = (line for line in figure.axes[0].lines if line.get_gid() == "trail")
    np.testing.assert_allclose(np.asarray(through.get_xydata()), places[:, 0])


def test_axes_show_the_points_and_little_else() -> None:
    axes = roofline(trail([35, 70])).axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert left < 2.25 < right
    assert bottom < 2.36 < 4.72 < top
    assert right / left < 6
    assert top / bottom < 8


def test_ridge_is_shown_where_the_points_are_near_it() -> None:
    axes = roofline(trail([35, 70]).assign(intensity=[12.0, 13.0], flops_per_s=[10e12, 30e12])).axes[0]
    assert axes.get_xlim()[1] > 66.9 / 3.00
    assert axes.get_ylim()[1] > 66.9


def test_version_without_dram_counters_is_left_out_and_named_in_the_footnote() -> None:
    summary = trail([35, 70, 96])
    summary.loc[1, "intensity"] = math.nan
    figure = roofline(summary)
    assert len(dots(figure)) == 2
    assert any("Not drawn, no DRAM metrics: v1_grid." in text and "Measured on" in text for text in words(figure))


def test_version_without_flop_metrics_is_left_out_for_these_though_its_dram_bytes_are_known() -> None:
    summary = trail([35, 70]).assign(dram_bytes=2e9)
    summary.loc[1, ["flop", "intensity", "flops_per_s"]] = math.nan
    assert any("Not drawn, no FLOP metrics: v1_grid." in text for text in words(roofline(summary)))


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
    assert [to_hex(str(dot.get_markerfacecolor())) == PAPER for dot in dots(figure)] == [False, True]
    assert [text for text in words(figure) if "suspect" in text] == ["v1 grid 684.1 µs, 104 % of SOL, suspect"]
    assert "104 %!" in words(progress(trail([35, 104])))


def test_unknown_share_of_the_roof_is_said_and_progress_shows_times() -> None:
    unknown = trail([35, 70]).assign(sol_pct=math.nan)
    assert "v0 baseline 2.033 ms, SOL missing" in words(roofline(unknown))
    figure = progress(unknown)
    assert [bar.get_width() for bar in bars(figure)] == pytest.approx([71150 / 35, 71150 / 70])
    assert "time, µs" in words(figure)
    assert "SOL" not in words(figure)


def test_progress_has_lines_at_sol_and_at_the_baseline_on_one_scale() -> None:
    figure = progress(trail([35, 70]), Level("torch_compile", 71150 / 50))
    places = [float(line.get_xdata()[0]) for line in figure.axes[0].lines]  # type: ignore[index]
    assert places == pytest.approx([100, 50])
    assert "torch compile, 1.423 ms" in words(figure)


def test_bars_say_what_a_step_changed_without_colour() -> None:
    figure = progress(with_metrics(trail([35, 70, 70.1, 60])))
    assert [to_hex(bar.get_facecolor()) for bar in bars(figure)] == [BAR, BAR, SOFT, PAPER]
    assert [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "text-step"] == [
        *("step", "", "0.50x", "no change", "1.17x slower")
    ]
    assert any("a pale bar changed nothing, a hollow one is slower" in text for text in words(figure))


def test_versions_of_the_same_machine_code_are_one_row_by_both_names() -> None:
    rows = trail([35, 70]).assign(versions=["v0_baseline", "v1_grid to v4_hints (same machine code)"])
    assert "v1 grid to v4 hints" in words(progress(rows))
    assert "v1 grid to v4 hints" in labels(roofline(rows))


def test_progress_of_a_version_without_a_time_reads_missing() -> None:
    rows = trail([35, 70])
    rows.loc[1, ["time_us", "sol_pct"]] = math.nan
    figure = progress(rows)
    assert [bar.get_width() for bar in bars(figure)] == [35, 0]
    assert "missing" in words(figure)


def test_bottleneck_marks_the_unit_that_limits_a_version_and_leaves_quiet_units_out() -> None:
    figure = bottleneck(with_metrics(trail([35, 70, 96, 97, 97, 97, 97, 98])))
    dram, alu = figure.axes
    assert [axes.get_title(loc="left") for axes in (dram, alu)] == ["DRAM", "ALU\npipe"]
    dark = [[to_hex(bar.get_facecolor()) == BAR for bar in axes.patches] for axes in (dram, alu)]
    assert dark == [[False] * 7 + [True], [True] * 7 + [False]]
    assert any(text.endswith("Below 20 % throughout: Tensor pipe.") for text in words(figure))


def test_missing_share_of_a_unit_has_a_dash_and_no_bar() -> None:
    summary = with_metrics(trail([35, 70]))
    summary.loc[1, "dram_pct"] = math.nan
    (dram, _) = bottleneck(summary).axes
    assert [text.get_text() for text in dram.texts] == ["31", "-"]
    assert [bar.get_width() for bar in dram.patches if isinstance(bar, Rectangle)] == [31, 0]


def test_stalls_are_shares_of_the_waiting_warps_and_add_up() -> None:
    figure = stalls(with_metrics(trail([35, 70])))
    named = [axes.get_title(loc="left").replace("\n", " ") for axes in figure.axes]
    assert named == ["Long Scoreboard", "Wait", "LG Throttle", "Barrier", "Drain", "MIO Throttle", "other"]
    widths = [[bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)] for axes in figure.axes]
    assert np.sum(widths, axis=0) == pytest.approx([100, 100])


def test_figures_without_any_value_say_so() -> None:
    assert any(text.startswith("No version has a value of why") for text in words(stalls(trail([35, 70]))))
    bare = trail([35, 70]).assign(bottleneck="unknown")
    assert any(text.startswith("No version has a value of how busy") for text in words(bottleneck(bare)))


@pytest.mark.parametrize("draw", EVERY)
def test_saving_the_same_input_twice_gives_the_same_bytes(
    draw: Callable[[pd.DataFrame], Figure], tmp_path: FilePath
) -> None:
    summary = with_metrics(trail(TRAILS["thirteen"]))
    first, second = (save(draw(summary), tmp_path / stem, png=True) for stem in ("first", "v1.second"))
    assert [path.name for path in second] == ["v1.second.svg", "v1.second.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize("draw", EVERY)
def test_png_looks_as_drawn_in_half_of_the_bytes(draw: Callable[[pd.DataFrame], Figure], tmp_path: FilePath) -> None:
    summary = with_metrics(trail(TRAILS["thirteen"]))
    figure = draw(summary)
    png = save(figure, tmp_path / "figure", png=True)[1]
    figure.savefig(tmp_path / "drawn.png", dpi=192)
    drawn, saved = (np.asarray(Image.open(path).convert("RGB"), int) for path in (tmp_path / "drawn.png", png))
    assert saved.shape[1] == 1200
    assert abs(saved - drawn).max() <= 16  # of 255; 8 was measured, and twice that still looks the same
    assert png.stat().st_size < (tmp_path / "drawn.png").stat().st_size / 2


@pytest.mark.parametrize("draw", EVERY)
def test_svg_of_thirteen_versions_is_small_its_text_is_text_and_every_colour_has_a_dark_one(
    draw: Callable[[pd.DataFrame], Figure], tmp_path: FilePath
) -> None:
    path = save(draw(with_metrics(trail(TRAILS["thirteen"]))), tmp_path / "figure")[0]
    svg = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 100_000
    assert "v12 hints" in svg
    style, drawn = svg.split("</style>", 1)
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawn)) - {"#000000", "#fefefe"}  # unset, and on a bar
    assert used <= set(DARK)
    assert all(f'[style*="fill: {light}"] {{ fill: {dark} !important }}' in style for light, dark in DARK.items())


def test_settings_of_the_caller_neither_change_a_figure_nor_are_changed(tmp_path: FilePath) -> None:
    plain = save(roofline(trail([35, 70])), tmp_path / "plain")
    with matplotlib.rc_context({"figure.facecolor": "black", "text.color": "white", "font.size": 20}):
        before = dict(matplotlib.rcParams)
        dark = save(roofline(trail([35, 70])), tmp_path / "dark")
        assert dict(matplotlib.rcParams) == before
    assert [path.read_bytes() for path in plain] == [path.read_bytes() for path in dark]


def test_importing_the_modules_imports_neither_matplotlib_nor_pandas() -> None:
    names = ", ".join(
        f"rooflift.report.figures.{name}" for name in ("multiples", "progress", "roofline", "suite", "timeline", "tune")
    )
    code = f"import sys, {names}; print({{'matplotlib', 'pandas'}} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_drawing_does_not_import_pyplot() -> None:
    code = (
        "import sys, pandas as pd; from rooflift.report.figures.multiples import stalls_figure;"
        "stalls_figure(pd.DataFrame({'version': ['v0_baseline']}), title='', footnote='');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
