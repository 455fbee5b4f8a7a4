"""The ncu command that records chosen kernels of any program, built by pure functions. Starts nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rooflift.errors import CatalogError
from rooflift.ncu.command import collected
from rooflift.ncu.metrics import BY_NAME, PER_LAUNCH, ncu_names, ncu_sections
from rooflift.ncu.names import without_parameters
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


def function_name(name: str) -> str:
    """Return the name of a kernel's function as ncu has it: no return type, namespace, template argument or parameter.

    >>> function_name("std::enable_if<true, void>::type internal::gemvx::kernel<int, float>(Params<int>)")
    'kernel'
    >>> function_name("void at::native::<unnamed>::softmax<(int)8, c10::Half>(T1 *)")
    'softmax'
    """
    whole = without_parameters(name.strip())
    depth, end = 0, len(whole)
    while whole.endswith(">") and end:
        end -= 1
        depth += (whole[end] == ">" and whole[end - 1 : end] != "-") - (whole[end] == "<")
        if depth == 0:
            break
    found = re.search(r"(\w+)(\[.*\])?$", whole[:end])
    return found[0] if found else whole


def kernel_pattern(name: str) -> str:
    r"""Return a regular expression that finds a kernel by its demangled name, whoever demangled it.

    It is the function's own name and, in their order, the words of its template arguments; without colons, which part
    the fields of ncu's --kernel-id.

    >>> kernel_pattern("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float> >(int)")
    '\\bvectorized_elementwise_kernel\\b<.*native.*FillFunctor.*float'
    >>> kernel_pattern("add_kernel")
    '^add_kernel$'
    """
    function = function_name(name)
    if function == name:
        return f"^{re.escape(function)}$"
    _, _, arguments = without_parameters(name).partition(f"{function}<")
    words = [word for word in _SAME_EVERYWHERE.findall(arguments) if word not in _WRITTEN_OTHERWISE]
    return ".*".join([rf"\b{_escaped(function)}{'<' if arguments else ''}", *words[:MOST_WORDS]])


def _escaped(function: str) -> str:
    """Return a function's name as the end of a regular expression, without the tags of numba, which have colons."""
    name, tagged, _ = function.partition("[")
    return re.escape(name) + (r"\[" if tagged else r"\b")


def kernel_options(kernels: Sequence[str], others: Sequence[str], invocations: Sequence[int]) -> list[str]:
    """Return the options that have ncu record some launches of each kernel, and none of the others of the program.

    The function's name alone is what ncu matches by itself, in every release. Where one function is several kernels,
    instances of a template, their demangled names tell them apart.
    """
    functions = list(dict.fromkeys(map(function_name, kernels)))
    alone = len(functions) == len(set(kernels)) and not set(functions) & set(map(function_name, others))
    patterns = [f"^{_escaped(name)}" if "[" in name else f"^{re.escape(name)}$" for name in functions]
    either = "|".join(patterns if alone else dict.fromkeys(map(kernel_pattern, kernels)))
    which = f"^({'|'.join(map(str, invocations))})$" if invocations else ""
    return ["--kernel-name-base", "function" if alone else "demangled", "--kernel-id", f"::regex:{either}:{which}"]


def capture_command(
    ncu: str,
    program: Sequence[str],
    report: str,
    metric_set: str,
    *,
    kernels: Sequence[str] = (),
    others: Sequence[str] = (),
    invocations: Sequence[int] = (),
    replay: Replay = "kernel",
    graphs: Graphs = "node",
    regions: bool = False,
) -> list[str]:
    """Return the command that profiles kernels of a program, of its children, too.

    `kernels` are demangled names, `others` those of the kernels beside them, `invocations` the numbers, from 1, of the
    launches of each, which ncu counts by kernel, grid and block; none for all. In a range replay everything inside a
    region, or between cudaProfilerStart and cudaProfilerStop, is measured at once.
    """
    ranges = replay in ("range", "app-range")
    names = [name for name in ncu_names(metric_set) if not (ranges and name.startswith(PER_LAUNCH))]
    sections = () if ranges else ncu_sections(metric_set)
    named = [*kernels, *(["graph"] if graphs == "graph" else [])]  # what ncu calls a graph that it takes whole
    return [
        *_launch(ncu, replay, graphs),
        *(["--nvtx-include", f"{RANGE}/"] if regions else []),
        *(kernel_options(named, others, invocations) if kernels and not ranges else []),
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
