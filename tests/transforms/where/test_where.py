"""`--where`: texts to nodes, nodes to masks; SQLite says what is right where it has the types."""

from __future__ import annotations

import datetime
import sqlite3
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import InputFile, ReadOptions, read_all, slice_split, split_file
from beamsplit.transforms.where import bind_where, columns_of, parse_where
from beamsplit.transforms.where.evaluate import keep_mask
from tests.transforms.where.conditions import FLOATS, INTS, TEXTS, conditions


def kept(text: str, block: pa.RecordBatch) -> list[int]:
    """The numbers of the rows that are kept."""
    mask = keep_mask(bind_where(parse_where(text), block.schema), block)
    return [at for at, keep in enumerate(mask.to_pylist()) if keep]


def rows_of(values: Any, kind: pa.DataType) -> pa.RecordBatch:
    return pa.record_batch({"x": pa.array(values, kind)})


@settings(max_examples=200, deadline=None)
@given(conditions(), st.integers(0, 2**32 - 1))
def test_rows_are_kept_as_sqlite_keeps_them(tmp_path_factory: Any, text: str, seed: int):
    rng = np.random.default_rng(seed)
    columns = {
        name: [values[at] for at in rng.integers(0, len(values), 24)]
        for name, values in (("i", INTS), ("f", FLOATS), ("s", TEXTS))
    }
    # Sorted, so that row groups can be left out.
    columns["i"].sort(key=lambda value: (value is None, value))
    table = pa.table(
        {"i": pa.array(columns["i"], pa.int32()), "f": columns["f"], "s": pa.array(columns["s"], pa.string())}
    )
    with sqlite3.connect(":memory:") as db:
        db.execute("pragma case_sensitive_like = on")
        db.execute("create table t (n integer, i integer, f real, s text)")
        rows = zip(range(24), columns["i"], columns["f"], columns["s"], strict=True)
        db.executemany("insert into t values (?, ?, ?, ?)", list(rows))
        wanted = [n for (n,) in db.execute(f"select n from t where {text} order by n")]
    assert kept(text, table.to_batches()[0]) == wanted
    path = tmp_path_factory.mktemp("where") / "t.parquet"
    pq.write_table(table.append_column("n", pa.array(range(24))), path, row_group_size=4)
    where = bind_where(parse_where(text), table.schema)
    options = ReadOptions(pq.read_schema(path), ("n",), where=where)
    (split,) = split_file(InputFile(str(path), 1 << 20), 0, "parquet", 1 << 30)
    results = list(read_all([slice_split(split, 0, 10), slice_split(split, 10, 24)], options))
    blocks = [result.block for result in results if result.block is not None]
    assert [n for block in blocks for n in block["n"].to_pylist()] == wanted
    assert [n for block in blocks for n in block["_origin_row"].to_pylist()] == wanted
    assert len(wanted) + sum(result.left_out for result in results) == 24
    assert all(block.schema == options.block_schema for block in blocks)


DAYS = [datetime.date(2026, 10, 31), datetime.date(2026, 11, 1), datetime.date(2026, 11, 2), None]
MOMENTS = [datetime.datetime(2026, 11, 1), datetime.datetime(2026, 11, 1, 12, 30, 0, 5), None]
SUMS = [Decimal("-1.25"), Decimal("0.00"), Decimal("9.99"), None]


