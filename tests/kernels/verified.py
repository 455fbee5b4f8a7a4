"""Which versions have passed in Triton's interpreter as they stand: read by the tests, written by `make verified`.

verified.json holds one digest a version, of what makes its result: its file, the operator's reference and cases, and
the releases of torch and triton. While the digest is the same, nothing is interpreted again. The code that checks has
tests of its own, `pytest --slow` interprets the newest version of each ladder, and without the file everything is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import pytest

from rooflift.project.operator import Operator, Version, load_operator, operator_names

CHECKOUT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("verified.json")
TESTS = Path(__file__).with_name("test_interpreter.py")
TESTS_A_VERSION = 2  # of that file
PASSED = "version that passed"  # what a test says of a version

Listed = list[tuple[Operator, Version]]


class Passed:
    """A plugin of pytest that writes down each version as soon as it has passed every test there is of it."""

    def __init__(self, versions: Listed) -> None:
        # as they are before they are interpreted: one that is edited meanwhile has not passed
        self.digests = {version_id(operator, version): digest(operator, version) for operator, version in versions}
        self.tests: defaultdict[str, set[str]] = defaultdict(set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the versions of which a test says that they passed it, also where another version did not."""
        versions = [str(name) for what, name in report.user_properties if what == PASSED]
        if report.when != "call" or not versions:
            return
        for version in versions:
            self.tests[version].add(report.nodeid.partition("[")[0])
        self.record()

    def record(self) -> None:
        """Write down what passed, keep what still holds, and drop the rest."""
        before = recorded()
        good = {
            name: now
            for name, now in self.digests.items()
            if now == before.get(name) or len(self.tests[name]) == TESTS_A_VERSION
        }
        whole = RECORD.with_suffix(".new")  # tests beside this read the record
        whole.write_text(json.dumps(good, indent=2) + "\n", encoding="utf-8")
        whole.replace(RECORD)


def version_id(operator: Operator, version: Version) -> str:
    """Return the name of a version among all of the project, such as depthwise_conv2d/large_filter-v1_tiles."""
    return f"{operator.label}-{version.name}"


def digest(operator: Operator, version: Version) -> str:
    """Return the sha256 of what makes a version's result in the interpreter."""
    whole = hashlib.sha256()
    files = [version.path, operator.reference, operator.reference.with_name("cases.toml")]
    for data in [path.read_bytes() for path in files] + [releases().encode()]:
        whole.update(hashlib.sha256(data).digest())
    return whole.hexdigest()


def releases() -> str:
    """Return the releases of torch and triton, without the part that names a build."""
    return " ".join(f"{name} {metadata.version(name).partition('+')[0]}" for name in ("torch", "triton"))


def every_version() -> Listed:
    """Return every version of the project with its operator."""
    operators = [load_operator(CHECKOUT, name) for name in operator_names(CHECKOUT)]
    return [(operator, version) for operator in operators for version in operator.versions]


def verified(operator: Operator, version: Version) -> bool:
    """Tell whether the record says that this version passed exactly as it stands."""
    return recorded().get(version_id(operator, version)) == digest(operator, version)


def recorded() -> dict[str, str]:
    """Return the digest of each version that passed, by its id."""
    found: dict[str, str] = json.loads(RECORD.read_bytes()) if RECORD.exists() else {}
    return found


def main(*options: str) -> int:
    """Interpret the versions whose digest is new, record those that pass, and return pytest's exit code."""
    passed = Passed(every_version())
    code = int(
        pytest.main([str(TESTS), "-n", "auto", "--dist", "loadgroup", "--timeout", "0", *options], plugins=[passed])
    )
    passed.record()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
