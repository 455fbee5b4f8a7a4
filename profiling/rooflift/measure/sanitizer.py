"""compute-sanitizer over the versions: out-of-bounds access, races in shared memory, uninitialised reads.

One process a tool and version, so that each finding has its version: the kernels of all versions share a name. The
program under the tool is this module, too: it runs each case once on inputs that were made on the CPU. The reference
and the comparison would only add library kernels, and a filled output would hide that it is read before it is written.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rooflift.errors import CatalogError, KernelFault, SanitizerFault
from rooflift.measure.children import Progress, staged
from rooflift.measure.request import Request, in_dtypes
from rooflift.process import child_environment, run_to_end, stream
from rooflift.project.cases import Case
from rooflift.project.operator import Version
from rooflift.schema import SanitizerRecord
from rooflift.worker import protocol
from rooflift.worker.protocol import Plan, worker_command

TOOLS = ("memcheck", "racecheck", "initcheck")
AT_ONCE = 16  # processes that share the GPU: each spends its time on imports and on the tool's bookkeeping
LOG = "sanitizer.log"
PRINTED = 1000  # findings that a tool writes out; the rest is only counted
INSTALL_REMEDY = (
    "Install it with the CUDA toolkit (package cuda-sanitizer) and put `compute-sanitizer` on PATH, or name it in"
    " ROOFLIFT_SANITIZER."
)
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)")
_IN_A_KERNEL = re.compile(r"\+0x[0-9a-f]+|\bat 0x[0-9a-f]+ in ")
_REFUSED = re.compile(
    r"not supported|before first instrumented|Internal Sanitizer Error|Unable to|Failed to", re.IGNORECASE
)


class Findings(NamedTuple):
    """What a tool wrote: findings in the version's own kernels, those elsewhere, and the first of the former."""

    errors: int
    elsewhere: int
    first: str


def find_sanitizer() -> Path:
    """Return compute-sanitizer: $ROOFLIFT_SANITIZER, the one on PATH, or the one of an installed CUDA toolkit.

    Raises:
        SanitizerFault: there is none.
    """
    named = os.environ.get("ROOFLIFT_SANITIZER")
    places = [named] if named else ["compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer"]
    for place in places:
        found = shutil.which(place)
        if found:
            return Path(found)
    raise SanitizerFault(f"compute-sanitizer is not here (looked at {', '.join(places)})", INSTALL_REMEDY)


def sanitizer_command(sanitizer: str, tool: str, program: Sequence[str]) -> list[str]:
    """Return the command that runs `program` under one tool.

    CUDA calls that fail are not reported: torch and triton ask the driver for what an older one does not know.
    """
    limits = ["--print-limit", str(PRINTED), "--report-api-errors", "no"]
    return [sanitizer, "--tool", tool, *limits, "--log-file", LOG, *program]


def own_kernels(path: Path) -> list[str]:
    """Return the names of the functions of a version file that `triton.jit` decorates."""
    return [
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and any(_is_jit(decorator) for decorator in node.decorator_list)
    ]


def _is_jit(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute | ast.Name) and ast.unparse(called).split(".")[-1] == "jit"


def parse_log(text: str, kernels: Sequence[str]) -> Findings | None:
    """Return what a tool found, None for a text without its summary line.

    A finding belongs to a library when it names a kernel and that is none of `kernels`. What was counted but not
    written out, or names no kernel, counts against the version.
    """
    counts = [int(count) for count in _SUMMARY.findall(text)]
    if not counts:
        return None
    own = re.compile(rf"\b(?:{'|'.join(map(re.escape, kernels))})\b")
    found = _findings(text)
    foreign = [lines for lines in found if _IN_A_KERNEL.search("\n".join(lines)) and not own.search("\n".join(lines))]
    errors = max(max(counts), len(found)) - len(foreign)
    first = next(("; ".join(lines) for lines in found if lines not in foreign), f"{errors} of them, none written out")
    return Findings(errors, len(foreign), first if errors else "")


