"""The names of the columns once more between rows are no row."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beamsplit.transforms.read.csv_again import REASON, without_names
from beamsplit.transforms.read.result import Parsed


def parsed(rows: list[tuple[str | None, ...]], names: tuple[str, ...] = ("a", "b"), bad: dict[int, str] | None = None):
    columns = [pa.array(list(column), pa.string()) for column in zip(*rows, strict=True)]
    return Parsed(pa.RecordBatch.from_arrays(columns, list(names)), len(rows) + len(bad or {}), bad or {})


def text(rows: list[tuple[str | None, ...]], delimiter: str = ",") -> bytes:
    return "\n".join(delimiter.join(cell or "" for cell in row) for row in rows).encode()


ROWS = [("1", "x"), ("a", "b"), (None, "b"), ("a", "y"), ("b", "a"), ("a", "b")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_lines_that_are_the_first_one_again_fail(delimiter: str):
    found = without_names(parsed(ROWS), text(ROWS, delimiter), ("a", "b"), delimiter)
    assert found.bad == {1: REASON, 5: REASON}
    assert found.batch.to_pylist() == [{"a": a, "b": b} for a, b in ROWS if (a, b) != ("a", "b")]


def test_they_are_numbered_behind_rows_that_failed_before():
    found = without_names(parsed(ROWS, bad={0: "short", 2: "long"}), text(ROWS), ("a", "b"), ",")
    # 0 and 2 have failed: the six rows are 1, 3, 4, 5, 6, 7.
    assert found.bad == {0: "short", 2: "long", 3: REASON, 7: REASON}


def test_in_quotes_too():
    found = without_names(parsed(ROWS), b'"1","x"\n"a","b"\n', ("a", "b"), ",")
    assert set(found.bad) == {1, 5}


@pytest.mark.parametrize(
    ("given", "run", "names"),
    [
        # No line of the text has the names side by side: it is not looked through.
        (parsed(ROWS), text([("1", "x")]), ("a", "b")),
        (parsed([("1", "x"), ("a", "y")]), b"1,x\na,b\n", ("a", "b")),
        # A word that is the only column's name may be a value.
        (parsed([("a",), ("1",)], ("a",)), b"a\n1\n", ("a",)),
        # In a column of numbers such a line is bad anyway.
        (Parsed(pa.record_batch({"a": ["a"], "b": [1]}), 1), b"a,b\n", ("a", "b")),
        # Nothing is read of its columns.
        (Parsed(pa.RecordBatch.from_struct_array(pa.array([{}], pa.struct([]))), 1), b"a,b\n", ("a", "b")),
    ],
)
def test_what_is_something_else_stays_as_it_is(given: Parsed, run: bytes, names: tuple[str, ...]):
    assert without_names(given, run, names, ",") is given
