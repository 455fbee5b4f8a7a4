"""The site of a project: every link leads somewhere, what is slower is told, and only what changed is written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from rooflift.errors import CatalogError
from rooflift.runs.run import read_run
from rooflift.runs.verify import write_manifest
from rooflift.site.build import site
from rooflift.site.spark import sparkline

Add = Callable[..., Path]
OPERATOR = "depthwise_conv2d"


@pytest.fixture
def project(tmp_path: Path, checkout: Path, add: Add) -> Path:
    """A project with an operator of two versions, and a run of them."""
    folder = tmp_path / "kernels" / OPERATOR
    folder.mkdir()
    for name in ("reference.py", "cases.toml", "v0_baseline.py", "v1_grid.py"):
        shutil.copy(checkout / "kernels" / OPERATOR / name, folder)
    text = (folder / "cases.toml").read_text()
    (folder / "cases.toml").write_text(
        re.sub(r"^\[ladder\..*?(?=^\[(?!ladder))", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    add(1)
    return tmp_path


class Links(HTMLParser):
    """Where a page leads, what it loads, and what can be led to on it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = {""}
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.names.add(found.get("id") or "")
        self.scripts += tag == "script"
        self.links += [found[name] or "" for name in ("href", "src") if name in found]


def read(page: Path) -> Links:
    found = Links()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def pages(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.html")


def test_every_link_of_every_page_leads_to_a_place_on_the_site(project: Path, add: Add, tmp_path: Path) -> None:
    add(2, 0.8)
    out = tmp_path / "site"
    site(out, root=project)
    seen = {page.resolve(): read(page) for page in pages(out)}
    assert len(seen) > 10
    for page, found in seen.items():
        for link in found.links:
            path, name = map(unquote, link.partition("#")[::2])
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), (page.name, link)
            assert not name or name in seen[target].names, (page.name, link)
    for entry in json.loads((out / "search.js").read_text().removeprefix("var ENTRIES = ").rstrip(";\n")):
        assert (out / unquote(entry[2].partition("#")[0])).is_file()


