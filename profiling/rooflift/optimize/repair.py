"""What an agent is told of a candidate that failed, so that it can repair it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rooflift.escape import bounded, printable
from rooflift.optimize.written import as_data

if TYPE_CHECKING:
    from rooflift.optimize.verdict import NotKept

MOST_ERRORS = 3  # that are told, the last ones
MOST_TEXT = 4000  # characters of one error
MOST_CODE = 40_000  # characters of the candidate


def repair_text(failed: Sequence[NotKept], candidate: str) -> str:
    """Return the part of a prompt that asks for a repair: the failing step, the last errors, the candidate as data.

    Trials run from the smallest input on, so that the first wrong result names the smallest input that fails.
    """
    last = failed[-1]
    lines = ["", "## Repair", "", f"The candidate below failed at {last.at}. Hand in the whole file again, corrected."]
    lines += ["", "Errors, the newest first; a wrong result is that of the smallest input that fails:", ""]
    told = [text for one in reversed(failed) for text in one.why]
    lines += [f"- {' '.join(printable(bounded(text, MOST_TEXT)).split())}" for text in told[:MOST_ERRORS]]
    if len(told) > MOST_ERRORS:
        lines.append(f"- {len(told) - MOST_ERRORS} more errors are left out")
    lines += ["", "The candidate, as data:", "", as_data(bounded(candidate, MOST_CODE)), ""]
    return "\n".join(lines)
