"""report.md: what a reviewer reads in a pull request, from the data of a run. Writes one file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rooflift.escape import Markdown, environment
from rooflift.report import columns, hotspots, tables
from rooflift.report.cells import duration, markdown, number
from rooflift.report.data import ReportData
from rooflift.report.opening import opening
from rooflift.report.pictures import PICTURES
from rooflift.report.text import comparison_title, mean_text, method_text, predictions_text, sanitizer_text
from rooflift.report.warnings import warnings
from rooflift.schema import TENSORS, CheckRecord

LONGEST_COMMENT = 65_000  # characters; code hosts take 65 536, and who posts it adds a mark and a link
LEFT_OUT = {  # the longest tables, the first to go first
    "timing_tables": "The times of every provider are left out of this text for its length: timings.csv has them.",
    "case_tables": "The metrics of the other cases are left out for its length: metrics.csv has them.",
    "hot_tables": "Where the time goes is left out for its length: `rooflift hotspots` prints it.",
    "gpu_table": "The states of the GPU are left out for its length: run.json has them.",
    "suite_table": "The table of the suite is left out for its length: timings.csv has the times, suite.svg shows it.",
    "comparison_table": "The table of the comparison is left out for its length: `rooflift compare` prints it.",
    "versions": "What the versions change, and why, is left out for its length: run.json has it.",
    "prediction_table": "The table of the predictions is left out for its length: `rooflift show` prints it.",
}


def write_report(data: ReportData, folder: Path) -> Path:
    """Write report.md, which shows the figures that lie in the folder, and return its path.

    It stays below `LONGEST_COMMENT`: of a run too large for that the longest tables are left out, and it says so.
    """
    template = environment("rooflift.report", markdown=True).get_template("report.md.j2")
    context = _context(data, [path.name for path in folder.glob("*.svg")])
    text = template.render(context)
    for part, told in LEFT_OUT.items():
        if len(text) < LONGEST_COMMENT:
            break
        if context[part]:
            context |= {part: context[part][:0], "left_out": [*context["left_out"], Markdown(told)]}
            text = template.render(context)
    path = folder / "report.md"
    path.write_text(text, encoding="utf-8")
    return path


def _context(data: ReportData, drawn: Sequence[str]) -> dict[str, Any]:
    manifest, case = data.manifest, data.case
    others = [c for c in manifest.cases if c is not case]
    return {
        "manifest": manifest,
        "commands": [shlex.join(words) for words in (manifest.command, manifest.ncu_command) if words],
        "case": case,
        "init": ", ".join(f"{k}={v}" for k, v in case.init.items())
        if isinstance(case.init, dict)
        else f"init {case.init}",
        "opening": opening(data),
        "table": markdown(tables.deciding_table(data)),
        "suite_table": "" if data.suite.empty else markdown(tables.suite_table(data.suite)),
        "suite_picture": "suite.svg" if "suite.svg" in drawn else "",
        "baselines": tables.baselines(data),
        "summary_table": markdown(tables.versions_table(data)),
        "warnings": warnings(manifest, data.summary, data.comparison),
        **_comparison_context(data),
        "left_out": [],
        "versions": manifest.versions,
        "gpu_table": markdown(tables.gpu_table(manifest.gpu_states)) if manifest.gpu_states else "",
        "sampling": manifest.sampling,
        "gigabytes": number(case.bytes_known / 1e9, 3),
        "traffic_source": f", as {case.bytes_source}" if case.bytes_source not in ("", TENSORS) else "",
        "sol_time": duration(data.sol.time_us),
        "sol_source": data.sol.source,
        "pictures": {
            text: f"{name}.svg" for name, text in PICTURES.items() if f"{name}.svg" in drawn and name != "suite"
        },
        "prediction_text": predictions_text(data.judged),
        "prediction_table": "" if data.judged.empty else markdown(columns.table("predictions", data.judged)),
        "bottlenecks": tables.bottlenecks(data.main),
        "hot_tables": [(version, markdown(shown)) for version, shown in hotspots.tables(data.lines)],
        "case_tables": [
            (f"{c.case} {c.dtype}", markdown(columns.table("other case", data.of(c))))
            for c in others
            if data.suite.empty or data.of(c)["sm_pct"].notna().any()  # a suite's other cases have times alone
        ],
        "timing_tables": [(name, markdown(own)) for name, own in tables.timing_tables(data)],
        "samples": sorted({*data.timings["n"].agg(["min", "max"])}),
        "checked_cases": _checked(manifest.checks),
        "sanitizer": sanitizer_text(manifest.sanitizer),
        "worst_error": f"{max((c.error_over_tolerance for c in manifest.checks), default=0):.2f}",
        "compiled_table": "" if data.compiled.empty else markdown(columns.table("compiled", data.compiled)),
        "machine": tables.machine_table(manifest.machine).texts,
    }


def _comparison_context(data: ReportData) -> dict[str, str]:
    found = data.comparison
    if found is None:
        names = ("comparison_table", "comparison_title", "comparison_text", "metric_change_table", "base_name")
        return dict.fromkeys(names, "")
    changes = tables.metric_changes(found, data.case.case, data.case.dtype)
    shown, whole = tables.deciding_table(data), columns.table("comparison", found.cases)
    mean = f" {mean_text(found)}" if len(found.cases) > 1 else ""
    return {
        "comparison_title": comparison_title(found),
        "comparison_table": "" if shown == whole else markdown(whole),
        "comparison_text": method_text(found) + mean,
        "metric_change_table": markdown(changes) if changes.rows else "",
        "base_name": found.base.name,
    }


def _checked(checks: Sequence[CheckRecord]) -> str:
    return ", ".join(dict.fromkeys(f"{check.case} {check.dtype}" for check in checks)) or "none"
