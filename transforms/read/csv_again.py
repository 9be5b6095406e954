"""Lines of a CSV file that have the names of its columns again, as `cat a.csv b.csv` makes them: no rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.read.result import Parsed

REASON = "the names of the columns again, as where files lie behind one another"


def without_names(parsed: Parsed, run: bytes, names: Sequence[str], delimiter: str) -> Parsed:
    """Without rows that are the first line of the file again.

    In a column of numbers such a line is bad anyway; a file of one column may hold a word that is its name.

    Args:
        parsed: what came of the run.
        run: the text of the rows.
        names: the first line of the file.
        delimiter: between cells.
    """
    kinds = parsed.batch.schema.types
    # The types first: looking through the text takes longer.
    if not all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in kinds):
        return parsed
    if len(names) < 2 or not any(mark.join(names).encode() in run for mark in (delimiter, f'"{delimiter}"')):
        return parsed
    again = np.ones(parsed.batch.num_rows, dtype=bool)
    for name, column in zip(parsed.batch.schema.names, parsed.batch.columns, strict=True):
        again &= np.asarray(pc.equal(column, pa.scalar(name, column.type)).fill_null(False))
    if not parsed.batch.num_columns or not again.any():
        return parsed
    return parsed.without(dict.fromkeys(parsed.positions()[again].tolist(), REASON))
