from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS, PARQUET
from beamsplit.transforms.read import ReadOptions, find_files, infer_schema, input_schema, read_all, split_file
from beamsplit.transforms.read.infer_schema import sampled
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.unify import unify_types

S, L = pa.string(), pa.list_
STAMP = pa.timestamp


@pytest.mark.parametrize(
    ("types", "one"),
    [
        ([pa.int64(), pa.float64()], pa.float64()),
        ([pa.int32(), pa.int64()], pa.int64()),
        ([pa.int8(), pa.float16()], pa.float16()),
        ([pa.int16(), pa.float32()], pa.float32()),
        ([pa.int32(), pa.float32()], pa.float64()),
        ([pa.float32(), pa.float64()], pa.float64()),
        ([pa.uint8(), pa.int8()], pa.int16()),
        ([pa.uint64(), pa.int64()], pa.int64()),
        ([pa.bool_(), pa.int8()], pa.int8()),
        ([pa.null(), S], S),
        ([pa.null(), pa.null()], pa.null()),
        ([S, pa.large_string()], pa.large_string()),
        ([S, pa.string_view()], S),
        ([pa.binary(), pa.binary(4)], pa.binary()),
        ([pa.dictionary(pa.int8(), S), S], S),
        ([pa.dictionary(pa.int8(), S), pa.dictionary(pa.int32(), S)], S),
        ([pa.dictionary(pa.int8(), pa.int64()), pa.float64()], pa.float64()),
        ([STAMP("s"), STAMP("us")], STAMP("us")),
        ([STAMP("s", "UTC"), STAMP("ms", "Europe/Berlin")], STAMP("ms", "UTC")),
        ([STAMP("s", "UTC"), STAMP("s")], None),
        ([pa.date32(), STAMP("ms")], STAMP("ms")),
        ([pa.date32(), pa.date64()], pa.date64()),
        ([pa.time32("s"), pa.time64("us")], pa.time64("us")),
        ([pa.decimal128(5, 2), pa.decimal128(9, 4)], pa.decimal128(9, 4)),
        ([pa.decimal128(9, 2), pa.decimal128(5, 4)], pa.decimal128(11, 4)),
        ([pa.decimal128(5, 2), pa.int64()], pa.decimal128(22, 2)),
        ([pa.decimal128(5, 2), pa.float32()], pa.float64()),
        ([L(pa.int64()), L(pa.float64())], L(pa.float64())),
        ([L(pa.float32(), 3), L(pa.float32())], L(pa.float32())),
        ([L(pa.float32(), 3), L(pa.float32(), 4)], L(pa.float32())),
        ([L(pa.float32()), pa.large_list(pa.float32())], pa.large_list(pa.float32())),
        ([pa.struct([("a", pa.int8())]), pa.struct([("b", S)])], pa.struct([("a", pa.int8()), ("b", S)])),
        ([S, pa.int64()], None),
        ([S, pa.binary()], None),
        ([pa.fixed_shape_tensor(pa.int8(), (2, 3)), pa.fixed_shape_tensor(pa.int8(), (3, 2))], None),
        (
            [pa.fixed_shape_tensor(pa.int8(), (2, 3)), pa.fixed_shape_tensor(pa.int16(), (2, 3))],
            pa.fixed_shape_tensor(pa.int16(), (2, 3)),
        ),
        ([pa.fixed_shape_tensor(pa.int8(), (3,)), L(pa.int8(), 3)], L(pa.int8(), 3)),
    ],
)
def test_the_type_that_holds_both(types, one):
    assert unify_types(types) == one
    assert unify_types(reversed(types)) == one


def test_cells_of_text_are_text_where_they_are_unlike():
    assert unify_types([pa.int64(), S], text=True) == S
    assert unify_types([pa.bool_(), pa.int64()], text=True) == S
    assert unify_types([pa.date32(), STAMP("s")], text=True) == S
    assert unify_types([pa.int64(), pa.null(), pa.float64()], text=True) == pa.float64()


KINDS = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.uint32(),
    pa.int64(),
    pa.uint64(),
    pa.float16(),
    pa.float32(),
    pa.float64(),
]
KINDS += [
    pa.float64(),
    pa.decimal128(7, 2),
    pa.decimal128(20, 0),
    S,
    pa.large_string(),
    pa.dictionary(pa.int8(), S),
    STAMP("s"),
]
KINDS += [STAMP("ns"), pa.date32(), L(pa.int8()), L(pa.float32(), 2), pa.large_list(pa.int64())]


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), st.booleans(), st.randoms())
@settings(max_examples=200, deadline=None)
def test_the_order_of_types_decides_nothing(types, text, random):
    other = random.sample(types, len(types))
    assert unify_types(types, text) == unify_types(other, text)
    assert unify_types([*types, *other], text) == unify_types(types, text)


def write(table: pa.Table, path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)


