"""Whatever moment `profile`, `compare` and `optimize` are killed at: every run that is shown is whole, and the next
call goes on. `make reliability` kills them more often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KILLING = Path(__file__).parent / "killing.py"
KILLS = {"profile": 45, "compare": 25, "optimize": 25}  # `make reliability` kills each 150 times


@pytest.mark.timeout(900)  # about half a minute on two cores that have nothing else to do
@pytest.mark.parametrize("command", KILLS)
def test_killed_command_leaves_whole_runs_and_is_taken_up(command: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(KILLING), command, str(KILLS[command]), "1"],
        env={**os.environ, "PYTHONPATH": str(KILLING.parents[1] / "profiling")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["wrong"] == []
    assert found["kills"] >= KILLS[command]
    assert found["resumed"] > 0 or command == "optimize"  # of a loop the journal takes up most
