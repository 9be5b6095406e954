"""Keys by which rows of a database's table are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beamsplit.transforms.sql.database import run
from beamsplit.transforms.sql.names import quoted
from beamsplit.transforms.sql.records import TableRefused


def check_merge_keys(connection: Any, staged: str, merge_on: Sequence[str]) -> None:
    """Look whether rows that are put aside can each replace one.

    Args:
        connection: in the transaction that sees them.
        staged: their table, as SQL has it.
        merge_on: columns by which rows are known; none where no rows are replaced.

    Raises:
        TableRefused: a row has no value in one, or several rows have the same.
    """
    for key in merge_on:
        ((nulls,),) = run(connection, f"SELECT count(*) FROM {staged} WHERE {quoted(key)} IS NULL")
        if nulls:
            raise TableRefused(f"--merge_on {key}: {nulls:,} rows have no value in it; give all one")
    keys = ", ".join(map(quoted, merge_on))
    if keys and run(connection, f"SELECT 1 FROM {staged} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"):
        raise TableRefused(
            f"--merge_on {','.join(merge_on)}: several rows have the same; name columns that tell rows apart"
        )
