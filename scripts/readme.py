"""Write the README's pictures and table of operators between its marks, from the newest runs on an H100.

`python scripts/readme.py` rewrites README.md and docs/images/; with --check it only says whether that would change
README.md (exit code 1): the bytes of a picture depend on matplotlib's version.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from rooflift import tuning
from rooflift.errors import RunFault
from rooflift.project.operator import operator_names
from rooflift.report import cells, columns
from rooflift.report.cells import Cell, Column, duration, markdown, number
from rooflift.report.data import ReportData, report_data
from rooflift.report.figures.progress import Level
from rooflift.report.figures.style import save
from rooflift.report.pictures import figures
from rooflift.report.text import headline
from rooflift.report.tune import best_table, verdict
from rooflift.runs import find
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent
SHOWN = "depthwise_conv2d"
PICTURE = "docs/images/progress.svg"
SMALL = {  # the figures of that run that stand beside each other
    "roofline": "where the versions stand under the measured roofs",
    "bottleneck": "how busy each unit is, by version",
    "stalls": "what the warps wait for, by version",
}
ABOUT = (
    "The fastest version of each operator on the case that its ladder is about, measured on an H100; speedup is over "
    "the ladder's first version, the figure beside the best baseline how much faster than it:"
)
COLUMNS = (
    cells.words("operator"),
    cells.words("case"),
    columns.VERSION,
    columns.TIME,
    columns.SOL_PCT,
    columns.SPEEDUP,
    Column("best baseline", lambda row: Cell(row["baseline"] or cells.MISSING), right=False),
    Column("report", lambda row: Cell(row["report"] or "not measured yet"), right=False),
)


def newest(reports: Path, operator: str) -> Run | None:
    """Return the newest run of an operator's ladder on an H100 that counted metrics; None where there is none."""
    try:
        return find.newest_run(reports, operator, gpu="H100", with_metrics=True)
    except RunFault:
        return None


def data_of(run: Run, *, compared: bool = True) -> ReportData:
    """Return what the report of a run shows, with or without how its versions compare."""
    samples = run.samples if compared else None
    return report_data(run.manifest, run.metrics, run.timings, run.compiled, samples, measured=roofs_of(run))


def baseline(reports: Path, operator: str, data: ReportData) -> Level | None:
    """Return the fastest baseline of a run's main case, there or in the newest run of the suite, which times more."""
    found = [data.baseline(data.case)]
    try:
        suite = find.newest_run(reports, operator, suite=True, gpu="H100")
        own = report_data(suite.manifest, suite.metrics, suite.timings, suite.compiled)
        found += [own.baseline(case) for case in suite.manifest.cases if case == data.case]
    except RunFault:
        pass
    return min(filter(None, found), key=lambda level: level.time_us, default=None)


def row_of(reports: Path, operator: str, run: Run | None) -> dict[str, object]:
    """Return a row of the table: the fastest version of an operator on the case that its ladder is about."""
    data = None if run is None else data_of(run, compared=False)
    timed = None if data is None else data.main.dropna(subset=["time_us"])
    if run is None or data is None or timed is None or timed.empty:
        absent = dict.fromkeys(("case", "version", "baseline", "report"), "")
        return {
            "operator": operator,
            "time_us": float("nan"),
            "sol_pct": float("nan"),
            "speedup": float("nan"),
        } | absent
    best = timed.loc[timed["time_us"].idxmin()]
    level = baseline(reports, operator, data)
    beside = f"{level.name} {duration(level.time_us)}, {number(level.time_us / best['time_us'], 2)}x" if level else ""
    case = f"{data.case.case} {data.case.dtype}"
    return dict(best) | {"operator": operator, "case": case, "baseline": beside, "report": run.folder.name}


def table(root: Path) -> str:
    """Return the table of operators and ladders, a link to each report."""
    rows, links = [], {}
    for operator in operator_names(root):
        run = newest(root / "reports", operator)
        rows.append(row_of(root / "reports", operator, run))
        if run is not None:
            links[run.folder.name, operator] = (
                f"[{run.manifest.created[:10]}]({run.folder.relative_to(root).as_posix()}/report.md)"
            )
    text = markdown(cells.table(pd.DataFrame(rows), COLUMNS))
    lines = text.splitlines()
    for place, row in enumerate(rows, 2):
        link = links.get((str(row["report"]), str(row["operator"])))
        if link:
            head, _, _ = lines[place].rstrip(" |").rpartition(" | ")
            lines[place] = f"{head} | {link} |"
    return "\n".join(lines)


def tuned(root: Path) -> list[str]:
    """Return the verdict and the table of the newest tuning on an H100; nothing where there is none."""
    found = [(tuning.read(path.parent), path.parent) for path in root.glob(f"reports/**/tune/*/{tuning.RECORD}")]
    measured = [one for one in found if "H100" in one[0].provenance]
    if not measured:
        return []
    data, folder = max(measured, key=lambda one: one[1].name)
    own = data.of(*data.cases[0])
    about = f"[{data.title}]({folder.relative_to(root).as_posix()}/tune.md), {' '.join(data.cases[0])}"
    return [f"One tuning, {about}. {verdict(own)}", markdown(best_table(own))]


def block() -> str:
    """Return what stands between the marks."""
    run = newest(ROOT / "reports", SHOWN)
    assert run is not None
    data = data_of(run)
    return "\n\n".join(
        [
            f"![How far from the speed of light each version of {SHOWN} is]({PICTURE})",
            f"{headline(data)} {data.provenance}",
            ABOUT,
            table(ROOT),
            *tuned(ROOT),
        ]
    )


def small_pictures() -> str:
    """Return three figures of the shown run in a row."""
    run = newest(ROOT / "reports", SHOWN)
    assert run is not None
    folder = run.folder.relative_to(ROOT).as_posix()
    return "\n".join(
        f'<a href="{folder}/{name}.svg"><img src="{folder}/{name}.svg" width="32%" alt="{text}"></a>'
        for name, text in SMALL.items()
    )


def between(text: str, name: str, new: str) -> str:
    """Return a text with what stands between two marks replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{new}\n{end}{rest.split(end)[1]}"


def draw() -> None:
    """Write the README's picture."""
    run = newest(ROOT / "reports", SHOWN)
    assert run is not None
    (ROOT / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    save(figures(data_of(run))["progress"], (ROOT / PICTURE).with_suffix(""))


def main() -> int:
    """Rewrite or check README.md."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    new = between(between(text, "newest run", block()), "pictures", small_pictures())
    if "--check" in sys.argv:
        print("README.md is up to date" if new == text else "README.md is not what the newest run gives: `make readme`")
        return int(new != text)
    path.write_text(new, encoding="utf-8")
    draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
