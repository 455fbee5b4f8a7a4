"""How objects show themselves in a notebook: a table with a caption, a picture. Everything is escaped."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from rooflift.escape import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def html_table(frame: pd.DataFrame, caption: str) -> str:
    """Return a frame as HTML under a caption; numbers have four significant digits, a dash stands for no value."""
    body: str = frame.map(_cell).to_html(index=False, border=0)
    return f"<p>{html.escape(plain(caption))}</p>\n{body}"


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN alone differs from itself
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else plain(str(value))


class Picture:
    """Something with a figure: a notebook shows that."""

    def figure(self) -> Figure:
        """Return the matplotlib Figure."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        from rooflift.report.figures.style import png

        return png(self.figure())
