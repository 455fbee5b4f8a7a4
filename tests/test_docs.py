"""The documentation as a site: built without a warning, whole, loading nothing from elsewhere, all runs beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rooflift as rl
from rooflift.cli.commands import COMMANDS

pytestmark = pytest.mark.timeout(900)  # whoever comes first builds both sites
ROOT = Path(__file__).parents[1]
ASKED = re.compile(r"""(?:src|href)=["']?(?:https?:)?//[^"'\s>]+\.(?:js|css|woff2?|png|svg)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs")
    command = [
        "make",
        "pages",
        f"PYTHON={sys.executable} -W ignore",
        f"PAGES={out}",
        "REPOSITORY=https://example.com/x",
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return out


@pytest.mark.slow
def test_site_has_every_page_command_name_and_notebook(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert pages >= {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index"}
    assert pages >= {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    commands, names = ((site / "reference" / f"{name}.html").read_text() for name in ("commands", "python"))
    assert all(f'<h2 id="{name}">' in commands and entry.help in commands for name, entry in COMMANDS.items())
    assert all(re.search(rf'id="rooflift\.[\w.]+\.{name}"', names) for name in rl.__all__)


@pytest.mark.slow
def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if path.parent.name != "notebooks"]  # a notebook may load MathJax
    assert [(path.name, found[0]) for path in pages if (found := ASKED.search(path.read_text()))] == []


@pytest.mark.slow
def test_every_page_of_the_documentation_leads_to_all_runs(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if not path.is_relative_to(site / "runs")]
    assert len(pages) > 30
    for page in set(pages) - {site / "404.html"}:  # its links begin at the root
        up = "../" * (len(page.relative_to(site).parts) - 1)
        assert f'href="{up}runs/index.html"' in page.read_text(), page
    runs = (site / "runs" / "index.html").read_text()
    assert all(operator.label in runs for operator in rl.operators())
