"""A sparkline: times over runs as a line of a word's size. Takes numbers, returns SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rooflift.report.cells import duration

WIDTH, HEIGHT, EDGE = 72, 22, 3
MOST = 60  # points; of more runs the last ones


def sparkline(times_us: Sequence[float], dates: Sequence[str]) -> str:
    """Return times, two at least, oldest first, as an inline SVG: lower is faster, the last one is dotted.

    The height is the time from 0.9 of the least to 1.1 of the most, so that noise stays small.

    >>> sparkline([20.0, 10.0], ["2026-11-22", "2026-11-26"])[:46]
    '<svg class="spark" role="img" viewBox="0 0 72 '
    """
    shown = list(times_us[-MOST:])
    low, high = 0.9 * min(shown), 1.1 * max(shown)
    step = (WIDTH - 2 * EDGE) / (len(shown) - 1)
    points = [
        (EDGE + step * place, EDGE + (HEIGHT - 2 * EDGE) * (high - time_us) / (high - low))
        for place, time_us in enumerate(shown)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    span = f"{duration(shown[0])} to {duration(shown[-1])}"
    name = escape(f"{span} in {len(shown)} runs from {dates[-len(shown)][:10]} to {dates[-1][:10]}", quote=True)
    return (
        f'<svg class="spark" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'aria-label="{name}">'
        f'<title>{name}</title><polyline points="{line}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/></svg>'
    )
