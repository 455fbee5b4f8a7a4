"""The header of a version file: parsed from the docstring, never imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CatalogError

FIELDS = ("Stage", "Change", "Why", "Expect")
_FIELD = re.compile(r"^(?P<name>[A-Z][a-z]+):\s*(?P<text>.*)$")
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_PREDICTION = re.compile(
    rf"^(?:(?P<case>\w+)(?:/(?P<dtype>\w+))?:\s*)?"
    rf"(?P<metric>[a-z][a-z0-9_]*)\s*(?:(?P<op><=|>=|<|>)\s*(?P<bound>{_NUMBER})"
    rf"|(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER}))$"
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One checkable expectation: `low <= metric <= high`, bounds strict after `<` and `>`.

    `case` and `dtype` say where it holds; "" stands for the case that the ladder is about, and for the first dtype in
    which the metrics of the case are collected.
    """

    metric: str
    low: float
    high: float
    strict: bool
    text: str
    case: str = ""
    dtype: str = ""

    def holds(self, value: float) -> bool:
        """Tell whether a measured value meets the prediction."""
        return self.low < value < self.high if self.strict else self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Header:
    """What a version's author wrote before the measurement."""

    title: str
    stage: str
    change: str
    why: str
    expect: tuple[Prediction, ...]


def parse_prediction(text: str) -> Prediction:
    """Parse `metric 0.40..0.55`, `metric < 60` or `metric >= 60`, with or without its case in front.

    >>> parse_prediction("k7_56/float16: time_x 0.65..0.80").case
    'k7_56'

    Raises:
        ValueError: the text is none of these, or its range is upside down.
    """
    match = _PREDICTION.match(text.strip())
    if match is None:
        raise ValueError(
            f"{text.strip()!r} is not of the form `metric low..high`, `metric < number`, `metric > number`,"
            " or one of them behind `case/dtype:`"
        )
    op, inf = match["op"], float("inf")
    if op is None:
        low, high = float(match["low"]), float(match["high"])
        if low > high:
            raise ValueError(f"{text.strip()!r}: the range ends below its start")
    elif op.startswith("<"):
        low, high = -inf, float(match["bound"])
    else:
        low, high = float(match["bound"]), inf
    case, dtype = match["case"] or "", match["dtype"] or ""
    return Prediction(match["metric"], low, high, op in ("<", ">"), text.strip(), case, dtype)


def parse_header(tree: ast.Module, path: Path) -> Header:
    """Read the header from a module's docstring.

    Raises:
        CatalogError: no docstring, a field is missing, unknown or empty, or a prediction cannot be read; with the line.
    """
    node = tree.body[0] if tree.body else None
    docstring = ast.get_docstring(tree, clean=False)
    if node is None or docstring is None:
        raise _fault(path, 1, "no header: the file must open with a docstring")
    title, *lines = docstring.splitlines() or [""]
    if not title.strip():
        raise _fault(path, node.lineno, "the first line is the title, and it is empty")
    fields = _fields(lines, path, node.lineno + 1)
    for name in FIELDS:
        line, text = fields.get(name, (node.lineno, ""))
        if not text:
            raise _fault(path, line, f"field {name!r} is missing or empty")
    stage, change, why = (" ".join(fields[name][1].split()) for name in ("Stage", "Change", "Why"))
    return Header(title.strip(), stage, change, why, tuple(_predictions(*fields["Expect"], path)))


def _predictions(line: int, expect: str, path: Path) -> Iterator[Prediction]:
    for text in expect.split(",") if expect != "none" else ():
        begins = line + text[: len(text) - len(text.lstrip())].count("\n")
        try:
            yield parse_prediction(" ".join(text.split()))
        except ValueError as error:
            raise _fault(path, begins, f"Expect: {error}") from None
        line += text.count("\n")


def _fields(lines: list[str], path: Path, first_line: int) -> dict[str, tuple[int, str]]:
    """Return each field's first line with text and that text; a line that opens no field continues the one above."""
    fields: dict[str, tuple[int, str]] = {}
    current = ""
    for number, line in enumerate(lines, start=first_line):
        match = _FIELD.match(line)
        if match:
            current = match["name"]
            if current not in FIELDS or current in fields:
                raise _fault(path, number, f"field {current!r} {'stands twice' if current in fields else 'is unknown'}")
            fields[current] = (number, match["text"].strip())
        elif line.strip() and not current:
            raise _fault(path, number, "text before the first field; the title is one line")
        elif current:
            opened, text = fields[current]
            fields[current] = (opened, f"{text}\n{line.strip()}") if text else (number, line.strip())
    return {name: (opened, text.rstrip()) for name, (opened, text) in fields.items()}


def _fault(path: Path, line: int, what: str) -> CatalogError:
    fields = ", ".join(f"{name}:" for name in FIELDS)
    return CatalogError(
        f"{path}:{line}: {what}",
        f"A header is a docstring: a title line, a blank line, then {fields} ('none' is legal).",
    )
