"""The arguments and options that several commands share, each once, with what the shell completes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from rooflift.cli import completion
from rooflift.dtypes import DTYPES
from rooflift.errors import CatalogError


def _capability(text: str) -> int:
    """Return 90 for "90", "9.0", "sm_90" and "h100"."""
    digits = str(text).removeprefix("sm_").replace(".", "")
    if digits.isdecimal():
        return int(digits)
    from rooflift.api.project import gpu

    try:
        return gpu(text).target
    except CatalogError as error:
        what = f"{text!r} is neither a compute capability such as 90, 9.0 or sm_90 nor a GPU. {error.remedy}"
        raise typer.BadParameter(what) from None


_GPU = typer.Option(
    "--gpu", metavar="GPU", help="A GPU, by its spec: rtx4090, h100, ...", autocompletion=completion.gpus
)
_STAGE = typer.Option(
    "--stage",
    metavar="STAGE",
    help="A stage of the loop, by its name in stages.toml.",
    autocompletion=completion.stages,
)
_OPERATOR = typer.Option(
    "--operator", "-o", metavar="OPERATOR", help="The operator it is of.", autocompletion=completion.operators
)

# what is named
OperatorName = Annotated[
    str,
    typer.Argument(
        metavar="OPERATOR", help="A folder below kernels/, or OPERATOR/LADDER.", autocompletion=completion.operators
    ),
]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run folder or its name, or an operator: its newest.", autocompletion=completion.runs
    ),
]
OfOperator = Annotated[str, _OPERATOR]
OfSomeOperator = Annotated[str | None, _OPERATOR]
Gpu = Annotated[str, _GPU]
SomeGpu = Annotated[str | None, _GPU]
Stage = Annotated[str, _STAGE]
SomeStage = Annotated[str | None, _STAGE]

# which part of it
Versions = Annotated[
    list[str] | None,
    typer.Option("--version", "-v", metavar="VERSION", help="v1_grid, v1 or 1; several times. Default: all."),
]
Candidate = Annotated[
    Path | None,
    typer.Option(
        "--candidate",
        metavar="FILE",
        help="A kernel file with ModelNew that is no version yet: Triton, or CUDA by load_inline. Alone, or beside -v.",
    ),
]
Version = Annotated[str | None, typer.Option("--version", "-v", metavar="VERSION", help="v1_grid, v1 or 1.")]
Cases = Annotated[
    list[str] | None, typer.Option("--case", "-c", metavar="CASE", help="A case of cases.toml; several times.")
]
Case = Annotated[str | None, typer.Option("--case", "-c", metavar="CASE", help="A case of the run. Default: main.")]
Dtypes = Annotated[
    list[str] | None,
    typer.Option(
        "--dtype",
        "-d",
        metavar="DTYPE",
        help=f"{', '.join(DTYPES)}; several times.",
        autocompletion=completion.dtypes,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        "-d",
        metavar="DTYPE",
        help="A dtype of that case. Default: its first.",
        autocompletion=completion.dtypes,
    ),
]
NewestSuite = Annotated[bool, typer.Option("--suite", help="Of an operator: the newest run that timed its suite.")]

# how it is measured
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        metavar="SET",
        help="none, basic: five metrics, standard: the registry and ncu's sections, source: standard, metrics of each"
        " instruction and the source itself, timeline: standard and PM sampling over the time of a launch, full: ncu's"
        " own set.",
        autocompletion=completion.metric_sets,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="SHARE",
        help="Add rounds until every median's interval is this narrow: half its width, such as 0.5%.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="SECONDS",
        help="Seconds of GPU time a case and dtype. Default: 3, with --precision 10.",
        min=0.1,
    ),
]
Sanitize = Annotated[
    bool, typer.Option("--sanitize", help="Run memcheck, racecheck and initcheck of compute-sanitizer as well.")
]
Targets = Annotated[
    list[int] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="CAPABILITY",
        help="A compute capability, 90, 9.0 or sm_90, or a GPU, h100; several times. Default: 89 and 90.",
        parser=_capability,
    ),
]
OneTarget = Annotated[
    int | None,
    typer.Option(
        "--target",
        "-t",
        metavar="CAPABILITY",
        help="What to compile for: 90, 9.0, sm_90 or h100. Default: the GPU's, without one 90.",
        parser=_capability,
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="Seconds after which the measurement is stopped.", min=1)
]

# where, and in which form
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output instead of tables.")]
Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="FOLDER", help="The project's folder. Default: the nearest one with kernels/."),
]

DEFAULT_TARGETS = (89, 90)
AssumedUnits = Annotated[
    Literal["auto", "base", "display"],
    typer.Option("--units", help="Of CSV and JSON: what values without a unit are in; display: as ncu prints them."),
]
