"""What a run shows of candidates: the lists of a review, judged as an evaluation does, in one process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from rooflift.worker.kernel_source import module_text
from rooflift.worker.launch_plan import (
    Argument,
    Buffer,
    Copy,
    DType,
    Fill,
    Items,
    Kernel,
    Launch,
    LaunchPlan,
    Named,
    NoPlan,
    Region,
    Returned,
    Source,
    decode,
    encode,
)  # fmt: skip
from rooflift.worker.protocol import Criterion

CHECKOUT = Path(__file__).parents[2]
CANDIDATES, REVIEWED = (CHECKOUT / "tests" / "fixtures" / name for name in ("candidates", "reviewed"))
BY_SYNTAX_ALONE = {"b33_hook_on_a_tensor_in_init"}  # an honest plan: what it does beside is the linter's to refuse


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, list[str]]]:
    """Return a function: the faults of each candidate for an operator, on one small case."""

    def judge(operator: str, *files: Path) -> dict[str, list[str]]:
        folder = tmp_path_factory.mktemp("project") / "kernels" / operator
        folder.mkdir(parents=True)
        for name in ("reference.py", "v0_baseline.py"):
            shutil.copy(CHECKOUT / "kernels" / operator / name, folder)
        shutil.copy(REVIEWED / f"{operator}.toml", folder / "cases.toml")
        said = subprocess.run(
            [sys.executable, Path(__file__).parent / "judged.py", folder, *files],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT / "profiling")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        found: dict[str, list[str]] = json.loads(said.stdout.splitlines()[-1])
        return found

    return judge


def test_the_good_ones_of_the_review_come_through_and_the_bad_ones_do_not(
    judged: Callable[..., dict[str, list[str]]],
) -> None:
    found = judged("depthwise_conv2d", *sorted(REVIEWED.glob("[bgh]*/*.txt")))
    for name, faults in found.items():
        if name == "g10_inline_asm_libdevice":
            assert faults[0].startswith("interpreter: ")  # a GPU can tell
        elif (name[0] == "b" and name not in BY_SYNTAX_ALONE) or name.startswith("h17"):
            assert faults, name
        else:
            assert faults == [], name
    assert found["b02_keeps_what_the_last_call_left"][0].startswith("second_call: ")
    assert "b19_format_spec_hides_conv" in found
    assert "forward calls aten::convolution of torch" in found["b19_format_spec_hides_conv"][0]


@pytest.mark.parametrize("operator", ["rms_norm", "depthwise_conv2d"])
def test_what_the_linter_leaves_to_the_run_is_found_there(
    operator: str, judged: Callable[..., dict[str, list[str]]]
) -> None:
    expected = {}
    for path in sorted(CANDIDATES.glob("*/*.txt")):
        head = dict(re.findall(r"^# (\w+): (\S+)$", path.read_text(), re.MULTILINE))
        left_to_the_run = head.get("expect", "") in ({*get_args(Criterion)} - {"compiles"})
        if head["operator"] == operator and (path.parent.name == "good" or left_to_the_run):
            expected[path] = head.get("expect", "")
    found = judged(operator, *expected)
    assert {path.stem: (found[path.stem] or [""])[0].partition(":")[0] for path in expected} == {
        path.stem: criterion for path, criterion in expected.items()
    }


def test_an_honest_candidate_is_judged_without_torch_s_compiler(judged: Callable[..., dict[str, list[str]]]) -> None:
    """It would take each process of an evaluation as long to load as torch itself."""
    assert judged("rms_norm", CANDIDATES / "good" / "optional_parameter.txt") == {"optional_parameter": []}


def plan(**parts: object) -> LaunchPlan:
    """Return a plan of a buffer of four float32, with parts of the caller's."""
    whole = Region(0, 0, (4,), (1,), "float32")
    given = {"buffers": (Buffer("fresh", 16),), "steps": (Fill(whole, 1.0),), "results": (Returned("", whole),)}
    return LaunchPlan(**{**given, **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parts",
    [
        {"steps": (Fill(Region(1, 0, (4,), (1,), "float32"), 1.0),)},
        {"steps": (Fill(Region(0, 1, (4,), (1,), "float32"), 1.0),)},
        {"steps": (Fill(Region(0, 0, (2, 2), (3, 1), "float32"), 1.0),)},
        {"steps": (Fill(Region(0, 0, (4,), (1,), "complex64"), 1.0),)},
        {"steps": (Fill(Region(0, 0, (4,), (1, 1), "float32"), 1.0),)},
        {"steps": (Copy(Region(0, 0, (4,), (1,), "float32"), Region(0, 0, (2,), (1,), "float32")),)},
        {"steps": (Launch("kernel", (1,), ()),)},
        {"steps": (Launch("kernel", (1, 1, 1, 1), ()),), "sources": (Source("kernel", "def kernel(): pass", 3),)},
        {"steps": (Launch("kernel", (1,), (), binary=0),)},
        {"results": (Returned("", Region(0, 0, (5,), (1,), "float32")),)},
        {"sources": (Source("__import__", "def f(): pass", 3),)},
    ],
)
def test_a_plan_that_leaves_its_memory_or_names_what_is_not_there_is_refused(parts: dict[str, object]) -> None:
    assert decode(encode(plan())) == plan()
    with pytest.raises(NoPlan):
        decode(encode(plan(**parts)))


@pytest.mark.parametrize(
    "text",
    [
        "def kernel(x):\n    import os\n",
        "def kernel(x):\n    open('a')\n",
        "def kernel(x=(lambda: 1)()):\n    pass\n",
        "def kernel(x):\n    x.__class__\n",
        "def kernel(x):\n    def f():\n        pass\n",
        "def kernel(x):\n    pass\nprint(1)\n",
        "def other(x):\n    pass\n",
        "kernel = 1\n",
        "def kernel(x:\n",
    ],
)
def test_a_kernel_that_is_more_than_a_kernel_is_refused(text: str) -> None:
    launch = Launch("kernel", (1,), ())
    with pytest.raises(NoPlan):
        module_text(plan(steps=(launch,), sources=(Source("kernel", text, 3),)))


def test_kernels_keep_their_lines_and_texts_as_annotations_stay_texts() -> None:
    source = Source("kernel", 'def kernel(x, BLOCK: "tl.constexpr"):\n    pass\n', 9)
    lines = module_text(plan(steps=(Launch("kernel", (1,), ()),), sources=(source,))).split("\n")
    assert lines[7:9] == ["@triton.jit", "def kernel(x, BLOCK: tl.constexpr):"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("triton.runtime.cache.os.system('true')", {"triton": Named("triton")}),
        ("tl.core.inspect.stack()", {"tl": Named("triton.language")}),
        ("tl.sum.fn.f_globals", {"tl": Named("triton.language")}),
        ("kernel.fn.f_globals", {}),
        ("x.handle.data.tofile('a')", {}),
        ("tl.zeros([1], tl.float32)._semantic", {"tl": Named("triton.language")}),
        ("y = tl", {"tl": Named("triton.language")}),
        ("y = tl.core", {"tl": Named("triton.language")}),
        ("os.system('true')", {"os": Named("triton.runtime.cache", "os")}),
        ("interpret()", {"interpret": Named("triton.knobs", "runtime")}),
        ("isinstance(x, int)", {}),
    ],
)
def test_a_kernel_that_reaches_python_through_triton_is_refused(body: str, names: dict[str, Named]) -> None:
    launch = Launch("kernel", (1,), ())
    source = Source("kernel", f"def kernel(x):\n    {body}\n", 3)
    with pytest.raises(NoPlan):
        module_text(plan(steps=(launch,), sources=(source,), names=names))


def test_a_kernel_names_what_is_of_the_language() -> None:
    body = "tl.store(x, libdevice.exp(tl.math.exp(math.pi * triton.cdiv(tl.float32.primitive_bitwidth, 2))))"
    named = {name: name for name in ("math", "triton")}
    named |= {"tl": "triton.language", "libdevice": "triton.language.extra.libdevice"}
    source = Source("kernel", f"def kernel(x):\n    {body}\n", 3)
    names = {name: Named(module) for name, module in named.items()}
    assert body in module_text(plan(steps=(Launch("kernel", (1,), ()),), sources=(source,), names=names))


@pytest.mark.parametrize("given", [Kernel("importlib"), DType("core"), Items((Kernel("triton"),))])
def test_an_argument_that_is_no_kernel_or_dtype_is_refused(given: Argument) -> None:
    launch = Launch("kernel", (1,), (given,))
    with pytest.raises(NoPlan):
        decode(encode(plan(steps=(launch,), sources=(Source("kernel", "def kernel(x):\n    pass\n", 3),))))
