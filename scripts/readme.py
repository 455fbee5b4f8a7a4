"""Write the README's table between its marks, and its picture, from the newest run of depthwise_conv2d.

`python scripts/readme.py` rewrites README.md and docs/images/; with --check it only says whether that would change
README.md (exit code 1): the bytes of a picture depend on matplotlib's version.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from rooflift.errors import RunFault
from rooflift.pipeline import rerender
from rooflift.report import columns, tables
from rooflift.report.cells import markdown
from rooflift.report.data import report_data
from rooflift.report.text import headline, suite_line
from rooflift.runs import find
from rooflift.runs.roofs import roofs_of
from rooflift.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent
OPERATOR = "depthwise_conv2d"
PICTURE = "docs/images/roofline.png"
BEGIN, END = "<!-- newest run: begin -->", "<!-- newest run: end -->"


def newest() -> Run:
    """Return the run that the README shows."""
    return find.newest_run(ROOT / "reports", OPERATOR, gpu="H100", with_metrics=True)


def block() -> str:
    """Return what stands between the marks."""
    run = newest()
    story = report_data(run.manifest, run.metrics, run.timings, run.compiled, measured=roofs_of(run))
    folder = run.folder.relative_to(ROOT).as_posix()
    return "\n\n".join(
        [
            f"![Roofline trail of {OPERATOR}]({PICTURE})",
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
    story = report_data(run.manifest, run.metrics, run.timings, run.compiled, measured=roofs_of(run))
    folder = f"reports/{OPERATOR}/{run.folder.name}"
    return [
        "The suite in SOL % (the term that binds is named where it is not memory):",
        markdown(tables.suite_table(story.suite)),
        f"{suite_line(story)} {story.provenance} [All times]({folder}/report.md).",
    ]


def draw(folder: Path) -> None:
    """Write the README's picture as roofline.png into `folder`."""
    with tempfile.TemporaryDirectory() as out:
        rerender(newest(), Path(out), png=True)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(out) / "roofline.png", folder)


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
    draw((ROOT / PICTURE).parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