def test_a_site_shows_operators_versions_runs_and_gpus(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    site(out, root=project)
    index = (out / "index.html").read_text()
    for part in ("v1_grid", "1.011 ms", "NVIDIA H100 80GB HBM3"):
        assert part in index
    assert "spark" not in index  # one run is no trend
    operator = (out / "operators" / f"{OPERATOR}.html").read_text()
    assert "2.015 ms" in operator  # of v0
    assert "a 3-D grid over" in operator
    run = (out / "runs" / OPERATOR / "day-1" / "index.html").read_text()
    assert "0.502x" in run
    assert '<a class="go" href="report.html">' in run
    assert 'id="version-1"' in (out / "runs" / OPERATOR / "day-1" / "report.html").read_text()
    assert "3.35 TB/s" in (out / "gpus.html").read_text()
    assert 'id="line-v1_grid.py-1"' in (out / "sources" / OPERATOR / "v1_grid.py.html").read_text()


def test_a_site_without_a_run_says_how_to_get_one_and_shows_no_empty_table(project: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "reports")
    out = tmp_path / "site"
    site(out, root=project)
    for page in ("index.html", "runs/index.html"):
        text = (out / page).read_text()
        assert "No run yet: <code>rooflift profile OPERATOR</code>" in text
        assert "<table" not in text
    assert f'Not measured yet: <a href="operators/{OPERATOR}.html">' in (out / "index.html").read_text()


def test_what_the_newest_run_shows_slower_is_flagged_by_the_verdict_of_compare(
    project: Path, add: Add, tmp_path: Path
) -> None:
    add(2, 1.2)
    out = tmp_path / "site"
    built = site(out, root=project)
    told = f"{OPERATOR} main float32 on NVIDIA H100 80GB HBM3: v1_grid takes 1.200x of v1_grid before"
    assert built.parts()[0] == told
    assert "1 slower than the best before" in (out / "index.html").read_text()
    assert '<strong class="slower">slower, 1.200x</strong>' in (out / "index.html").read_text()
    (slower,) = built.record()["slower"]
    assert slower["time_x"] == pytest.approx(1.2)  # of the scale; CSV keeps all digits


def test_only_what_changed_is_written_again(project: Path, add: Add, tmp_path: Path) -> None:
    out = tmp_path / "site"
    first = site(out, root=project)
    assert len(first.written) == first.files == sum(path.is_file() for path in out.rglob("*"))
    assert site(out, root=project).written == []
    add(2, 0.9)
    second = site(out, root=project)
    assert f"runs/{OPERATOR}/day-2/index.html" in second.written
    assert f"runs/{OPERATOR}/day-1/progress.svg" not in second.written
    assert not any(path.startswith("sources/") for path in second.written)
    assert f"runs/{OPERATOR}/day-1/report.html" in second.removed  # the newest run alone has one
    (out / "index.html").write_text('<meta name="generator" content="rooflift">')
    assert site(out, root=project).written == ["index.html"]
    shutil.rmtree(project / "reports" / OPERATOR / "day-2")
    third = site(out, root=project)
    assert f"runs/{OPERATOR}/day-2/index.html" in third.removed
    assert not (out / "runs" / OPERATOR / "day-2" / "index.html").exists()


def test_a_changed_file_of_a_version_is_a_changed_page(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    site(out, root=project)
    path = project / "kernels" / OPERATOR / "v1_grid.py"
    path.write_text(path.read_text() + "# the end\n")
    assert site(out, root=project).written == [f"sources/{OPERATOR}/v1_grid.py.html"]


EVIL = '"><script>alert(1)</script>'


def test_untrusted_texts_are_escaped_on_every_page(project: Path, add: Add, tmp_path: Path) -> None:
    folder = add(3)
    manifest = read_run(folder).manifest
    versions = [msgspec.structs.replace(one, title=EVIL) for one in manifest.versions]
    machine = msgspec.structs.replace(manifest.machine, gpu=EVIL, torch=EVIL)
    write_manifest(folder, msgspec.structs.replace(manifest, versions=versions, machine=machine, notes=[EVIL]))
    (folder / "progress.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    renamed = folder.rename(folder.with_name('<b> "x" %41#?'))
    out = tmp_path / "site"
    site(out, root=project)
    assert (out / "runs" / OPERATOR / renamed.name / "index.html").is_file()
    for page in pages(out):
        scripts = {"report.html": 1}.get(page.name, 2)  # the page's own
        assert read(page).scripts == scripts, page
    assert "<script" not in (out / "runs" / OPERATOR / renamed.name / "progress.svg").read_text()
    test_every_link_of_every_page_leads_to_a_place_on_the_site(project, lambda *_: None, tmp_path)


def test_what_cannot_be_read_is_listed_with_the_reason_and_no_path_of_the_machine(
    project: Path, add: Add, tmp_path: Path
) -> None:
    (add(2) / "timings.csv").write_text("nothing\n")
    (project / "kernels" / OPERATOR / "v1_grid.py").write_text("def broken(:\n")
    out = tmp_path / "site"
    site(out, root=project)
    runs = (out / "runs" / "index.html").read_text()
    assert "cannot be read: timings.csv: its columns are nothing" in runs
    assert "kernels/depthwise_conv2d/v1_grid.py:1: invalid syntax" in (out / f"operators/{OPERATOR}.html").read_text()
    for page in pages(out):
        assert str(project) not in page.read_text(), page


def test_commits_and_files_lead_to_the_code_host_where_one_is_named(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    site(out, root=project, repository="https://host/owner/name/")
    run = (out / "runs" / OPERATOR / "day-1" / "index.html").read_text()
    assert f'href="https://host/owner/name/tree/HEAD/reports/{OPERATOR}/day-1"' in run
    assert 'href="https://host/owner/name/commit/' in run


@pytest.mark.parametrize("repository", ["javascript:alert(1)", "host/owner"])
def test_what_is_no_address_of_a_repository_is_refused(project: Path, tmp_path: Path, repository: str) -> None:
    with pytest.raises(CatalogError, match="is no address"):
        site(tmp_path / "site", root=project, repository=repository)


def test_a_folder_that_holds_something_else_is_refused_and_stays_as_it_is(project: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    page = tmp_path / "other" / "index.html"
    page.write_text("mine")
    for out in (tmp_path / "other", project, project / "reports" / OPERATOR / "day-1"):
        with pytest.raises(CatalogError, match=r"no folder for a site|is not rooflift's"):
            site(out, root=project)
    assert page.read_text() == "mine"


def test_a_damaged_state_builds_everything_again(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    files = site(out, root=project).files
    (state,) = (project / "build" / "site").glob("*.json")
    state.write_text("{")
    shutil.rmtree(out)
    assert len(site(out, root=project).written) == files


def test_the_command_says_what_it_wrote(project: Path, tmp_path: Path, rooflift: Any) -> None:
    said = rooflift("site", tmp_path / "site", "--root", project, "--json")
    assert said.code == 0
    assert len(json.loads(said.out)["written"]) == json.loads(said.out)["files"]
    assert rooflift("site", project, "--root", project).code == 2


def test_a_sparkline_is_lower_where_it_is_faster_and_says_what_it_shows() -> None:
    svg = sparkline([20.0, 10.0], ["2026-11-22T00:00:00Z", "2026-11-26T00:00:00Z"])
    assert "<title>20.0 µs to 10.0 µs in 2 runs from 2026-11-22 to 2026-11-26</title>" in svg
    heights = [float(point.split(",")[1]) for point in svg.split('points="')[1].split('"')[0].split()]
    assert heights[1] > heights[0]  # SVG counts down
