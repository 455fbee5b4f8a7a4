"""Kernel names as people read them: short without losing what tells two kernels apart. Reads no file."""

from __future__ import annotations

import re

LONGEST = 64  # characters in a table
FOLDED = "…"
_RETURNS = re.compile(r"^(void|auto|int|float)\s+(?=[\w:<(~])")
_CAST = re.compile(r"\((?:unsigned |signed )?(?:int|long|long long|bool|char|short|short int|long int)\)(?=-?\w)")
_NUMBER = re.compile(r"\b(\d+)(?:u|ul|ull|l|ll)\b", re.IGNORECASE)
_QUALIFIER = re.compile(r"(?:\b\w+|<unnamed>|\(anonymous namespace\)|\{anonymous\}|`anonymous-namespace')::")
_TAGS = re.compile(r"\[(?:abi:)?v\d+(?:,\w+)*\]")  # of numba: version and a hash of the specialization
_ARGUMENT = re.compile(r"\[(?:lambda|with)[^\]]*\]")


def short_name(name: str, longest: int = LONGEST) -> str:
    """Return a demangled name without return type, parameters and namespaces, template arguments folded to fit.

    >>> short_name("void sgemm::warptiling<(int)128, (int)64>(int, const float *)")
    'warptiling<128, 64>'
    >>> short_name("void Impl::launch<Impl::ParallelFor<work(Config)::[lambda(Team) (instance 1)], Policy>>(T1)", 48)
    'launch<ParallelFor<work::lambda, Policy>>'
    >>> short_name("__main__::saxpy[abi:v1,cw51cXTLSUwv1kAPW1tQ](Array<float, 1, C, mutable, aligned>)")
    'saxpy'
    """
    text = _TAGS.sub("", without_parameters(_RETURNS.sub("", name.strip())))
    text = re.sub(r"\bvoid (?=\w)", "", text)
    text = _ARGUMENT.sub("lambda", _CAST.sub("", text))
    text = re.sub(r"(\w)\([^()<>]*\)::", r"\1::", text)  # the parameters of a function around a lambda
    text = _QUALIFIER.sub(lambda found: found[0] if text[found.end() :].startswith("lambda") else "", text)
    text = re.sub(r"\s+", " ", _NUMBER.sub(r"\1", text)).replace("> >", ">>")
    if len(text) > longest:
        text = _fold(text, 3)
    return text if len(text) <= longest else f"{text[: longest - 1]}{FOLDED}"


def without_parameters(name: str) -> str:
    """Return a demangled name without the parameter list at its end; "operator()" keeps its own."""
    text = name.rstrip()
    text = text.removesuffix(" const")
    if not text.endswith(")"):
        return text
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] == ")") - (text[place] == "(")
        if depth == 0:
            return text[:place] if place and not text[:place].endswith("operator") else text
    return text


def _fold(name: str, deepest: int) -> str:
    """Return a name whose template arguments below a depth are one sign."""
    depth, found = 0, list[str]()
    for sign in name:
        depth -= sign == ">" and depth > 0
        if depth < deepest:
            found.append(sign)
        elif found and found[-1] != FOLDED:
            found.append(FOLDED)
        depth += sign == "<"
    return "".join(found)
