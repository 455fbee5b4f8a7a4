"""Write the README's picture and table between their marks from the newest run of depthwise_conv2d.

`python scripts/readme.py` rewrites README.md; with --check it only says whether that would change it (exit code 1).
"""

from __future__ import annotations

import sys
from pathlib import Path

from rooflift.errors import RunFault
from rooflift.report import columns, tables
from rooflift.report.cells import markdown
from rooflift.report.data import report_data
from rooflift.report.text import headline, suite_line
from rooflift.runs import find

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = "depthwise_conv2d"
BEGIN, END = "<!-- newest run: begin -->", "<!-- newest run: end -->"


def block() -> str:
    """Return what stands between the marks."""
    run = find.newest_run(ROOT / "reports", OPERATOR, gpu="H100", with_metrics=True)
    story = report_data(run.manifest, run.metrics, run.timings, run.compiled)
    folder = run.folder.relative_to(ROOT).as_posix()
    return "\n\n".join(
        [
            f"![Roofline trail of {OPERATOR}]({folder}/roofline.png)",
            markdown(columns.table("summary", story.main)),
            f"{headline(story)} {story.provenance} The whole report: [{run.folder.name}]({folder}/report.md).",
            *suite_block(ROOT / "reports"),
        ]
    )


def suite_block(reports: Path) -> list[str]:
    """Return the suite of the newest run on an H100 that timed one; nothing before there is such a run."""
    try:
        run = find.newest_run(reports, OPERATOR, suite=True, gpu="H100")
    except RunFault:
        return []
    story = report_data(run.manifest, run.metrics, run.timings, run.compiled)
    folder = f"reports/{OPERATOR}/{run.folder.name}"
    return [
        "The suite in SOL %, the share of the copy floor (a device copy of the case's bytes, in the same process):",
        markdown(tables.suite_table(story.suite)),
        f"{suite_line(story)} {story.provenance} [All times]({folder}/report.md).",
    ]


def main() -> int:
    """Rewrite or check README.md."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{block()}\n{END}{after}"
    if "--check" in sys.argv:
        print("README.md is up to date" if new == text else "README.md is not what the newest run gives: `make readme`")
        return int(new != text)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
