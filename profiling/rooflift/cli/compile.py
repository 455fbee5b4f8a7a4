"""`rooflift compile`."""

from __future__ import annotations

from rooflift.cli.console import print_json, print_parts, progress_shown
from rooflift.cli.options import DEFAULT_TARGETS, AsJson, Cases, Dtypes, OperatorName, Root, Targets, Versions


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
    from rooflift.api import work
    from rooflift.api.shown import compiled_parts, mix_part, records

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
        print_json(records(frame))
        return
    title = f"Compiled by triton {frame.attrs['triton']}, not run"
    print_parts([*compiled_parts(frame, title), mix_part(frame)])
