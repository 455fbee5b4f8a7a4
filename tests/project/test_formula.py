"""Formulas of cases.toml are arithmetic and nothing else."""

from __future__ import annotations

import pytest

from rooflift.errors import CatalogError
from rooflift.project.formula import evaluate, whole

SIZES = {"B": 4, "H": 32, "S": 4096, "D": 128, "mode": "same", "causal": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4*B*H*S*S*D/2", 549755813888),
        ("2*S**2 - S % 5 + -B", 2 * 4096**2 - 1 - 4),
        ("cdiv(S + 1, 128) + (S + 1) // 128", 33 + 32),
        ("max(B, H, 7) + min(B, H) + ceil(B / 3) + log2(S)", 32 + 4 + 2 + 12),
        (12, 12),
        ("B * causal", 4),
    ],
)
def test_a_formula_has_the_value_of_its_arithmetic(text: str | int, value: float) -> None:
    assert evaluate(text, SIZES) == value


def test_sizes_stay_exact_integers() -> None:
    assert whole("S**5 + 1", SIZES) == 4096**5 + 1  # a float has no such number
    assert isinstance(whole("S / 2", SIZES), int)
    for text in ("S / 3", "B - S"):
        with pytest.raises(CatalogError, match="whole number"):
            whole(text, SIZES)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "S.real",
        "S twice",
        "[S][0]",
        "(lambda: 1)()",
        "'x' * 9",
        "S if B else H",
        "S < B",
        "open('x')",
        "max(S, key=abs)",
        "min(*B)",
        "S << 2",
        "9**9**9**9",
        "2**200",
        "1/0",
        "1e308*10",
        "(-1)**0.5",
        "log2(0)",
        "mode",
        "mode * 2",
        "True",
        "",
        "max()",
        "(" * 300 + "1" + ")" * 300,
        "-" * 499 + "1" + "+" * 99,
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(CatalogError):
        evaluate(text, SIZES)


def test_an_unknown_name_is_told_with_its_neighbours() -> None:
    with pytest.raises(CatalogError, match=r"'2\*heads': no number is named 'heads' here\nDid you mean head\?"):
        evaluate("2*heads", {"head": 3})
