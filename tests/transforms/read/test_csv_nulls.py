"""Cells of CSV that are null, and where they are looked for."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beamsplit.transforms.read.csv_cells import null_cells, parse

SCHEMA = pa.schema([("x", pa.float32()), ("k", pa.int64()), ("t", pa.string())])


def test_all_but_the_empty_one_have_the_letter_that_they_are_looked_for_by():
    assert [cell for cell in null_cells(floats=True) if "n" not in cell.lower()] == [""]


@pytest.mark.parametrize("beside", ["", "1.5,2,n\n"])
@pytest.mark.parametrize("cell", null_cells(floats=True))
def test_they_are_null_in_columns_of_numbers(cell: str, beside: str):
    run = f"{beside}{cell},{cell},{cell}\n0.5,,\n".encode()
    rows = parse(run, SCHEMA.names, SCHEMA)
    assert not rows.bad
    text = cell or None
    assert rows.batch.to_pylist()[-2:] == [{"x": None, "k": None, "t": text}, {"x": 0.5, "k": None, "t": None}]