@pytest.mark.parametrize(
    ("values", "kind", "text", "rows"),
    [
        (DAYS, pa.date32(), "x >= '2026-11-01'", [1, 2]),
        (DAYS, pa.date64(), "x = date '2026-11-01'", [1]),
        (DAYS, pa.date32(), "x > '2026-11-01 12:00:00'", [2]),
        (DAYS, pa.date32(), "x = '2026-11-01 12:00:00'", []),
        (DAYS, pa.date32(), "x not in ('2026-11-01', '2026-10-31')", [2]),
        (DAYS, pa.date32(), "x < '9999-12-31'", [0, 1, 2]),
        (MOMENTS, pa.timestamp("us"), "x > '2026-11-01'", [1]),
        (MOMENTS, pa.timestamp("us"), "x = timestamp '2026-11-01 12:30:00.000005'", [1]),
        (MOMENTS, pa.timestamp("us"), "x < '2026-11-01 12:30:00.0000051'", [0, 1]),
        (MOMENTS, pa.timestamp("ms"), "x >= '0001-01-01'", [0, 1]),
        (MOMENTS, pa.timestamp("ns"), "x < '9000-01-01'", [0, 1]),
        (MOMENTS, pa.timestamp("us", "UTC"), "x >= '2026-11-01 12:00:00'", [1]),
        (MOMENTS, pa.timestamp("us", "Europe/Berlin"), "x = '2026-11-01 01:00:00+01:00'", [0]),
        ([1, 2, None], pa.time64("us"), "x < '00:00:01'", [0, 1]),
        (SUMS, pa.decimal128(10, 2), "x > 0", [2]),
        (SUMS, pa.decimal128(10, 2), "x <= -1.245", [0]),
        (SUMS, pa.decimal128(10, 2), "x between -1.25 and 9.989", [0, 1]),
        (SUMS, pa.decimal128(10, 2), "x != 9.991", [0, 1, 2]),
        (SUMS, pa.decimal128(10, 2), "x < 1e30", [0, 1, 2]),
        ([1, 100, None], pa.int8(), "x < 300", [0, 1]),
        ([1, 100, None], pa.int8(), "not x > 300", [0, 1]),
        ([1, 2**64 - 1], pa.uint64(), "x > 18446744073709551614", [1]),
        ([1, 2**64 - 1], pa.uint64(), "x >= -1", [0, 1]),
        ([2**53, 2**53 + 1], pa.int64(), "x = 9007199254740993", [1]),
        ([0.1, 0.5], pa.float32(), "x = 0.1", []),
        ([0.1, 0.5], pa.float32(), "x >= 0.5", [1]),
        ([float("nan"), 1.0, None], pa.float64(), "x < 5", [1]),
        ([float("nan"), 1.0, None], pa.float64(), "not x < 5", [0]),
        ([float("nan"), 1.0, None], pa.float64(), "x != 1", [0]),
        ([float("nan"), 1.0, None], pa.float64(), "isnan(x)", [0]),
        ([1.0, 2.0], pa.float16(), "x > 1.5", [1]),
        ([True, False, None], pa.bool_(), "x", [0]),
        ([True, False, None], pa.bool_(), "not x", [1]),
        ([True, False, None], pa.bool_(), "x = false", [1]),
        ([True, False, None], pa.bool_(), "x is not true", [1, 2]),
        (["a", "Ab", None], pa.dictionary(pa.int32(), pa.string()), "x = 'a' or x ilike 'aB'", [0, 1]),
        (["a", "b", None], pa.large_string(), "x > 'a'", [1]),
        (["a", "b", None], pa.string_view(), "x in ('a')", [0]),
        ([[1], None], pa.list_(pa.int64()), "x is not null", [0]),
        ([None, None], pa.null(), "x > 3 or x is null", [0, 1]),
    ],
)
def test_values_of_every_type_are_compared_exactly(values, kind, text, rows, tmp_path):
    block = rows_of(values, kind)
    assert kept(text, block) == rows
    if not pa.types.is_null(kind) and not pa.types.is_float16(kind):
        # Each value in a row group of its own: none that holds a wanted row is left out.
        path = tmp_path / "x.parquet"
        pq.write_table(pa.Table.from_batches([block]), path, row_group_size=1)
        schema = pq.read_schema(path)
        (split,) = split_file(InputFile(str(path), 1 << 20), 0, "parquet", 1 << 30)
        where = bind_where(parse_where(text), schema)
        results = list(read_all([split], ReadOptions(schema, where=where)))
        found = [
            row for result in results if result.block is not None for row in result.block["_origin_row"].to_pylist()
        ]
        assert found == rows
        assert sum(result.left_out for result in results) == len(values) - len(rows)


