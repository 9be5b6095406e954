"""What tells of rows that were put aside, and errors of those that cannot become a table's."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

NO_COLUMNS = pa.schema([])
"""Of a table that is not there."""


class Aside(NamedTuple):
    """Rows of one bundle."""

    name: str
    """By which they are found: a number, or a file."""

    rows: int
    """How many there are."""


class TableRefused(RuntimeError):
    """A database did not take the rows, and the table is as it was; in one line."""


TABLE = "beamsplit_commits"
"""The table in which a database keeps which jobs have written: their rows are not written again."""

FIXES = {
    "23505": "; --merge_on COLUMN replaces rows of the same key",
    "23503": "; write what it refers to first",
    "23502": "; add it to --keep, or give it a default",
    "42501": "; let its owner grant that",
}
"""SQLSTATE -> what can be done."""

TRIED_AGAIN = ("40001", "40P01", "55P03", "42P07", "42710")
"""SQLSTATEs of what may go well next time: serialisation, deadlock, a lock, two that make the same table."""

ATTEMPTS = 20
"""Commits that are tried where other writers come first."""
