from __future__ import annotations

import base64
import datetime as dt
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.write.json_text import json_lines, json_text
from beamsplit.transforms.write.merge import OutputShard, Part, merge_shard
from beamsplit.transforms.write.parquet_file import ROW_GROUP_ROWS, read_parquet_rows
from beamsplit.transforms.write.temp_file import Target, TempFile, open_block_file

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\n", "a,b", "\r\n", "\x00\x1f", "\\"]
)
FLOATS = st.floats(width=32)
COLUMNS = {
    "id": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "name": (pa.string(), TEXT),
    "p": (pa.float32(), FLOATS),
    "d": (pa.float64(), st.floats()),
    "ok": (pa.bool_(), st.booleans()),
    "raw": (pa.binary(), st.binary(max_size=5)),
    "words": (pa.list_(pa.string()), st.lists(TEXT | st.none(), max_size=3)),
    "pair": (pa.list_(pa.float32(), 2), st.lists(FLOATS, min_size=2, max_size=2)),
    "deep": (pa.large_list(pa.list_(pa.int8())), st.lists(st.lists(st.integers(-128, 127), max_size=2), max_size=2)),
    "pos": (
        pa.struct([("x", pa.int32()), ('"y"', pa.string())]),
        st.fixed_dictionaries({"x": st.integers(0, 9), '"y"': TEXT}),
    ),
    "tag": (pa.dictionary(pa.int32(), pa.string()), TEXT),
}
SCHEMA = pa.schema([(name, type_) for name, (type_, _) in COLUMNS.items()])
ROWS = st.lists(st.fixed_dictionaries({name: values | st.none() for name, (_, values) in COLUMNS.items()}), max_size=6)


def to_block(rows: list[dict], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([row[f.name] for row in rows], f.type) for f in schema], schema=schema)


def sliced(block: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, but as a slice of a larger block."""
    table = pa.Table.from_batches([block, block, block]).combine_chunks()
    return table.to_batches()[0].slice(block.num_rows, block.num_rows) if block.num_rows else block


def plain(value: object) -> object:
    """As JSON has it: no NaN, no infinity, no bytes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def near(found: object, wanted: object) -> bool:
    """Equal, where floats are equal as float32."""
    if isinstance(wanted, float) and isinstance(found, (int, float)):
        with np.errstate(over="ignore"):
            return found == wanted or np.float32(found) == np.float32(wanted)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(near, found, wanted))
    return found == wanted


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_json_lines_hold_the_values(rows):
    lines = json_lines(sliced(to_block(rows, SCHEMA))).to_pybytes().decode().split("\n")
    assert lines.pop() == ""
    found = [json.loads(line) for line in lines]
    assert [list(row) for row in found] == [SCHEMA.names] * len(rows)
    for got, row in zip(found, rows, strict=True):
        for name, value in row.items():
            assert near(got[name], plain(value)), name
        assert got["d"] == plain(row["d"])


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_parquet_holds_the_values(tmp_path_factory, rows):
    path = str(tmp_path_factory.getbasetemp() / "round.parquet")
    block = to_block(rows, SCHEMA)
    file = open_block_file("parquet", path, SCHEMA)
    file.write(sliced(block))
    file.close()
    table = pq.read_table(path)
    assert table.schema.types == [
        pa.list_(pa.float32()) if name == "pair" else SCHEMA.field(name).type for name in SCHEMA.names
    ]
    assert repr(table.to_pylist()) == repr(block.to_pylist())


