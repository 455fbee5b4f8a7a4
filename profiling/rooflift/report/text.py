"""Sentences about a run."""

from __future__ import annotations

from collections.abc import Sequence

from rooflift.schema import SanitizerRecord


def in_words(records: Sequence[SanitizerRecord]) -> str:
    """Return one line for a report: what is clean, and each finding; "" without records."""
    if not records:
        return ""
    tools, versions = (
        list(dict.fromkeys(names)) for names in zip(*((r.tool, r.version) for r in records), strict=True)
    )
    cases, dtypes = ({name for r in records for name in r.cases}, {name for r in records for name in r.dtypes})
    over = f"{len(cases)} test case{'s' * (len(cases) > 1)} in {len(dtypes)} dtype{'s' * (len(dtypes) > 1)}"
    dirty = [f"{r.tool} found {r.errors} in {r.version} ({r.first})" for r in records if r.errors]
    which = versions[0] if len(versions) == 1 else f"{versions[0]} to {versions[-1]} ({len(versions)} versions)"
    said = "; ".join(dirty) if dirty else f"{', '.join(tools)} clean for {which}"
    return f"compute-sanitizer: {said} on {over}."
