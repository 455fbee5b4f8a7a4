"""Tables in Parquet: opened where they are regular files of bounded size, their columns of the types that they say."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rooflift.errors import RunFault
from rooflift.files import read_regular

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 2**30
MOST_ROWS = 20_000_000  # a suite of 500 cases with 12 providers has 300,000 samples
KINDS = {"text": "a text", "whole": "a whole number", "number": "a number"}


def read_parquet(path: Path, columns: Mapping[str, str], *, others: bool = False) -> pd.DataFrame:
    """Return the `columns` of a table, by name each one of KINDS; with `others` what else it holds, too.

    Raises:
        RunFault: it cannot be read, is no table, lacks a column, or one is of another type or lacks a value.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(io.BytesIO(read_regular(path, MOST_BYTES, within=path.parent)))
        if opened.metadata.num_rows > MOST_ROWS:
            what = f"it has {opened.metadata.num_rows:,} rows, of at most {MOST_ROWS:,}"
            raise RunFault(f"{path}: {what}", "Restore the file.")
        lacking = [name for name in columns if name not in opened.schema_arrow.names]
        if lacking:
            raise RunFault(f"{path}: it has no column {', '.join(lacking)}", "Restore the file.")
        table = opened.read(None if others else list(columns))
    except OSError as error:
        raise RunFault(f"{path}: cannot be read: {error.strerror or error}", "Restore the file.") from None
    except (ValueError, pa.ArrowException, MemoryError) as error:
        raise RunFault(f"{path}: cannot be read: {error}", "Restore the file.") from None
    for name, kind in columns.items():
        found = table.schema.field(name).type
        if table.schema.names.count(name) > 1 or not (_is(found, kind) or not table.num_rows):
            raise RunFault(f"{path}: {name} is {found}, not {KINDS[kind]}", "Restore the file.")
        if kind != "number" and table.column(name).null_count:
            raise RunFault(f"{path}: {name} lacks a value", "Restore the file.")
    return table.to_pandas(ignore_metadata=True)


def _is(found: Any, kind: str) -> bool:
    from pyarrow import types

    if kind == "text":
        texts = found.value_type if types.is_dictionary(found) else found
        return bool(types.is_string(texts) or types.is_large_string(texts))
    return bool(types.is_integer(found) or (kind == "number" and types.is_floating(found)))
