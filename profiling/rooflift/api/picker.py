"""One version of a run in a notebook, and a menu of all while the notebook runs; the menu needs ipywidgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rooflift.api.shown import html_table, texts
from rooflift.report.data import ReportData
from rooflift.report.versions import Code, sections

if TYPE_CHECKING:
    from ipywidgets import Widget


@dataclass(frozen=True)
class Picker:
    """A version as pages show it: figures, header, predictions. A running notebook has a menu of all beside it.

    What is saved shows the version that was chosen: a menu lives as long as its kernel. Without ipywidgets there is
    none, and the version alone is shown.
    """

    data: ReportData
    chosen: str  # the version that is shown first

    def html(self, version: str) -> str:
        """Return what is shown of a version."""
        import pandas as pd

        (found,) = (one for one in sections(self.data, Code({})) if one.name == version)
        rows = pd.DataFrame([*found.header, *found.figures], columns=["", found.title])
        case = f"case {self.data.case.case}, {self.data.case.dtype}"
        caption = f"{self.data.manifest.operator} {version}, {case}; arrows: against the version before"
        shown = html_table(texts(rows, list(rows)), caption)
        return shown + (html_table(found.predictions, "Predictions") if found.predictions else "")

    def menu(self) -> Widget:
        """Return the widget: a menu of versions above what is shown of the chosen one."""
        from ipywidgets import HTML, Dropdown, VBox

        names = [record.version for record in self.data.manifest.versions]
        menu = Dropdown(options=names, value=self.chosen, description="version")
        shown = HTML(self.html(self.chosen))
        menu.observe(lambda change: shown.set_trait("value", self.html(change["new"])), "value")
        return VBox([menu, shown])

    def __repr__(self) -> str:
        return f"<Picker {self.data.manifest.name}: {self.chosen} of {len(self.data.manifest.versions)} versions>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        still = {"text/plain": repr(self), "text/html": self.html(self.chosen)}
        try:
            live: dict[str, Any] = self.menu()._repr_mimebundle_()
        except ImportError:
            return still
        return live | still