def test_row_groups_without_such_rows_are_not_decoded(tmp_path, monkeypatch):
    from beamsplit.transforms.read import parquet

    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": range(100), "y": range(100)}), path, row_group_size=10)
    seen = []
    read = parquet._read_rows
    monkeypatch.setattr(parquet, "_read_rows", lambda *given: seen.append(given[0].group) or read(*given))
    schema = pq.read_schema(path)
    (split,) = split_file(InputFile(str(path), 1 << 20), 0, "parquet", 1 << 30)
    where = bind_where(parse_where("x >= 35 and not x > 52 or x = 99"), schema)
    list(read_all([split], ReadOptions(schema, ("y",), where=where)))
    assert seen == [3, 4, 5, 9]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a =", "is not understood: "),
        ("a >>> 3", "understood: Required keyword: 'expression' missing for BitwiseRightShift at character"),
        ("a = 1; drop table t", "is not one condition"),
        ("a + 1 > 3", "'a + 1 > 3' compares no column with a value"),
        ("a = b", "'b' is a column where a value is wanted: a text goes in single quotes"),
        ('a = "b"', "a text goes in single quotes"),
        ("a = null", "type 'is null'"),
        ("a in (select 1)", "is not offered"),
        ("a between symmetric 1 and 2", "is not offered"),
        ("lower(a) = 'x'", "compares no column with a value"),
        ("a = 0x1F", "is no condition on a column"),
        ("1 = 1", "compares no column with a value"),
        ("true", "is no condition on a column"),
        ("not " * 200 + "a", "too many conditions in one another"),
        ("(" * 5000 + "a" + ")" * 5000, "is not understood"),
        ("a > now()", "stands where a value is wanted"),
    ],
)
def test_what_is_no_condition_is_told_in_a_line(text, why):
    with pytest.raises(UsageError) as error:
        parse_where(text)
    assert why in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("z = 1", "names the column 'z', and the data has the columns i, s, t, d, b, l, tz, f; name one of them"),
        ("i = '3'", "'i' is int64, and '3' is no number: leave the quotes out"),
        ("s = 3", "'s' is string, and 3 is no text: type '3'"),
        ("t > 'yesterday'", "'t' is timestamp[us], and 'yesterday' is no date or time such as '2026-11-01'"),
        ("t > '2026-11-01 00:00:00Z'", "has a time zone, which the column has not: leave it out"),
        ("tz > '2026-11-01'", "says no time zone: type e.g. '2026-11-01 00:00:00+00:00'"),
        ("d > 5", "5 is no date or time"),
        ("b > true", "> is for what has an order"),
        ("i", "i alone is no condition: compare it with a value"),
        ("l = 1", "only 'is null' and 'is not null' are asked of it"),
        ("i like 'a%'", "like is for texts"),
        ("f = 9007199254740993", "is a whole number that no float64 holds"),
    ],
)
def test_what_does_not_go_with_the_columns_is_told_in_a_line(text, why):
    kinds = {
        "i": pa.int64(),
        "s": pa.string(),
        "t": pa.timestamp("us"),
        "d": pa.date32(),
        "b": pa.bool_(),
        "l": pa.list_(pa.int64()),
        "tz": pa.timestamp("us", "Europe/Berlin"),
        "f": pa.float64(),
    }
    with pytest.raises(UsageError) as error:
        bind_where(parse_where(text), pa.schema(list(kinds.items())))
    assert why in str(error.value) and "\n" not in str(error.value)


def test_names_of_columns_may_be_anything():
    text = '"last, first" = 1 and order > 2 and a.b in (3) and date is null and "a""b" < 4'
    assert columns_of(parse_where(text)) == ("last, first", "order", "a.b", "date", 'a"b')


def test_a_thousand_parts_are_one_condition():
    assert kept(" or ".join(f"x = {at}" for at in range(1000)), rows_of([5, 1000], pa.int64())) == [0]
