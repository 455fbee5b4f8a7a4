"""Which versions have passed in Triton's interpreter as they stand: read by the tests, written by `make verified`.

verified.json holds one digest a version, of all that its result rests on: its file, the operator's reference and cases,
the code that checks, and the releases of torch and triton. While the digest is the same, so is the result, and nothing
is interpreted again. `pytest --slow` interprets everything and trusts no digest.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path

import pytest

from rooflift.project.operator import Operator, Version, load_operator, operator_names

CHECKOUT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("verified.json")
WORKER = CHECKOUT / "profiling" / "rooflift" / "worker"
CHECKING = [WORKER / f"{name}.py" for name in ("correctness", "tensors", "interpreter")]
TESTS = [Path(__file__).with_name(name) for name in ("test_interpreter.py", "unusual_inputs.py")]


def digest(operator: Operator, version: Version) -> str:
    """Return the sha256 of what a version's result in the interpreter rests on."""
    whole = hashlib.sha256()
    files = [version.path, operator.reference, operator.reference.with_name("cases.toml"), *CHECKING, *TESTS]
    for data in [path.read_bytes() for path in files] + [releases().encode()]:
        whole.update(hashlib.sha256(data).digest())
    return whole.hexdigest()


def releases() -> str:
    """Return the releases of torch and triton, without the part that names a build."""
    return " ".join(f"{name} {metadata.version(name).partition('+')[0]}" for name in ("torch", "triton"))


def every_version() -> list[tuple[Operator, Version]]:
    """Return every version of the project with its operator."""
    operators = [load_operator(CHECKOUT, name) for name in operator_names(CHECKOUT)]
    return [(operator, version) for operator in operators for version in operator.versions]


def verified(operator: Operator, version: Version) -> bool:
    """Tell whether the record says that this version passed exactly as it stands."""
    return recorded().get(version.path.relative_to(CHECKOUT).as_posix()) == digest(operator, version)


def recorded() -> dict[str, str]:
    """Return the digest of each version that passed, by its path."""
    found: dict[str, str] = json.loads(RECORD.read_bytes()) if RECORD.exists() else {}
    return found


def main() -> int:
    """Interpret the versions whose digest is new, and record all when they pass; return pytest's exit code."""
    code = int(pytest.main([str(TESTS[0]), "-n", "auto", *sys.argv[1:]]))
    if code == 0:
        now = {v.path.relative_to(CHECKOUT).as_posix(): digest(o, v) for o, v in every_version()}
        RECORD.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
