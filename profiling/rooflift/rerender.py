"""A recorded run rendered again: its report, its page, its bundle, what the compiler makes of it. Needs no GPU."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rooflift.analysis.compare import Side
from rooflift.analysis.hotspots import lines_by_version
from rooflift.errors import CatalogError, EnvironmentFault, RunFault
from rooflift.measure.compiled import compile_tables
from rooflift.measure.request import Request
from rooflift.ncu import metrics as registry
from rooflift.ncu.report import read_reports
from rooflift.ncu.stored import source_texts, stored_instructions
from rooflift.pipeline import Rendered, of_measured, target_of, timeline_or_note
from rooflift.project.operator import load_operator
from rooflift.report.data import ReportData, report_data
from rooflift.report.html import page_html, write_page
from rooflift.report.markdown import write_report
from rooflift.report.pictures import PICTURES, draw
from rooflift.report.versions import Code
from rooflift.runs import atomic
from rooflift.runs import run as runs
from rooflift.runs.find import ladder_label
from rooflift.runs.roofs import roofs_of
from rooflift.runs.verify import sha256

if TYPE_CHECKING:
    import pandas as pd


def rerender(run: runs.Run, out: Path, base: Side | None = None, *, page: bool = False, png: bool = False) -> Rendered:
    """Read a run's reports again and redraw everything into `out`; nothing of the run itself is touched.

    Its last version is compared with `base`, by default with the version before it. With `page` there is a
    report.html, too, and with `png` each figure as PNG beside its SVG. A run whose report was not kept is rendered
    from its metrics.csv.

    Raises:
        RunFault: the reports and metrics.csv disagree, or `out` cannot be written.
    """
    metrics = run.metrics
    if run.reports and not (run.manifest.origin and run.manifest.origin.repeats):  # their launches are named anew there
        metrics = of_measured(read_reports(run.reports, run.folder), run.manifest)
        difference = disagreement(metrics, run.metrics)
        if difference:
            remedy = "One of the two was altered: restore them from version control."
            raise RunFault(f"{run.folder}: its reports and metrics.csv disagree: {difference}", remedy)
    data = report_data(run.manifest, metrics, run.timings, run.compiled, run.samples, base, measured=roofs_of(run))
    data, code = _with_code(run, data)
    if run.reports and run.manifest.metric_set in registry.SAMPLED_SETS:
        data = replace(data, timeline=timeline_or_note(run.reports)[0])
    with atomic.refreshing(out) as folder:
        files = [*draw(data, folder, png=png), write_report(data, folder)]
        files += [write_page(data, folder, code)] if page else []
        written = [out / path.relative_to(folder) for path in files]
    for name in PICTURES:  # of a run that was rendered here before
        if out / f"{name}.svg" not in written:
            (out / f"{name}.svg").unlink(missing_ok=True)
    return Rendered(run.folder, data, written)


def page_of(run: runs.Run) -> str:
    """Return report.html of a run by its tables, with the figures that lie in its folder; its reports stay closed.

    Raises:
        RunFault: a table of the run cannot be read.
    """
    data = report_data(run.manifest, run.metrics, run.timings, run.compiled, run.samples, measured=roofs_of(run))
    data, code = _with_code(run, data)
    return page_html(data, run.folder, code)


def _with_code(run: runs.Run, data: ReportData) -> tuple[ReportData, Code]:
    """Return the data with the source lines of a run that sampled them, and the files that were measured."""
    source, texts = stored_instructions(run), source_texts(run)
    if source is not None:
        data = replace(data, lines=lines_by_version(source, texts, data.case.case, data.case.dtype))
    return data, Code(texts, source)


def bundle(run: runs.Run, out: Path, told: Sequence[Path]) -> Path:
    """Write one zip of what was told, files in `out`, and of the run's data and .ncu-rep files; return its path.

    Whatever else lies in `out` stays out of it. The same files give the same bytes.
    """
    files = {path.relative_to(out): path for path in told}
    kept = ("run.json", "metrics.csv", "timings.csv", "compiled.csv", "samples.parquet", runs.SOURCE_TABLE)
    data = [path for path in (*(run.folder / name for name in kept), *run.reports) if path.exists()]
    files |= {path.relative_to(run.folder): path for path in data}
    target = out / f"{run.folder.name}.zip"
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            about = zipfile.ZipInfo(f"{run.folder.name}/{name.as_posix()}")
            archive.writestr(about, files[name].read_bytes(), zipfile.ZIP_DEFLATED)
    atomic.write_file(target, whole.getvalue())
    return target


def compiled_kernels(run: runs.Run) -> pd.DataFrame | None:
    """Return compiled.csv, or of a run without one what the compiler makes here of the same files for the run's GPU.

    None when a file has changed since, is gone or belongs to no project, or triton is not installed.
    """
    if not run.compiled.empty:
        return run.compiled
    manifest, root = run.manifest, run.root
    if root is None:
        return None
    try:
        operator = load_operator(root, ladder_label(manifest))
    except CatalogError:
        return None
    versions = [v for v in operator.versions if v.name in {record.version for record in manifest.versions}]
    files = [operator.reference, *(version.path for version in versions)]
    same = {operator.file_name(path): sha256(path) for path in files}
    if len(versions) != len(manifest.versions) or not same.items() <= manifest.sha256.items():
        return None
    cases = [case for case in operator.select_cases([], "bench") if case.name in {c.case for c in manifest.cases}]
    request = Request(root, operator, versions, cases, [], "none", 600, [], suite=True)  # all that ncu would profile
    try:
        return compile_tables(request, [target_of(manifest)], lambda _: None)
    except EnvironmentFault:
        return None


def disagreement(read: pd.DataFrame, stored: pd.DataFrame) -> str:
    """Return the first difference between two metric frames in words, "" when there is none.

    Rows of metrics that only one of the two registries knows do not count, nor do kernel names, which older tables
    hold without their template arguments.
    """
    key = ["version", "case", "dtype", "launch", "metric"]
    both = read.merge(stored, on=key, how="inner", suffixes=("_report", "_table"))
    shared = set(read["metric"]) & set(stored["metric"])
    expected = max(frame["metric"].isin(shared).sum() for frame in (read, stored))
    if len(both) != expected:
        return f"{len(both)} of {expected} rows are in both"
    same = both["value_report"].eq(both["value_table"]) | (both["value_report"].isna() & both["value_table"].isna())
    if same.all():
        return ""
    row = both[~same].iloc[0]
    return (
        f"{row['version']} {row['metric']} is {row['value_report']} in the report and {row['value_table']} in the table"
    )
