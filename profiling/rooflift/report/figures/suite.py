"""How every case stands: a heat map of cases by versions beside the best baseline. Takes rows, returns a Figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rooflift.report.figures.style import FONT_PT, GREY, INK, OTHER, SMALL_PT, name_rows, page, short_name, styled

if TYPE_CHECKING:  # matplotlib and pandas cost a second; importing this module costs nothing
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_IN = 0.24
MOST_VERSIONS = 8
BEST = "best baseline"
# From near nothing to SOL in steps of one blue, dark is fast; the same on a light and a dark page, so not style.DARK's.
SHADES = ((40, "#e8f1fa"), (60, "#c3dbf0"), (75, "#8fbbe0"), (85, "#5494cb"), (95, "#2470b3"), (math.inf, "#08468a"))
ON_PALE, ON_DARK = "#10151b", "#fdfdfd"  # the numbers on them


@styled()
def suite_figure(shares: pd.DataFrame, *, title: str, footnote: str, most: int | None = MOST_VERSIONS) -> Figure:
    """Draw a panel a dtype, a row a case it has, a column a version and one for the best baseline, each cell its SOL %.

    `shares` has one row a provider, case and dtype: provider, case, dtype, is_version and sol_pct. The fastest version
    of a case is framed where the best baseline is faster. Of more than `most` versions those are shown that are the
    fastest somewhere, and the last.
    """
    dtypes = list(dict.fromkeys(shares["dtype"]))
    versions = _shown(shares, most)
    baselines = shares[~shares["is_version"].astype(bool)]
    best = baselines.groupby(["dtype", "case"])["sol_pct"].max()
    places = shares.set_index(["dtype", "provider", "case"])["sol_pct"].astype(float)
    a_row = max(1, min(len(dtypes), 12 // (len(versions) + 1)))
    rows = [dtypes[first : first + a_row] for first in range(0, len(dtypes), a_row)]
    cases_of = [list(dict.fromkeys(shares.loc[shares["dtype"].isin(row), "case"])) for row in rows]
    heights = [0.85 + ROW_IN * len(cases) for cases in cases_of]
    spec = page(title, _with_names(footnote, baselines), height_in=0.75 + sum(heights))
    grid = spec.add_gridspec(len(rows), a_row, height_ratios=[len(cases) for cases in cases_of])
    for place, dtype in enumerate(dtypes):
        cases = cases_of[place // a_row]
        axes = spec.add_subplot(grid[place // a_row, place % a_row])
        columns = [[float(places.get((dtype, version, case), math.nan)) for case in cases] for version in versions]
        beside = [float(best.get((dtype, case), math.nan)) for case in cases]
        for across, column in enumerate([*columns, beside]):
            for down, share in enumerate(column):
                ahead = max((c[down] for c in columns if not math.isnan(c[down])), default=math.nan)
                _draw_cell(axes, across, down, share, behind=across < len(columns) and share == ahead < beside[down])
        axes.set_xlim(-0.5, len(columns) + 0.5)
        axes.set_xticks(
            range(len(columns) + 1), [*map(short_name, versions), BEST], rotation=30, ha="left", rotation_mode="anchor"
        )
        axes.tick_params(axis="x", length=0, labeltop=True, labelbottom=False, pad=2)
        for side in axes.spines.values():
            side.set_visible(False)
        name_rows(axes, cases)
        axes.set_title(dtype, fontsize=FONT_PT, color=INK, fontweight="bold", loc="left")
        if place % a_row:
            axes.tick_params(axis="y", labelleft=False)
    return spec


def _shown(shares: pd.DataFrame, most: int | None) -> list[str]:
    """Return the versions, or of many the last and those that are the fastest most often."""
    own = shares[shares["is_version"].astype(bool)]
    versions = list(dict.fromkeys(map(str, own["provider"])))
    if most is None or len(versions) <= most:
        return versions
    fastest = own.sort_values("sol_pct", ascending=False).drop_duplicates(["case", "dtype"])["provider"]
    kept = {versions[-1], *fastest.value_counts().index[: most - 1]}
    return [version for version in versions if version in kept]


def _draw_cell(axes: Axes, across: int, down: int, share: float, *, behind: bool) -> None:
    if math.isnan(share):
        axes.text(across, down, "-", ha="center", va="center", color=GREY, fontsize=SMALL_PT)
        return
    number = next(place for place, (limit, _) in enumerate(SHADES) if share < limit)
    frame: dict[str, Any] = {"edgecolor": OTHER, "linewidth": 2} if behind else {"edgecolor": "none"}
    axes.bar(across, 0.9, 0.94, down - 0.45, color=SHADES[number][1], **frame)
    axes.text(
        across,
        down,
        f"{share:.0f}",
        ha="center",
        va="center",
        fontsize=SMALL_PT,
        color=ON_DARK if number >= 3 else ON_PALE,
        gid="cell",
    )


def _with_names(footnote: str, baselines: pd.DataFrame) -> str:
    names = ", ".join(dict.fromkeys(map(str, baselines["provider"])))
    about = (
        f"SOL % in each case; the fastest version is framed where the best baseline ({names}) is faster. "
        if names
        else "SOL %. "
    )
    return about + footnote
