"""A row that failed, as it leaves a pipeline. No Beam."""

from __future__ import annotations

from typing import NamedTuple


class RowError(NamedTuple):
    """A row that could not be scored.

    >>> RowError("a.parquet", 7, "infer", "null in column 'x'").reason
    "null in column 'x'"
    """

    file: str
    """Where the row came from. In the errors output of a job the file, with `#byte=N` where rows are counted from a
    byte. Of what is no row of a file the row itself, as JSON: its `keep` columns, or all of them."""

    row: int
    """The row's number in the file, or from that byte; else in its batch. From 0."""

    stage: str
    """What failed: `read`, `prepare`, `infer` or `finish`; of a split model with its stage, `infer: stage 2`."""

    reason: str
    """One line, e.g. `"cannot identify image file"`."""
