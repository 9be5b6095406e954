"""Views and run-end encoding, read as columns that everything takes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read import ReadOptions, find_files, input_schema
from beamsplit.transforms.read.plain_types import plain_array, plain_schema, plain_type
from beamsplit.transforms.read.splits import make_splits, read_all

LONG = "a text that is longer than a view holds in place"
RUNS = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 5], pa.int32()), pa.array(["a", None, LONG]))
VIEW = pa.string_view()

COLUMNS = [
    pa.array(["a", None, LONG, ""], VIEW),
    pa.array([b"a", None, LONG.encode()], pa.binary_view()),
    pa.array([[1, 2], None, [3], []], pa.list_view(pa.int64())),
    pa.array([[1, 2], None, [3], []], pa.large_list_view(pa.int16())),
    pa.ListViewArray.from_arrays(pa.array([2, 0, 1]), pa.array([1, 2, 2]), pa.array([7, 8, 9])),
    RUNS,
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([LONG, "y"], VIEW)),
    pa.array([{"a": "x", "b": 1}, None, {"a": None, "b": 2}], pa.struct([("a", VIEW), ("b", pa.int64())])),
    pa.array([["x", None], None, [LONG], []], pa.list_(VIEW)),
    pa.array([["x", None], None, [LONG], []], pa.large_list(VIEW)),
    pa.array([["x", None], None, [LONG, "y"]], pa.list_(VIEW, 2)),
    pa.array([[("k", "v")], None, [("z", LONG), ("y", None)]], pa.map_(pa.string(), VIEW)),
    pa.array([[["x"], None], None, [[LONG], []]], pa.list_view(pa.list_view(VIEW))),
    pa.StructArray.from_arrays([RUNS, pa.array(range(5))], ["r", "i"]),
]
PLAIN = [
    pa.array([1, None]),
    pa.array(["a", None]),
    pa.array([[1], None], pa.list_(pa.int64(), 1)),
    pa.array([{"a": [1]}]),
    pa.array(["a", None]).dictionary_encode(),
    pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
def test_values_stay_the_same(column: pa.Array):
    for part in (column, column[1:], column[1:2], column[:0]):
        plain = plain_array(part)
        plain.validate(full=True)
        assert plain.type == plain_type(column.type) != column.type
        assert plain.to_pylist() == part.to_pylist()


@pytest.mark.parametrize("column", PLAIN, ids=lambda column: str(column.type))
def test_other_columns_are_not_touched(column: pa.Array):
    assert plain_array(column) is column
    schema = pa.schema({"c": column.type})
    assert plain_schema(schema) is schema


@pytest.mark.parametrize("ending", ["parquet", "parq", "pq", "arrow", "arrows", "feather"])
def test_files_with_views_are_read(tmp_path, ending):
    table = pa.table({"t": COLUMNS[0][:3], "b": COLUMNS[1], "n": COLUMNS[8][:3], "l": COLUMNS[2][:3]})
    path = tmp_path / f"data.{ending}"
    if ending.startswith("p"):
        pq.write_table(table, path)
    elif ending == "arrows":
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    files = find_files([str(path)])
    format = "parquet" if ending.startswith("p") else "arrow"
    schema = input_schema(files, format)
    assert schema.types == [
        pa.large_string(),
        pa.large_binary(),
        pa.list_(schema.field("n").type.value_field.with_type(pa.large_string())),
        pa.large_list(schema.field("l").type.value_field.with_type(pa.int64())),
    ]
    (result,) = read_all(make_splits(files, format, 1), ReadOptions(schema))
    assert result.block.select(table.column_names).to_pydict() == table.to_pydict()