def rows_of(folder, format):
    files = find_files([str(folder)])
    options = ReadOptions(input_schema(files, format))
    rows, failures = [], []
    for at, file in enumerate(files):
        for result in read_all(split_file(file, at, format, 10**9), options):
            failures += [failure.reason for failure in result.failures]
            rows += [] if result.block is None else [row["x"] for row in result.block.to_pylist()]
    return options.schema.field("x").type, rows, failures


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("arrays", "rows", "failures"),
    [
        ([pa.array([1, 2**53 + 1]), pa.array([1.5])], [1.0, 1.5], [f"{2**53 + 1} is no double"]),
        ([pa.nulls(1), pa.array(["a"])], [None, "a"], []),
        ([pa.array(["a"]).dictionary_encode(), pa.array(["b"])], ["a", "b"], []),
        ([pa.array([[1], None, [2, 3]]), pa.array([[0.5]])], [[1.0], None, [2.0, 3.0], [0.5]], []),
        ([pa.array([[1, 2]], L(pa.int8(), 2)), pa.array([[3]], pa.large_list(pa.int8()))], [[1, 2], [3]], []),
        ([pa.array([1], pa.uint64()), pa.array([-1])], [1, -1], []),
    ],
)
def test_files_that_disagree_are_read_alike_in_any_order(tmp_path, format, arrays, rows, failures):
    for turn, order in enumerate(permutations(range(len(arrays)))):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for place, at in enumerate(order):
            write(pa.table({"x": arrays[at]}), folder / f"{place}.{format}")
        kind, got, bad = rows_of(folder, format)
        assert kind == unify_types(array.type for array in arrays)
        assert sorted(map(repr, got)) == sorted(map(repr, rows))
        assert [any(part in reason for reason in bad) for part in failures] == [True] * len(bad)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_files_that_no_type_holds_are_refused_where_the_column_is_needed(tmp_path, names):
    pq.write_table(pa.table({"x": [1.0], "y": [1]}), tmp_path / f"{names[0]}.parquet")
    pq.write_table(pa.table({"x": ["1"], "z": [1]}), tmp_path / f"{names[1]}.parquet")
    found = infer_schema(find_files([str(tmp_path)]), "parquet")
    assert set(found.schema.names) == {"x", "y", "z"}
    found.check([])
    with pytest.raises(UsageError, match=r"column 'x' is .* in .*a\.parquet, but .* in .*b\.parquet, and no.*--types"):
        found.check(["x"])
    with pytest.raises(UsageError, match=r"column 'y' of .* is missing in .*\.parquet \(it has x, z\)"):
        found.check(["y"])


def test_columns_in_another_order_are_the_same_columns_and_told(tmp_path):
    pq.write_table(pa.table({"x": [1], "y": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": ["a"], "x": [1]}), tmp_path / "b.parquet")
    found = infer_schema(find_files([str(tmp_path)]), "parquet")
    assert found.wrong == {}
    found.check_order(["x"], "it")
    with pytest.raises(UsageError, match=r"it takes .* x, y in .*a\.parquet and y, x in .*b\.parquet: name them"):
        found.check_order(["x", "y"], "it")


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_csv_ids_of_two_kinds_are_text(tmp_path, names):
    (tmp_path / f"{names[0]}.csv").write_text("id,x,e\n1,1,\n2,2,\n")
    (tmp_path / f"{names[1]}.csv").write_text("e,id,x\n7,k1,0.5\n8,k2,1\n")
    kinds = {field.name: field.type for field in input_schema(find_files([str(tmp_path)]), "csv")}
    assert kinds == {"id": S, "x": pa.float64(), "e": pa.int64()}


def test_one_odd_line_of_json_decides_nothing(tmp_path):
    rows = [{"v": n, "l": [n], "o": {"k": "a"}} for n in range(200)]
    rows[1:1] = [{"v": "n/a", "l": "none", "o": {"k": 3}}]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = find_files([str(path)])
    schema = input_schema(files, "jsonl")
    assert schema == pa.schema([("v", pa.int64()), ("l", L(pa.int64())), ("o", pa.struct([("k", S)]))])
    results = list(read_all(split_file(files[0], 0, "jsonl", 10**9), ReadOptions(schema)))
    assert [failure.row for result in results for failure in result.failures] == [1]
    assert sum(result.block.num_rows for result in results if result.block) == 200


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_json_fields_are_what_most_values_of_all_files_are(tmp_path, names):
    (tmp_path / f"{names[0]}.jsonl").write_text('{"v": "x", "w": 1}\n')
    (tmp_path / f"{names[1]}.jsonl").write_text('{"v": 1}\n{"v": 2.5}\n{"w": "y"}\n')
    kinds = {field.name: field.type for field in input_schema(find_files([str(tmp_path)]), "jsonl")}
    assert kinds == {"v": pa.float64(), "w": S}


def test_of_many_files_some_are_looked_at_the_first_and_the_last_too(monkeypatch):
    files = [InputFile(f"/{at}.parquet", 1) for at in range(5_000)]
    seen = sampled(files, "parquet")
    assert len(seen) == PARQUET.most_files == len(set(seen))
    assert (seen[0], seen[-1]) == (files[0], files[-1])


def test_a_file_that_was_not_looked_at_fails_its_rows_only(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS, "parquet", replace(PARQUET, most_files=2))
    for name, column in (("a", [1, 2]), ("b", ["x", "3"]), ("c", [3, 4])):
        pq.write_table(pa.table({"x": column}), tmp_path / f"{name}.parquet")
    kind, rows, failures = rows_of(tmp_path, "parquet")
    assert (kind, rows) == (pa.int64(), [1, 2, 3, 3, 4])
    assert failures == ["column 'x' (string in this file): x is no int64"]