FLAT = ["id", "name", "p", "d", "ok", "tag", "words", "raw"]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_csv_holds_the_values(tmp_path_factory, rows):
    path = str(tmp_path_factory.getbasetemp() / "round.csv")
    schema = pa.schema([SCHEMA.field(name) for name in FLAT])
    file = open_block_file("csv", path, schema)
    file.write(sliced(to_block(rows, schema)))
    file.close()
    types = {
        **{name: SCHEMA.field(name).type for name in FLAT[:5]},
        "tag": pa.string(),
        "words": pa.string(),
        "raw": pa.string(),
    }
    convert = pyarrow.csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    table = pyarrow.csv.read_csv(
        path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True), convert_options=convert
    )
    assert table.column_names == FLAT
    for got, row in zip(table.to_pylist(), rows, strict=True):
        for name in ("id", "name", "ok", "tag"):
            assert got[name] == row[name]
        for name in ("p", "d"):
            assert got[name] == row[name] or (math.isnan(got[name]) and math.isnan(row[name]))
        assert got["raw"] == plain(row["raw"])
        assert (None if got["words"] is None else json.loads(got["words"])) == row["words"]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1.5, math.nan, -math.inf, None], pa.float16()), [1.5, None, None, None]),
        (pa.array([dt.datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("s")), ["2024-01-02T03:04:05"]),
        (pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 6)], pa.timestamp("us", "UTC")), ["2024-01-02T03:04:05.000006Z"]),
        (pa.array([dt.date(2024, 1, 2), None]), ["2024-01-02", None]),
        (pa.array([dt.time(3, 4, 5)], pa.time32("s")), ["03:04:05"]),
        (pa.array([dt.timedelta(seconds=2)], pa.duration("ms")), [2000]),
        (pa.array([None, None]), [None, None]),
        (pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())), [[{"key": "k", "value": 1}], None, []]),
        (pa.array([[], None, [None]], pa.list_(pa.float64())), [[], None, [None]]),
        (pa.array([], pa.list_(pa.float64())), []),
        (pa.array([{}], pa.struct([])), [{}]),
        (pa.array(["é", None], pa.large_string()), ["é", None]),
    ],
)
def test_json_of_other_types(array, expected):
    assert [None if text is None else json.loads(text) for text in json_text(array).to_pylist()] == expected


def tensors(permutation: list[int] | None = None) -> tuple[pa.ExtensionArray, np.ndarray]:
    values = np.arange(5 * 6, dtype=np.float32).reshape(5, 2, 3)
    type_ = pa.fixed_shape_tensor(pa.float32(), [2, 3], permutation=permutation)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 6)
    logical = values if permutation is None else values.transpose(0, *(axis + 1 for axis in permutation))
    return pa.ExtensionArray.from_storage(type_, storage), logical


@pytest.mark.parametrize("permutation", [None, [1, 0]])
def test_tensors_are_nested_lists_in_json(permutation):
    array, values = tensors(permutation)
    assert [json.loads(text) for text in json_text(array.slice(1, 3)).to_pylist()] == values[1:4].tolist()


def test_a_tensor_that_is_null_is_null_in_json():
    type_ = pa.fixed_shape_tensor(pa.int8(), [2, 1])
    array = pa.ExtensionArray.from_storage(type_, pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)))
    assert json_text(array).to_pylist() == ["[[1],[2]]", None, "[[3],[4]]"]


def test_tensors_in_parquet_are_tensors_here_and_lists_elsewhere(tmp_path):
    array, values = tensors()
    block = pa.record_batch([array], names=["t"])
    file = open_block_file("parquet", f"{tmp_path}/t.parquet", block.schema)
    file.write(block)
    file.close()
    column = pq.read_table(f"{tmp_path}/t.parquet").column("t")
    assert column.type == array.type
    assert np.array_equal(column.chunk(0).to_numpy_ndarray(), values)
    # Without Arrow's own notes on the schema there is what any other reader sees: a list column.
    physical = pq.ParquetFile(f"{tmp_path}/t.parquet").schema
    assert physical.column(0).path == "t.list.element"
    assert physical.column(0).physical_type == "FLOAT"


def test_null_tensors_are_refused_in_parquet(tmp_path):
    type_ = pa.fixed_shape_tensor(pa.int8(), [2])
    array = pa.ExtensionArray.from_storage(type_, pa.array([[1, 2], None], pa.list_(pa.int8(), 2)))
    block = pa.record_batch([array], names=["t"])
    file = open_block_file("parquet", f"{tmp_path}/t.parquet", block.schema)
    with pytest.raises(ValueError, match=r"column \[t\] has 1 null tensors .* leave it out of --keep"):
        file.write(block)
    file.abort()


