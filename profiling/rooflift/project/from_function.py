"""An operator of a plain function: reference.py, cases.toml and v0, as text. Nothing runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.dtypes import INPUT_DTYPES
from rooflift.errors import CatalogError
from rooflift.project.operator import RUN
from rooflift.project.plain import Plain, read_function
from rooflift.project.shapes import Dim, Given, Inputs, derive_inputs

ODD = (7, 311)  # sizes of the test case: one after the other, of no block size a multiple
ODD_OF_MANY = (7, 33, 17, 5, 3)
REFERENCES = ("{0}_reference", "{0}_ref", "{0}_torch", "torch_{0}", "ref_{0}", "reference_{0}", "naive_{0}",
              "{0}_naive", "reference", "ref")  # fmt: skip  # names that a module gives the function in plain torch
KNOWN = {  # what torch computes under these names, of one tensor or two
    "softmax": ("torch.softmax({0}, dim=-1)", 1),
    "log_softmax": ("torch.log_softmax({0}, dim=-1)", 1),
    "relu": ("torch.relu({0})", 1),
    "gelu": ("torch.nn.functional.gelu({0})", 1),
    "silu": ("torch.nn.functional.silu({0})", 1),
    "sigmoid": ("torch.sigmoid({0})", 1),
    "tanh": ("torch.tanh({0})", 1),
    "exp": ("torch.exp({0})", 1),
    "add": ("{0} + {1}", 2),
    "mul": ("{0} * {1}", 2),
    "matmul": ("{0} @ {1}", 2),
}


@dataclass(frozen=True, slots=True)
class FromFunction:
    """The files of an operator by name, and what a person should know of how they came about."""

    files: dict[str, str]
    notes: list[str]


def files_of_function(
    source: str, root: Path, *, reference: str | None = None, module: str | None = None
) -> FromFunction:
    """Return the operator of a function, FILE.py:FUNCTION: from its signature, annotations, docstring and calls.

    `reference` names the function in plain torch that defines the right result; without one the function itself where
    it launches no kernel, else one beside it called softmax_reference, torch_softmax or the like, else what torch has
    under its name. With `module`, the dotted name of the file, v0 imports the function instead of copying it.

    Raises:
        CatalogError: the function is not found, its inputs are said nowhere, or nothing defines the right result; the
            remedy is what to write.
    """
    function = read_function(source)
    inputs = derive_inputs(function)
    truth, formula = _reference(function, reference, inputs)
    notes = [f"Shapes: {_shapes(inputs)}; from {inputs.source}. Correct them in cases.toml."]
    if inputs.left:
        notes.append(f"{', '.join(inputs.left)}: left at the default.")
    if formula:
        notes.append(f"reference.py says {formula}, by the function's name: correct it if that is something else.")
    elif truth is not function and not reference:
        notes.append(f"The right result is what {truth.name} of {truth.path} gives.")
    if not module:
        notes.append(f"v0_baseline.py is a copy: what changes in {function.path} later does not reach it.")
    files = {
        "reference.py": _reference_text(function, truth, formula, inputs, root),
        "cases.toml": _cases_text(function, inputs, root),
        "v0_baseline.py": _version_text(function, root, module),
    }
    return FromFunction(files, notes)


def _shapes(inputs: Inputs) -> str:
    shapes = [f"{one.name} ({', '.join(map(str, one.dims))})" for one in inputs.given if one.dims is not None]
    return ", ".join(shapes + [f"{name} = {size}" for name, size in inputs.sizes.items()])


def _place(function: Plain, root: Path) -> str:
    path = function.path.resolve()
    return f"{path.relative_to(root) if path.is_relative_to(root) else path.name}:{function.name}"


def _package(function: Plain, root: Path) -> str:
    path = function.path.resolve()
    return ".".join(path.relative_to(root).parts[:-1]) if path.is_relative_to(root) else ""


def _reference(function: Plain, named: str | None, inputs: Inputs) -> tuple[Plain, str]:
    """Return the function that defines the right result, or the function itself and an expression of torch."""
    if named:
        found = function.beside(named) or read_function(named)
        return _fitting(found, inputs), ""
    if not function.launches:
        return function, ""
    for form in REFERENCES:
        beside = function.beside(form.format(function.name))
        if beside is not None and not beside.launches and _fits(beside, inputs):
            return beside, ""
    names = [one.name for one in inputs.given]
    bare = function.name.removeprefix("triton_").removesuffix("_triton")
    near = [known for known, (_, tensors) in KNOWN.items() if f"_{known}_" in f"_{bare}_" and tensors == len(names)]
    formula = KNOWN[max(near, key=len)][0].format(*names) if near else "..."
    if bare in near:
        return function, formula
    arguments = ", ".join(names)
    where = f"{function.path}:{function.node.lineno}"
    raise CatalogError(
        f"{where}: {function.name} launches kernels, and nothing says in plain torch what is right",
        f"Write it beside, in plain torch, and run this again:\n  def {function.name}_reference({arguments}):\n"
        f"      return {formula}\n  Or name a function of that kind with --reference FILE.py:FUNCTION.",
    )


def _fits(function: Plain, inputs: Inputs) -> bool:
    required = sum(not one.has_default for one in function.parameters)
    return required <= len(inputs.given) <= len(function.parameters)


def _fitting(function: Plain, inputs: Inputs) -> Plain:
    if not _fits(function, inputs):
        remedy = f"It must take {', '.join(one.name for one in inputs.given)}, as the function does."
        raise CatalogError(f"{function.path}:{function.node.lineno}: {function.name} takes other arguments", remedy)
    return function


def _reference_text(function: Plain, truth: Plain, formula: str, inputs: Inputs, root: Path) -> str:
    names = ", ".join(one.name for one in inputs.given)
    call = ", ".join(f"{one.name}={one.name}" if one.keyword else one.name for one in inputs.given)
    made = ", ".join(_made(one, inputs.sizes) for one in inputs.given)
    text = "" if formula else truth.text(_package(truth, root))
    lines = text.splitlines()
    future = "from __future__ import annotations\n\n" * ("from __future__ import annotations" in lines)
    lines = [line for line in lines if line not in ("import torch", "from __future__ import annotations")]
    body = "\n".join(lines).strip()
    what = formula or f"{truth.name}({call})"
    head = f'"""What {function.name} computes, in plain PyTorch: the definition of a right result."""\n\n{future}'
    model = (
        "class Model(torch.nn.Module):\n"
        f"    def forward(self, {names}):\n"
        f"        return {what}\n\n\n"
        f"def get_inputs():\n    return [{made}]\n\n\ndef get_init_inputs():\n    return []\n"
    )
    return f"{head}import torch\n" + (f"{body}\n\n\n" if body else "\n\n") + model


def _made(one: Given, sizes: Mapping[str, int]) -> str:
    if one.dims is None:
        return repr(one.value)
    shape = ", ".join(str(sizes.get(str(dim), dim)) for dim in one.dims)
    dtype = f", dtype=torch.{one.dtype}" if one.dtype else ""
    if INPUT_DTYPES.get(one.dtype) == "integer":
        return f"torch.randint({sizes.get(str(one.high), one.high or 0)}, ({shape},){dtype})"
    return f"torch.randn({shape}{dtype})"


def _cases_text(function: Plain, inputs: Inputs, root: Path) -> str:
    entries = ", ".join(_entry(one, bool(inputs.dtypes)) for one in inputs.given)
    odd = dict(zip(inputs.sizes, ODD if len(inputs.sizes) <= len(ODD) else 9 * ODD_OF_MANY, strict=False))
    if not inputs.sizes or len(inputs.sizes) == 1:
        odd = dict.fromkeys(inputs.sizes, ODD[1])
    dtypes = [f"dtypes = [{', '.join(map(_quoted, inputs.dtypes))}]"] if inputs.dtypes else []
    lines = [f"# made of {_place(function, root)}; shapes from {inputs.source}", ""]
    for name, sizes, use in (("main", dict(inputs.sizes), "bench"), ("odd", odd, "test")):
        own = ", ".join(f"{key} = {value}" for key, value in sizes.items())
        lines += [f"[{name}]", *([f"sizes = {{ {own} }}"] if own else []), f"inputs = [{entries}]", f'use = ["{use}"]']
        lines += [*dtypes, ""]
    return "\n".join(lines)


def _entry(one: Given, same_dtype: bool) -> str:
    """Return an input as cases.toml has it; a dtype that all cases have is not said again."""
    if one.dims is None:
        return f'{{ value = "{one.value}" }}' if isinstance(one.value, str) else repr(one.value).lower()
    shape = f"[{', '.join(map(_size, one.dims))}]"
    integer = INPUT_DTYPES.get(one.dtype) == "integer"
    if integer and one.high is not None:
        return f'{{ shape = {shape}, dtype = "{one.dtype}", values = "integers", high = {_size(one.high)} }}'
    if one.dtype and (integer or not same_dtype):
        return f'{{ shape = {shape}, dtype = "{one.dtype}" }}'
    return shape


def _size(dim: Dim) -> str:
    return _quoted(dim) if isinstance(dim, str) else str(dim)


def _quoted(word: str) -> str:
    return f'"{word}"'


def _version_text(function: Plain, root: Path, module: str | None) -> str:
    by_torch = not function.launches
    title = (
        f"{function.name} by torch: what every kernel has to beat." if by_torch else f"{function.name} as it stands."
    )
    header = f'"""{title}\n\n{_fields(_place(function, root))}"""\n\n'
    alias = f"\n\n{RUN} = {function.name}\n" if function.name != RUN else ""
    if module:
        name = function.name if function.name == RUN else f"{function.name} as {RUN}"
        return f"{header}from {module} import {name}\n"
    return header + function.text(_package(function, root)) + alias


def _fields(place: str) -> str:
    parts: Sequence[tuple[str, str]] = (
        ("Stage", "baseline"),
        ("Change", f"none: {place}."),
        ("Why", "what the ladder starts from."),
        ("Expect", "none"),
    )
    return "".join(f"{name + ':':<8} {text}\n" for name, text in parts)
