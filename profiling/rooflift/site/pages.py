"""The pages of a site: their paths, what each is made of, and how. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift import rerender
from rooflift.errors import RunFault
from rooflift.escape import environment, printable
from rooflift.project.gpus import spec_for_name
from rooflift.project.settings import kernels_folder, reports_folder
from rooflift.report.cells import MISSING, duration, number
from rooflift.report.hotspots import source_html
from rooflift.report.html import is_drawing, templates
from rooflift.runs.roofs import newest_roofs
from rooflift.runs.run import read_run
from rooflift.site import tables
from rooflift.site.facts import Facts
from rooflift.site.gather import Project, Series, place
from rooflift.site.spark import sparkline
from rooflift.site.tables import href, operator_href, run_href

if TYPE_CHECKING:
    import jinja2

LATEST = 10  # runs on the first page
POLICY = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; script-src 'self'"


@dataclass(frozen=True, slots=True)
class Page:
    """A file of the site: its path, how it is made, and a key of what it is made of.

    Without a key it is made each time, and written where it differs.
    """

    path: str
    make: Callable[[], str | bytes]
    key: str = ""


class Pages:
    """The pages of a project."""

    def __init__(self, project: Project, title: str, repository: str, stamps: Mapping[str, str]) -> None:
        self._project = project
        self._title = title
        self._repository = repository.rstrip("/")
        self._stamps = stamps  # of the runs, by place
        self._templates = _templates()
        self._whole = project.newest_of()  # runs that have the page of their report here
        self._reports = reports_folder(project.root)
        self._kernels = kernels_folder(project.root)
        self._versions = {
            f"{ladder.label}/{version.name}"
            for ladder in project.ladders
            if ladder.found is not None
            for version in ladder.found.versions
        }

    def __iter__(self) -> Iterator[Page]:
        project = self._project
        yield Page("site.css", lambda: _text("rooflift.report", "page.css") + _text("rooflift.site", "site.css"))
        yield Page("site.js", lambda: _text("rooflift.report", "page.js") + _text("rooflift.site", "site.js"))
        yield Page("search.js", lambda: f"var ENTRIES = {json.dumps(list(self._entries()), ensure_ascii=True)};\n")
        yield Page("index.html", self._index)
        yield Page("runs/index.html", self._runs)
        yield Page("comparisons.html", self._comparisons)
        yield Page("gpus.html", self._gpus)
        for name in project.operators:
            yield Page(f"operators/{name}.html", partial(self._operator, name))
        for path in self._sources():
            yield self._source(path)
        for run in project.runs:
            yield from self._of_run(run)

    def _render(self, template: str, path: str, heading: str, **context: Any) -> str:
        up = "../" * path.count("/")
        return self._templates.get_template(template).render(
            up=up, heading=heading, title=self._title, policy=POLICY, repository=self._repository, **context
        )

    # --- pages of the whole project

    def _index(self) -> str:
        project = self._project
        measured = {one.label for one in project.main}
        known = {ladder.label for ladder in project.ladders}
        return self._render(
            "index.html.j2",
            "index.html",
            self._title,
            rows=[self._best(one, "") for one in project.main],
            unmeasured=[(label, operator_href(label)) for label in sorted(known - measured)],
            slower=project.slower,
            slower_table=tables.compared_table(project.slower, ""),
            latest=tables.runs_table(project.runs[:LATEST], ""),
            counts={
                "operators": len(project.operators),
                "ladders": len(known),
                "runs": len(project.runs),
                "GPUs": len({run.gpu for run in project.runs if run.gpu}),
            },
        )

    def _best(self, one: Series, up: str) -> dict[str, Any]:
        """Return a row of the table of what is fastest: texts, links and keys to sort by."""
        best, standing = one.best, self._project.standing(one)
        known = f"{one.label}/{best['version']}" in self._versions
        return {
            "label": one.label,
            "operator": up + operator_href(one.label),
            "case": f"{one.case} {one.dtype}",
            "gpu": one.gpu.removeprefix("NVIDIA "),
            "version": best["version"],
            "source": up + tables.source_href(one.label, best["version"]) if known else "",
            "time": duration(best["time_us"]),
            "time_us": best["time_us"],
            "sol": MISSING if standing.sol_pct is None else number(standing.sol_pct, 1),
            "sol_pct": standing.sol_pct or "",
            "baseline": f"{standing.baseline}, {number(standing.lead, 2)}x" if standing.lead else MISSING,
            "lead": standing.lead or "",
            "spark": sparkline([step["time_us"] for step in one.steps], [step["created"] for step in one.steps])
            if one.steps[1:]
            else "",
            "runs": len(one.steps),
            "link": up + run_href(place(best)),
            "verdict": one.verdict,
            "time_x": number(one.time_x, 3),
        }

    def _runs(self) -> str:
        return self._render(
            "runs.html.j2", "runs/index.html", "Runs", table=tables.runs_table(self._project.runs, "../")
        )

    def _comparisons(self) -> str:
        project = self._project
        others = [one for one in project.main if one not in project.slower]
        return self._render(
            "comparisons.html.j2",
            "comparisons.html",
            "Comparisons",
            slower=project.slower,
            slower_table=tables.compared_table(project.slower, ""),
            newest=tables.compared_table(others, ""),
            across=tables.gpus_of_ladders(project, ""),
        )

    def _gpus(self) -> str:
        found = []
        for gpu in dict.fromkeys(run.gpu for run in self._project.runs if run.gpu):
            roofs, spec = newest_roofs(self._reports, gpu), spec_for_name(gpu)
            found.append(
                {
                    "name": gpu,
                    "runs": sum(run.gpu == gpu for run in self._project.runs),
                    "spec": tables.spec_table(spec) if spec else None,
                    "source": spec.source if spec else "",
                    "roofs": tables.roofs_table(roofs) if roofs else None,
                    "measured": f"{roofs.created[:10]}, driver {roofs.machine.driver}" if roofs else "",
                }
            )
        return self._render("gpus.html.j2", "gpus.html", "GPUs and their roofs", gpus=found)

    def _entries(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield what the search finds: kind, title, address, more words."""
        project = self._project
        for name in project.operators:
            yield "operator", printable(name), href("operators", f"{name}.html"), ""
        for ladder in project.ladders:
            for version in ladder.found.versions if ladder.found else ():
                link = tables.source_href(ladder.label, version.name)
                header = version.header
                yield "version", f"{ladder.label} {version.name}", link, printable(f"{header.title} {header.stage}")
        for run in project.runs:
            words = f"{run.gpu} {run.created[:10]} {run.commit[:12]} {'suite' * run.suite}"
            yield "run", printable(f"{run.ladder} {run.run}"), run_href(run.place), printable(words)
        for gpu in dict.fromkeys(run.gpu for run in project.runs if run.gpu):
            yield "GPU", printable(gpu), f"gpus.html#{href(gpu)}", "roofs"

    # --- pages of one thing

    def _operator(self, name: str) -> str:
        project, up = self._project, "../"
        ladders = []
        for ladder in project.ladders:
            if ladder.label.partition("/")[0] != name:
                continue
            own = [one for one in project.main if one.label == ladder.label]
            table = tables.versions_of_ladder(ladder, own, up) if ladder.found else None
            ladders.append({"label": ladder.label, "table": table, "error": ladder.error, "measured": bool(own)})
        folder = self._kernels / name
        others = [path for path in self._sources() if path.parent == folder and not path.name.startswith("v")]
        return self._render(
            "operator.html.j2",
            f"operators/{name}.html",
            name,
            ladders=ladders,
            rows=[self._best(one, up) for one in project.series if one.label.partition("/")[0] == name],
            runs=tables.runs_table([run for run in project.runs if run.operator == name], up),
            files=[(path.name, up + self._source_path(path)) for path in others],
        )

    def _sources(self) -> Sequence[Path]:
        folders = {ladder.label.partition("/")[0] for ladder in self._project.ladders}
        return sorted(path for name in folders for path in (self._kernels / name).rglob("*.py"))

    def _source_path(self, path: Path) -> str:
        return f"sources/{path.relative_to(self._kernels).as_posix()}.html"

    def _source(self, path: Path) -> Page:
        place, data = self._source_path(path), path.read_bytes()
        below = path.relative_to(self._project.root).as_posix()

        def make() -> str:
            shown = source_html(data.decode(errors="replace"), path.name, "line")
            operator = path.relative_to(self._kernels).parts[0]
            back = "../" * place.count("/") + operator_href(operator)
            return self._render("source.html.j2", place, below, source=shown, operator=operator, back=back)

        return Page(place, make, hashlib.sha256(data + self._repository.encode()).hexdigest())

    def _of_run(self, run: Facts) -> Iterator[Page]:
        folder, path = self._reports / run.place, f"runs/{run.place}/index.html"
        whole, stamp = run.place in self._whole, self._stamps[run.place]
        known = {version for version in self._versions if version.rpartition("/")[0] == run.ladder}
        key = hashlib.sha256(f"{stamp} {whole} {sorted(known)} {self._repository}".encode()).hexdigest()
        up = "../" * path.count("/")

        def page() -> str:
            table = tables.versions_of_run(run, known, up) if run.versions else None
            below = folder.relative_to(self._project.root).as_posix()
            back = up + operator_href(run.ladder)
            heading, about = f"{run.ladder}: {run.run}", {"whole": whole, "below": below, "back": back}
            return self._render("run.html.j2", path, heading, run=run, table=table, **about)

        def report() -> str:
            try:
                return rerender.page_of(read_run(folder, self._project.root))
            except RunFault as fault:
                told = fault.message.replace(f"{self._project.root}/", "")
                return self._render("message.html.j2", f"runs/{run.place}/report.html", run.run, text=told)

        yield Page(path, page, key)
        for name in run.pictures:
            yield Page(f"runs/{run.place}/{name}.svg", partial(_picture, folder / f"{name}.svg"), key)
        if whole:
            yield Page(f"runs/{run.place}/report.html", report, key)


def _picture(path: Path) -> str:
    svg = path.read_text(encoding="utf-8", errors="replace")
    return svg if is_drawing(svg) else '<svg xmlns="http://www.w3.org/2000/svg"/>'


def _text(package: str, name: str) -> str:
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


def _templates() -> jinja2.Environment:
    """Return the site's templates, which use those of a report's page."""
    import jinja2

    found, own = templates(), environment("rooflift.site", html=True)
    assert found.loader is not None
    assert own.loader is not None
    found.loader = jinja2.ChoiceLoader([own.loader, found.loader])
    return found
