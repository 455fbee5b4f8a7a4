"""What a tool answers: bounded, and lists in pages. A text that is cut says how much is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

TEXT = 12_000  # characters of one text
ITEMS = 60  # of one list inside an answer
WHOLE = 60_000  # characters of an answer
PAGE = 20  # items of a page, unless fewer or more are asked for


def page(items: Sequence[Any], offset: int, limit: int) -> dict[str, Any]:
    """Return a page of a list: items, total, and next_offset, which is null at the end.

    >>> page(["a", "b", "c"], 0, 2)
    {'items': ['a', 'b'], 'total': 3, 'next_offset': 2}
    """
    offset, limit = max(offset, 0), min(max(limit, 1), 100)
    end = offset + limit
    shown = [bounded(item) for item in items[offset:end]]
    return {"items": shown, "total": len(items), "next_offset": end if end < len(items) else None}


def bounded(value: Any) -> Any:
    """Return a value as JSON can hold it, with long texts and lists cut, and a value too large as a whole refused."""
    for items in (ITEMS, 20, 5):
        found = _cut(value, items)
        if len(json.dumps(found)) <= WHOLE:
            return found
    return {"too_long": f"more than {WHOLE:,} characters; ask for a part of it"}


def _cut(value: Any, items: int) -> Any:
    match value:
        case dict():
            return {str(key): _cut(one, items) for key, one in value.items()}
        case list() | tuple():
            shown = [_cut(one, items) for one in value[:items]]
            return [*shown, f"... {len(value) - items} more"] if len(value) > items else shown
        case str():
            return value if len(value) <= TEXT else f"{value[:TEXT]}... {len(value) - TEXT:,} characters more"
        case bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
    return _cut(value.item() if hasattr(value, "item") else str(value), items)
