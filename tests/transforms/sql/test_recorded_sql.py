"""SQL comes out as recorded, and conditions in it keep at least the rows that Arrow keeps."""

from __future__ import annotations

import sqlite3

import pyarrow as pa
from hypothesis import given, settings

from beamsplit.transforms.sql.pushdown import Wider
from beamsplit.transforms.where import bind_where, parse_where
from beamsplit.transforms.where.evaluate import keep_mask
from tests.transforms.sql.recorded_sql import RECORDED, Values
from tests.transforms.where.conditions import FLOATS, INTS, TEXTS, conditions

ROWS = [(i, f, s) for i in INTS for f in FLOATS for s in TEXTS]


def test_each_case_comes_out_as_recorded():
    assert RECORDED.changed() == []


@settings(deadline=None, max_examples=60)
@given(conditions(3))
def test_a_condition_in_sql_keeps_what_arrow_keeps(condition: str):
    block = pa.record_batch(
        {
            "i": pa.array([row[0] for row in ROWS], pa.int64()),
            "f": pa.array([row[1] for row in ROWS], pa.float64()),
            "s": pa.array([row[2] for row in ROWS], pa.string()),
        }
    )
    node = bind_where(parse_where(condition), block.schema)
    values = Values()
    text = Wider(lambda name: (name, True), values, "COLLATE BINARY", None)(node)
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (i INTEGER, f REAL, s TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", ROWS)
        found = connection.execute(
            f"SELECT rowid - 1 FROM t{f' WHERE {text}' if text else ''} ORDER BY 1", values.values
        )
        asked = {row for (row,) in found}
    connection.close()
    kept = {at for at, keep in enumerate(keep_mask(node, block).to_pylist()) if keep}
    assert kept <= asked
    if "like" not in condition:
        assert kept == asked, "all of it can be asked"
