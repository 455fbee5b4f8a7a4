"""The ncu command that records chosen kernels of any program, built by pure functions. Starts nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rooflift.errors import CatalogError
from rooflift.ncu.command import collected
from rooflift.ncu.metrics import BY_NAME, PER_LAUNCH, ncu_names, ncu_sections
from rooflift.ncu.names import short_name, without_parameters
from rooflift.region import RANGE

Replay = Literal["kernel", "application", "range", "app-range"]
Graphs = Literal["node", "graph"]
REPORT = "report"  # report.ncu-rep, or report.<rank>.ncu-rep
PLACE = "{ncu}"  # where ncu goes in a launcher's command, where it cannot be told
DURATIONS = [BY_NAME[name].ncu[0] for name in ("ncu_time_ns", "grid_size", "block_size")]
TORCHRUN = ("torchrun", "torch.distributed.run", "torch.distributed.launch")
LAUNCHERS = {"mpirun": "OMPI_COMM_WORLD_RANK", "mpiexec": "PMI_RANK", "srun": "SLURM_PROCID"}
_SAME_EVERYWHERE = re.compile(
    r"[A-Za-z_]\w{3,}|\b\d{2,}"
)  # words and constants of a name that all demanglers write alike
_WRITTEN_OTHERWISE = {"bool", "char", "const", "false", "instance", "lambda", "long", "operator", "short", "true"}
_WRITTEN_OTHERWISE |= {"unsigned", "void", "anonymous", "namespace", "unnamed"}
MOST_WORDS = 12


def kernel_pattern(name: str) -> str:
    """Return a regular expression that finds a kernel by its demangled name, whoever demangled it.

    It is the function's own name and, in their order, the words of its template arguments; without colons, which part
    the fields of ncu's --kernel-id.

    >>> kernel_pattern("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float> >(int)")
    'vectorized_elementwise_kernel<.*native.*FillFunctor.*float'
    >>> kernel_pattern("add_kernel")
    '(^|[^A-Za-z0-9_])add_kernel([^A-Za-z0-9_]|$)'
    """
    whole = without_parameters(name)
    base, _, arguments = whole.partition("<")
    function = re.findall(r"\w+", base)[-1] if re.search(r"\w", base) else ""
    if not function:
        return ".*".join(re.findall(r"\w+", short_name(name)))
    if not arguments:
        return f"(^|[^A-Za-z0-9_]){function}([^A-Za-z0-9_]|$)"
    words = [word for word in _SAME_EVERYWHERE.findall(arguments) if word not in _WRITTEN_OTHERWISE]
    return ".*".join([f"{function}<", *words[:MOST_WORDS]])


def capture_command(
    ncu: str,
    program: Sequence[str],
    report: str,
    metric_set: str,
    *,
    kernels: Sequence[str] = (),
    invocations: Sequence[int] = (),
    replay: Replay = "kernel",
    graphs: Graphs = "node",
    regions: bool = False,
) -> list[str]:
    """Return the command that profiles kernels of a program, of its children, too.

    `kernels` are demangled names, `invocations` the numbers, from 1, of the launches of each; none for all. In a range
    replay everything inside a region, or between cudaProfilerStart and cudaProfilerStop, is measured at once.
    """
    ranges = replay in ("range", "app-range")
    names = [name for name in ncu_names(metric_set) if not (ranges and name.startswith(PER_LAUNCH))]
    sections = () if ranges else ncu_sections(metric_set)
    chosen: list[str] = []
    if kernels and not ranges:
        which = f"^({'|'.join(map(str, invocations))})$" if invocations else ""
        either = "|".join(dict.fromkeys(map(kernel_pattern, kernels)))
        chosen = ["--kernel-name-base", "demangled", "--kernel-id", f"::regex:{either}:{which}"]
    return [
        *_launch(ncu, replay, graphs),
        *(["--nvtx-include", f"{RANGE}/"] if regions else []),
        *chosen,
        *collected(names, sections, metric_set == "full" and not ranges),
        "--force-overwrite",
        "--export",
        report,
        *program,
    ]


def duration_command(ncu: str, program: Sequence[str], report: str, graphs: Graphs = "node") -> list[str]:
    """Return the command that takes the duration of every kernel of a program in one pass; collectives are left out."""
    return [
        *_launch(ncu, "kernel", graphs),
        "--kernel-name",
        "regex:^(?!.*nccl)",
        *collected(DURATIONS),
        "--force-overwrite",
        "--export",
        report,
        *program,
    ]


def _launch(ncu: str, replay: Replay, graphs: Graphs) -> list[str]:
    """Clocks stay as they are, as in every measurement of rooflift."""
    return [
        *(ncu, "--clock-control", "none", "--target-processes", "all", "--replay-mode", replay),
        *(["--graph-profiling", graphs] if replay in ("kernel", "application") else []),
        "--nvtx",
    ]


def split_launcher(program: Sequence[str], python: str = "python") -> tuple[list[str], list[str], str]:
    """Return a command in two parts, between which ncu goes, and the environment variable that has a process's rank.

    The first part is empty, and the variable "", where nothing launches several ranks. Each rank has an ncu of its own.
    `python` is what torchrun runs a script with.

    >>> split_launcher(["torchrun", "--nproc-per-node", "2", "train.py", "--lr", "3"])
    (['torchrun', '--nproc-per-node', '2', '--no-python'], ['python', 'train.py', '--lr', '3'], 'RANK')
    >>> split_launcher(["mpirun", "-np", "2", "python", "train.py"])[:2]
    (['mpirun', '-np', '2'], ['python', 'train.py'])

    Raises:
        CatalogError: where the program begins behind a launcher cannot be told.
    """
    words = list(program)
    if PLACE in words:
        at = words.index(PLACE)
        return words[:at], words[at + 1 :], _variable(words)
    if any(word in TORCHRUN or Path(word).name == "torchrun" for word in words[:3]):
        if "--no-python" in words:
            at = words.index("--no-python") + 1
            return words[:at], words[at:], "RANK"
        at = next((place for place, word in enumerate(words) if word in ("-m", "--module") and place > 1), -1)
        script = next((place for place, word in enumerate(words) if word.endswith(".py")), -1)
        if at < 0 and script < 0:
            raise _unclear(words)
        if at >= 0 and (script < 0 or at < script):
            return [*words[:at], "--no-python"], [python, "-m", *words[at + 1 :]], "RANK"
        return [*words[:script], "--no-python"], [python, *words[script:]], "RANK"
    if Path(words[0]).name in LAUNCHERS:
        for at, word in enumerate(words[1:], 1):
            if re.fullmatch(r"(.*/)?(python[\d.]*|[\w.+-]+\.(sh|exe|out))|\.{0,2}/.+", word):
                return words[:at], words[at:], _variable(words)
        raise _unclear(words)
    return [], words, ""


def _variable(words: Sequence[str]) -> str:
    launcher = Path(words[0]).name
    return LAUNCHERS.get(launcher, "RANK")


def _unclear(words: Sequence[str]) -> CatalogError:
    remedy = f"Put {PLACE} in front of it: rooflift capture -- {words[0]} ... {PLACE} PROGRAM ..."
    return CatalogError(f"where the program begins behind {words[0]} cannot be told", remedy)
