"""`python -m rooflift.lint`: the linter's child; it bounds itself, reads `Asked` and prints the findings, as JSON."""

from __future__ import annotations

import resource
import sys

import msgspec

from rooflift.lint.lint import MEMORY_BYTES, TIME_S, Asked, check_candidate

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(TIME_S), int(TIME_S)))
    found = check_candidate(msgspec.json.decode(sys.stdin.buffer.read(), type=Asked))
    sys.stdout.buffer.write(msgspec.json.encode(found))
