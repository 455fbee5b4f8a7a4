"""`rooflift compile`."""

from __future__ import annotations

from rooflift.cli.console import console, print_json, progress_shown
from rooflift.cli.options import DEFAULT_TARGETS, AsJson, Cases, Dtypes, OperatorName, Root, Targets, Versions

KEY = ("version", "dtype", "target")


def compile_(
    operator: OperatorName,
    version: Versions = None,
    case: Cases = None,
    dtype: Dtypes = None,
    target: Targets = None,
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Compile versions without a GPU: registers, spills, occupancy.

    Also shared memory and the instruction mix. Nothing is run.
    """
    import pandas as pd

    from rooflift.api import work
    from rooflift.measure.environment import package_version
    from rooflift.report import columns, tables
    from rooflift.report.terminal import terminal

    with progress_shown() as say:
        say("compiling")
        frame = work.compile(
            operator,
            versions=version or (),
            cases=case or (),
            dtypes=dtype or (),
            targets=target or DEFAULT_TARGETS,
            say=say,
            root=root,
        )
    if as_json:
        print_json(frame.to_dict("records"))
        return
    title = f"Compiled by triton {package_version('triton')}, not run"
    console().print(terminal(columns.table("compiled", frame), title))
    mix = pd.DataFrame([{name: row[name] for name in KEY} | row["sass"] for row in frame.to_dict("records")])
    console().print(terminal(tables.mix_table(mix.fillna(0)), "Instructions in the binary"))
