"""What `rooflift compare` prints: comparisons of measured versions, and compiled ones side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rooflift.cli.console import console, note, print_json, progress_shown
from rooflift.escape import emphasised, escaped

if TYPE_CHECKING:
    from rooflift.analysis.compare import Comparison
    from rooflift.measure.request import Request

NOTHING_COMPARABLE = 1


def print_comparisons(found: list[Comparison], as_json: bool) -> None:
    """Print comparisons and leave with 1 when none of them has a verdict."""
    from rooflift.analysis.compare import as_json as in_json
    from rooflift.report import columns, tables
    from rooflift.report.terminal import terminal
    from rooflift.report.text import method_text, verdict_line
    from rooflift.report.warnings import comparison_warnings

    code = 0 if any(c.count("not comparable") < len(c.cases) for c in found) else NOTHING_COMPARABLE
    if as_json:
        print_json([in_json(comparison) for comparison in found])
        raise typer.Exit(code)
    for comparison in found:
        first = comparison.head.manifest.cases[0]
        if "main" in set(comparison.cases["case"]):
            first = next((c for c in comparison.head.manifest.cases if c.case == "main"), first)
        title = f"{comparison.head.name} against {comparison.base.name}"
        console().print(terminal(columns.table("comparison", comparison.cases), title))
        moved = tables.metric_changes(comparison, first.case, first.dtype, moved=True)
        if moved.rows:
            console().print(terminal(moved, f"Metrics that moved, {first.case} {first.dtype}"))
        for line in comparison_warnings(comparison):
            note(f"Warning: {line}")
        console().print(verdict_line(comparison, first.case, first.dtype).replace("**", ""), markup=False)
        console().print(method_text(comparison), markup=False)
    raise typer.Exit(code)


def print_compiled(request: Request, targets: list[int], *, as_json: bool, markdown: bool) -> None:
    """Compile base and head and print their registers, spills, shared memory, occupancy and instruction mix."""
    import msgspec

    from rooflift.measure.compiled import compile_kernels
    from rooflift.report.cells import markdown as in_markdown
    from rooflift.report.compiled import compiled_lines, compiled_table
    from rooflift.report.terminal import terminal

    with progress_shown() as progress:
        progress("compiling")
        kernels = compile_kernels(request, targets, progress)
    if as_json:
        print_json({"about": request.about, "kernels": [msgspec.structs.asdict(kernel) for kernel in kernels]})
        return
    table = compiled_table(kernels)
    first = compiled_lines(kernels)
    if markdown:
        about = [f"# {escaped(request.operator.label)}, compiled", emphasised(first), escaped(request.about)]
        typer.echo("\n\n".join([*about, in_markdown(table)]))
        return
    console().print(request.about, markup=False)
    console().print(terminal(table, "Compiled here, not run: base → head"))
    console().print(first.replace("**", ""), markup=False)
