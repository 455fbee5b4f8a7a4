"""Rewrite run folders of schema 1 as schema 2: `python scripts/migrate_runs.py FOLDER...`, each with all below it.

Names change, values do not, and the script looks whether that is so before it replaces anything: operator for family,
metric_set for counters, provider for subject, copy for copy_floor, a column `repeat` for the name of a version that was
timed twice. The samples of a run from before their places were recorded stand in the order in which they were timed.
The loop's journals and measured roofs are rewritten, too. Texts and figures stay: `rooflift report RUN` makes new ones.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from rooflift.runs.run import read_run, to_json
from rooflift.runs.verify import write_manifest
from rooflift.schema import Manifest, Roofs

AGAIN = " again"  # behind the name of a version that was timed a second time
KEYS = {"family": "operator", "counters": "metric_set"}
SETS = {"seed": "basic"}
STEPS = {"writer": "agent", "reply": "candidate", "check": "lint", "gates": "evaluation", "roof": "sol"}
FILES = {"brief.md": "prompt.md", "reply.txt": "candidate.txt", "reply.py": "candidate.py"}


def migrate_run(folder: Path) -> None:
    """Rewrite one run folder."""
    path = folder / "run.json"
    old = json.loads(path.read_bytes())
    new = {KEYS.get(key, key): value for key, value in old.items()} | {"schema": 2}
    new["metric_set"] = SETS.get(new["metric_set"], new["metric_set"])
    for version in new["versions"]:
        version["expect"] = [re.sub(r"^roof_pct\b", "sol_pct", text) for text in version["expect"]]
    timings = pd.read_csv(folder / "timings.csv", dtype=str, keep_default_na=False)
    renamed = timings.rename(columns={"subject": "provider"}).replace({"provider": {"copy_floor": "copy"}})
    require(timings.drop(columns="subject").equals(renamed.drop(columns="provider")), folder, "timings.csv")
    renamed.to_csv(folder / "timings.csv", index=False)
    if (folder / "samples.parquet").exists():
        migrate_samples(folder / "samples.parquet")
    for one, other in {"counters.svg": "metrics.svg", "counters.png": "metrics.png"}.items():
        if (folder / one).exists():
            (folder / one).rename(folder / other)
    write_manifest(folder, msgspec.convert(new, Manifest))
    read_run(folder)
    print(f"{folder}: schema 2")


def migrate_samples(path: Path) -> None:
    """Rewrite the samples of a run."""
    old = pd.read_parquet(path).rename(columns={"sample": "round"})
    if "position" not in old:
        old["position"] = old.groupby(["case", "dtype", "round"]).cumcount()
    name = old["subject"].str.removesuffix(AGAIN).replace("copy_floor", "copy")
    new = old.drop(columns="subject")
    new.insert(0, "provider", name)
    new.insert(1, "repeat", old["subject"].str.endswith(AGAIN).astype("int64"))
    new = new[["provider", "repeat", "case", "dtype", "round", "position", "time_us"]]
    require(new["time_us"].equals(old["time_us"]) and len(new) == len(old), path.parent, path.name)
    new.to_parquet(path, index=False)


def migrate_roofs(path: Path) -> None:
    """Rewrite a file of measured roofs."""
    roofs = msgspec.convert(json.loads(path.read_bytes()) | {"schema": 2}, Roofs)
    path.write_bytes(to_json(roofs))
    print(f"{path}: schema 2")


def migrate_journal(path: Path) -> None:
    """Rewrite the journal of a loop, and the names of the files beside it."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(entry(line), separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
    if (path.parent / "tries").exists():
        (path.parent / "tries").rename(path.parent / "iterations")
    for one, other in FILES.items():
        for found in path.parent.rglob(one):
            found.rename(found.with_name(other))
    for found in path.parent.rglob("reports/*/climb"):
        found.rename(found.with_name("optimize"))
    print(f"{path}: journal")


def entry(line: dict[str, Any]) -> dict[str, Any]:
    """Return one line of a journal in the words of schema 2."""
    names = {"family": "operator", "tries": "iterations", "reply_sha256": "candidate_sha256", "roof_pct": "sol_pct"}
    new = {names.get(key, key): value for key, value in line.items()}
    new["type"] = {"Tried": "Iteration"}.get(new["type"], new["type"])
    if new.get("at") is not None:
        new["at"] = STEPS.get(new["at"], new["at"])
    if "run" in new:
        new["run"] = re.sub(r"/climb$", "/optimize", new["run"])
    return new


def require(same: bool, folder: Path, name: str) -> None:
    """Stop when a value would change."""
    if not same:
        raise SystemExit(f"{folder / name}: a value would change; nothing of it was written")


def main(places: list[str]) -> None:
    """Rewrite everything of schema 1 at and below the places."""
    for place in map(Path, places):
        for path in sorted(place.rglob("*.jsonl")):
            if '"Tried"' in path.read_text(encoding="utf-8"):
                migrate_journal(path)
        for path in sorted(place.rglob("*.json")):
            found = json.loads(path.read_bytes())
            if isinstance(found, dict) and found.get("schema") == 1:
                migrate_run(path.parent) if path.name == "run.json" else migrate_roofs(path)


if __name__ == "__main__":
    main(sys.argv[1:])