def _findings(text: str) -> list[list[str]]:
    """Return the lines of each finding: a line at the margin and the indented ones below, without backtraces."""
    found: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        said = line.removeprefix("=========")
        if not line.startswith("=========") or not said.strip() or "backtrace" in said or "Frame" in said:
            inside = False
        elif not said.startswith("  "):
            found.append([said.strip()])
            inside = True
        elif inside:
            found[-1].append(said.strip())
    return [lines for lines in found if len(lines) > 1]


def sanitize(request: Request, cases: Sequence[Case], progress: Progress) -> list[SanitizerRecord]:
    """Run memcheck, racecheck and initcheck over the request's versions on these cases, which had better be small.

    Raises:
        CatalogError: there is no case.
        SanitizerFault: compute-sanitizer is missing, failed or refused the GPU, or the time limit is over.
        KernelFault: a version does not compile or run, and the tool found no reason.
    """
    sanitizer = str(find_sanitizer())
    work = in_dtypes(cases, request.dtypes)
    if not work:
        remedy = "Give a small case use = ['test'] in cases.toml."
        raise CatalogError(f"{request.operator.label}: no case for compute-sanitizer", remedy)
    turns = asyncio.Semaphore(min(AT_ONCE, os.cpu_count() or 1))

    async def one(tool: str, version: Version) -> SanitizerRecord:
        async with turns:
            progress(f"{tool}: {version.name}")
            return await _run(sanitizer, tool, request, version, work)

    async def all_of_them() -> list[SanitizerRecord]:
        async with asyncio.timeout(request.timeout_s), asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(tool, version)) for tool in TOOLS for version in request.versions]
        return [task.result() for task in tasks]

    try:
        return run_to_end(all_of_them())
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None
    except TimeoutError:
        raise SanitizerFault(
            f"compute-sanitizer ran past {request.timeout_s:g} s",
            "Give it more time with --timeout, or fewer versions or cases.",
        ) from None


async def _run(sanitizer: str, tool: str, request: Request, version: Version, work: list[Case]) -> SanitizerRecord:
    """Run one version under one tool."""
    ran: list[protocol.Ran] = []
    broken: list[protocol.Broken] = []

    def hear(line: str) -> None:
        match protocol.read_event(line):
            case protocol.Ran() as event:
                ran.append(event)
            case protocol.Broken() as event:
                broken.append(event)

    with staged(request.operator, [version], Plan(work=work)) as stage:
        # torch's pool would hide what lies beyond a tensor
        environment = child_environment() | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        ended = await stream(sanitizer_command(sanitizer, tool, worker_command("sanitize")), stage, environment, hear)
        log = stage / LOG
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ended.output
    kernels = own_kernels(version.path)
    found = parse_log(text, kernels)
    if found is None or not found.errors:
        if _REFUSED.search("\n".join(line for line in text.splitlines() if line.startswith("========="))):
            raise _fault(tool, version, text)
        if broken:
            said = (
                f"{version.name} does not run on {broken[0].case} {broken[0].dtype} under {tool}:\n{broken[0].message}"
            )
            raise KernelFault(said, "`rooflift verify` runs it without compute-sanitizer.")
        if found is None or ended.returncode != 0 or len(ran) != len(work):
            raise _fault(tool, version, f"{ended.output}\n{text}")
    cases, dtypes = (
        list(dict.fromkeys(names)) for names in ([case.name for case in work], [case.dtype for case in work])
    )
    return SanitizerRecord(tool, version.name, cases, dtypes, kernels, *found)


def _fault(tool: str, version: Version, said: str) -> SanitizerFault:
    lines = [line for line in said.splitlines() if line.strip(" =") and not line.startswith(protocol.EVENT_PREFIX)]
    return SanitizerFault(
        f"{tool} did not come through {version.name}:\n" + "\n".join(lines[-12:]),
        "compute-sanitizer must know the GPU and its driver: use the one of a CUDA toolkit as new as the driver's.",
    )