def test_dictionaries_with_a_null_in_them(tmp_path):
    kind = pa.dictionary(pa.int8(), pa.string())
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None], pa.int8()), pa.array(["a", None, "c"]))
    block = pa.record_batch([array], schema=pa.schema([("c", kind)]))
    file = open_block_file("parquet", f"{tmp_path}/c.parquet", block.schema)
    file.write(block)
    file.close()
    table = pq.read_table(f"{tmp_path}/c.parquet")
    assert pa.types.is_dictionary(table.schema.field("c").type)
    assert table["c"].to_pylist() == ["a", None, "c", None]


def test_uuids_are_base64_in_csv_as_other_bytes_are(tmp_path):
    column = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16)))
    block = pa.record_batch([column], names=["u"])
    file = open_block_file("csv", f"{tmp_path}/u.csv", block.schema)
    file.write(block)
    file.close()
    assert (tmp_path / "u.csv").read_text().splitlines()[1].strip('"') == "MDAwMDAwMDAwMDAwMDAwMA=="


def test_small_blocks_share_a_row_group(tmp_path):
    schema = pa.schema([("p", pa.float32())])
    file = open_block_file("parquet", f"{tmp_path}/p.parquet", schema)
    small, large = (
        pa.record_batch([pa.array(np.zeros(n, np.float32))], schema=schema) for n in (1000, 2 * ROW_GROUP_ROWS)
    )
    for _ in range(140):
        file.write(small)
    file.write(large)
    file.close()
    found = pq.ParquetFile(f"{tmp_path}/p.parquet").metadata
    groups = [found.row_group(index).num_rows for index in range(found.num_row_groups)]
    assert sum(groups) == 140_000 + 2 * ROW_GROUP_ROWS
    assert groups[0] == 132_000
    assert len(groups) == 2


def test_least_and_greatest_are_told_of_values_and_not_of_lists(tmp_path):
    inner = pa.struct([("x", pa.float32()), ("l", pa.list_(pa.int8())), ("t", pa.struct([("u", pa.string())]))])
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2), np.float32))
    columns = {
        "a.b": pa.array([1]),
        "s": pa.array([{"x": 1.0, "l": [1], "t": {"u": "q"}}], inner),
        "v": tensor,
        "m": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())),
        "d": pa.array(["z"]).dictionary_encode(),
    }
    block = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    path = f"{tmp_path}/p.parquet"
    file = open_block_file("parquet", path, block.schema)
    file.write(block)
    file.close()
    group = pq.ParquetFile(path).metadata.row_group(0)
    told = [group.column(at) for at in range(group.num_columns)]
    told = [one.path_in_schema for one in told if one.statistics is not None and one.statistics.has_min_max]
    assert told == ["a.b", "s.x", "s.t.u", "d"]


def test_reads_part_of_a_parquet_file(tmp_path):
    pq.write_table(pa.table({"p": list(range(100))}), f"{tmp_path}/p.parquet", row_group_size=7)
    found = [
        value for block in read_parquet_rows(f"{tmp_path}/p.parquet", 13, 80) for value in block.column(0).to_pylist()
    ]
    assert found == list(range(13, 80))


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=9), st.data(), st.sampled_from(["csv", "jsonl"]), st.integers(1, 7))
def test_parts_of_text_files_are_cut_at_rows(tmp_path_factory, texts, data, extension, chunk):
    folder = tmp_path_factory.mktemp("cut")
    schema = pa.schema([('na"me', pa.string())])
    target = Target(f"{folder}/preds.{extension}", schema, "job")

    def write(values: list[str]) -> TempFile:
        path = target.new_path()
        file = open_block_file(extension, path, schema)
        file.write(pa.record_batch([pa.array(values, pa.string())], schema=schema))
        file.close()
        with open(path, "rb") as written:
            return TempFile(path, len(values), len(written.read()), ("", 0, 0))

    cut = data.draw(st.integers(0, len(texts)))
    start = data.draw(st.integers(0, cut))
    whole = write(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamsplit.transforms.write.text_file.CHUNK", chunk)
        merged = merge_shard(OutputShard(0, (Part(whole, start, cut), Part(whole, 0, len(texts)))), target)
    with open(merged.path, "rb") as found, open(write(texts[start:cut] + texts).path, "rb") as wanted:
        assert found.read() == wanted.read()
