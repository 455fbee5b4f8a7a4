"""Write docs/metrics.md, every figure that rooflift shows, from the metric registry and the columns of the tables.

`python scripts/metrics.py` rewrites the file; with --check it only says whether that would change it (exit code 1).
"""

from __future__ import annotations

import sys
from pathlib import Path

from rooflift.report.columns import glossary

PATH = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
HEAD = """\
# Metrics

What each figure means. `name` is the column of a frame and of JSON, and what a prediction (`Expect: sm_pct > 60`) calls
it; the label stands in tables and figures, and is Nsight Compute's own where the figure is ncu's. A metric has several
ncu names where GPUs or report sections differ; the first that a report holds is taken. `scripts/metrics.py` writes this
page.

| name | label | unit | meaning | ncu |
| --- | --- | --- | --- | --- |
"""


def page() -> str:
    """Return the page."""
    rows = []
    for row in glossary():
        ncu = ", ".join(f"`{name}`" for name in row["ncu"]) or "derived"
        rows.append(f"| `{row['name']}` | {row['label']} | {row['unit']} | {row['meaning']} | {ncu} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    """Rewrite or check docs/metrics.md."""
    if "--check" in sys.argv:
        same = PATH.exists() and PATH.read_text(encoding="utf-8") == page()
        print(
            "docs/metrics.md is up to date" if same else "docs/metrics.md is not what the registry says: `make metrics`"
        )
        return int(not same)
    PATH.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
