"""Several runs: as a table, and their files held against the seals. Reads manifests, measures nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from rooflift.api.history import History
from rooflift.api.ladders import Ladders
from rooflift.api.run import Run
from rooflift.api.shown import Part, Titled, html_table, short, texts
from rooflift.errors import CatalogError, RunFault, did_you_mean
from rooflift.project.settings import reports_folder
from rooflift.report.cells import table_of, words
from rooflift.runs.compress import Compressed, compress_reports
from rooflift.runs.index import times
from rooflift.runs.verify import Verified, verify

if TYPE_CHECKING:
    import pandas as pd

SOFTWARE = ("driver", "cuda", "ncu", "torch", "triton", "python")


class Runs(Sequence[Run]):
    """Runs, oldest first. `table()` has one row a run, also for those that cannot be read."""

    def __init__(
        self, found: Sequence[Run], unreadable: Sequence[tuple[Path, RunFault]] = (), root: Path | None = None
    ) -> None:
        self._found = tuple(found)
        self.unreadable = tuple(unreadable)  # folders, each with the reason
        self.root = root  # of the project

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: int | slice) -> Run | Runs:
        return Runs(self._found[place], root=self.root) if isinstance(place, slice) else self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._found)

    def table(self) -> pd.DataFrame:
        """Return one row a run: run, operator, gpu, created, versions, metrics, suite, origin, commit, error.

        `versions` is their number; `error` says why a run cannot be read, "" for all others.
        """
        import pandas as pd

        columns = ["run", "operator", "gpu", "created", "versions", "metrics", "suite", "origin", "commit", "error"]
        rows = [
            row
            | {
                "versions": len(row["versions"]) if "versions" in row else None,
                "origin": row.get("origin") or "measured",
                "commit": (row.get("commit") or "")[:7] + " changed" * row.get("dirty", False),
                "error": row.get("error", ""),
            }
            for row in self.record()
        ]
        return pd.DataFrame(rows, columns=columns)

    def record(self) -> list[dict[str, Any]]:
        """Return the runs for a program: a dict each, of one that cannot be read run, folder, operator and error."""
        bad = [
            {"run": folder.name, "folder": folder.parent.name, "operator": folder.parent.name, "error": fault.message}
            for folder, fault in self.unreadable
        ]
        return [*bad, *map(_row, self)]

    def parts(self) -> list[Part]:
        """Return what a terminal shows: the runs of each operator, and why some cannot be read."""
        of_operator: dict[str, list[dict[str, str]]] = {}
        for row in self.record():
            readable = "error" not in row
            shown = {
                "run": row["run"],
                "GPU": row["gpu"] if readable else "cannot be read",
                "versions": _span(row["versions"]) if readable else "",
                "holds": _holds(row) if readable else "",
            }
            of_operator.setdefault(row["operator"], []).append(shown)
        if not of_operator:
            return ["No run yet: `rooflift profile OPERATOR` makes one, on a machine with a GPU."]
        count = len(self) + len(self.unreadable)
        below = f"Runs below {short(reports_folder(self.root))}: {count}, oldest first" if self.root else "Runs"
        columns = [words(name) for name in ("run", "GPU", "versions", "holds")]
        tables = [Titled(name, table_of(rows, columns)) for name, rows in sorted(of_operator.items())]
        broken = [f"{folder.name} cannot be read: {fault.message}" for folder, fault in self.unreadable]
        return [below, *tables, *broken]

    def verify(self) -> Sealed:
        """Hold every file of these runs against its recorded sha256: what is wrong with each, and what is unknown.

        >>> import rooflift as rl
        >>> rl.runs("rms_norm").verify().whole
        True
        """
        folders = [*(folder for folder, _ in self.unreadable), *(run.folder for run in self)]
        return Sealed([verify(folder, self.root) for folder in folders])

    def history(self, version: str = "") -> History:
        """Return which version of these runs is the best of each case and GPU, how that came about, what became slower.

        With `version` ("v7" or "v7_sectors") it is about that one alone, over runs and GPUs. The times come from an
        index below build/, which is brought up to date first.

        >>> import rooflift as rl
        >>> rl.runs("rms_norm").history().best().iloc[0]["operator"]
        'rms_norm'

        Raises:
            CatalogError: no run timed such a version.
        """
        found = times([run.folder for run in self], self.root)
        if not version:
            return History(found)
        own = [row for row in found if version in (row["version"], row["version"].partition("_")[0])]
        if not own:
            raise CatalogError(
                f"no run timed a version {version!r}", did_you_mean(version, sorted({row["version"] for row in found}))
            )
        return History(own, version=version)

    def ladders(self) -> Ladders:
        """Return the ladders of these runs side by side: SOL % by version on the case that each is about.

        >>> import rooflift as rl
        >>> rl.runs("softmax", "cumsum", gpu="H100", metrics=True).ladders().table()["operator"].tolist()
        ['cumsum', 'softmax']
        """
        return Ladders(self)

    def compress(self) -> Packed:
        """Put the reports of these runs into gzip; everything that opens a run reads them so.

        Raises:
            RunFault: a run is not whole, or cannot be written; those before it are compressed.
        """
        return Packed([compress_reports(run.folder) for run in self])

    def __repr__(self) -> str:
        return f"<Runs: {len(self)}, {', '.join(dict.fromkeys(run.operator for run in self)) or 'none'}>"

    def _repr_html_(self) -> str:
        return html_table(texts(frame := self.table(), list(frame)), repr(self)[1:-1])


def _span(names: Sequence[str]) -> str:
    """Return "v0 v1", or "v0 to v10" for versions that follow one another."""
    short_names = [name.partition("_")[0] for name in names]
    first = int(short_names[0][1:]) if short_names else 0
    if len(names) > 2 and short_names == [f"v{first + place}" for place in range(len(names))]:
        return f"{short_names[0]} to {short_names[-1]}"
    return " ".join(short_names)


def _holds(row: dict[str, Any]) -> str:
    """Return what a run holds: "measured, standard metrics, suite"."""
    metrics = {"none": "no metrics", "imported": ""}.get(row["metrics"], f"{row['metrics']} metrics")
    origin = f"imported from {row['origin']}" if row["origin"] else "measured"
    return ", ".join(filter(None, [origin, metrics, "suite" * row["suite"], "tree changed" * row["dirty"]]))


def _row(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "run": run.name,
        "folder": run.folder.parent.name,
        "operator": run.operator,
        "gpu": run.gpu,
        "created": manifest.created,
        "versions": [version.version for version in manifest.versions],
        "software": {name: getattr(manifest.machine, name) for name in SOFTWARE},
        "metrics": manifest.metric_set,
        "suite": manifest.suite,
        "origin": manifest.origin.kind if manifest.origin else None,
        "commit": manifest.commit,
        "dirty": manifest.dirty,
    }


class Sealed(Sequence[Verified]):
    """Run folders held against the sha256 of their files: of each `whole`, `faults` and `notes`."""

    def __init__(self, found: Sequence[Verified]) -> None:
        self._found = tuple(found)

    @overload
    def __getitem__(self, place: int) -> Verified: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Verified]: ...
    def __getitem__(self, place: int | slice) -> Verified | Sequence[Verified]:
        return self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with any of them."""
        return all(one.whole for one in self)

    def parts(self) -> list[str]:
        """Return what a terminal shows: a line a run, and under it each fault and note."""
        lines = [] if self else ["No run to verify."]
        for one in self:
            lines.append(f"{short(one.folder)}: {'whole' if one.whole else f'faults: {len(one.faults)}'}")
            lines += [f"  {file}: {wrong}" for file, wrong in one.faults]
            lines += [f"  note: {text}" for text in one.notes]
        return lines

    def record(self) -> list[dict[str, Any]]:
        """Return the same for a program."""
        return [
            {
                "run": short(one.folder),
                "whole": one.whole,
                "faults": [{"file": file, "what": wrong} for file, wrong in one.faults],
                "notes": one.notes,
            }
            for one in self
        ]

    def __repr__(self) -> str:
        return f"<Sealed: {sum(one.whole for one in self)} of {len(self)} whole>"


class Packed(Sequence[Compressed]):
    """Run folders whose reports were put into gzip: of each `folder`, `before` and `after`, in bytes."""

    def __init__(self, found: Sequence[Compressed]) -> None:
        self._found = tuple(found)

    @overload
    def __getitem__(self, place: int) -> Compressed: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Compressed]: ...
    def __getitem__(self, place: int | slice) -> Compressed | Sequence[Compressed]:
        return self._found[place]

    def __len__(self) -> int:
        return len(self._found)

    def parts(self) -> list[str]:
        """Return what a terminal shows: a line a run."""
        return [
            f"{short(one.folder)}: reports of {one.before / 1e6:.1f} MB are {one.after / 1e6:.1f} MB in gzip"
            if one.before
            else f"{short(one.folder)}: no report that is not in gzip"
            for one in self
        ]

    def record(self) -> list[dict[str, Any]]:
        """Return the same for a program."""
        return [{"run": short(one.folder), "before_bytes": one.before, "after_bytes": one.after} for one in self]
