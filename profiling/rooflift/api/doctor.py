"""What this machine can measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.api.shown import html_table, texts
from rooflift.measure.doctor import Finding, examine

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Examination:
    """What a machine can measure: GPU, driver, ncu, permissions, packages, sandbox, disk."""

    findings: Sequence[Finding]

    @property
    def ready(self) -> bool:
        """Whether nothing hinders a measurement."""
        return not any(finding.status == "problem" for finding in self.findings)

    def table(self) -> pd.DataFrame:
        """Return one row a finding: name, status (ok, problem, note), detail, remedy."""
        import pandas as pd

        return pd.DataFrame(self.record())

    def record(self) -> list[dict[str, str]]:
        """Return the findings for a program."""
        return [{name: getattr(finding, name) for name in finding.__struct_fields__} for finding in self.findings]

    def __repr__(self) -> str:
        problems = [finding.name for finding in self.findings if finding.status == "problem"]
        return f"<Examination: {'problems with ' + ', '.join(problems) if problems else 'ready'}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def doctor(*, root: Path | str | None = None) -> Examination:
    """Look at what this machine can measure. Never raises for what it finds; each problem has its remedy.

    >>> import rooflift as rl
    >>> sorted(set(rl.doctor().table()["status"]) - {"ok", "problem", "note"})
    []

    Raises:
        Nothing: what is missing is a finding.
    """
    return Examination(tuple(examine(Path(root or Path.cwd()))))
