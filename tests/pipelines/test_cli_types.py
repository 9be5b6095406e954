"""The same table as CSV, JSON Lines, Parquet and Arrow gives the same rows and the same errors."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.binding.binding import bind
from beamsplit.models.binding.data_facts import DataFacts
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.pipelines.job.columns import as_the_model_wants, check_depths
from beamsplit.transforms.read import ReadOptions, find_files, read_all, split_file
from tests import onnx_models
from tests.command import Command, lines

FORMATS = ("parquet", "arrow", "csv", "jsonl")


def write_as(format: str, table: pa.Table, path) -> None:
    if format == "parquet":
        pq.write_table(table, path)
    elif format == "arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif format == "csv":
        pc.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def scored(command: Command, format: str, table: pa.Table, *options: object, **changed: object):
    """(predictions by id, failed rows)."""
    path, errors = command.folder / f"t.{format}", command.folder / f"{format}-errors.jsonl"
    output = command.folder / f"out-{format}" / "preds.parquet"
    write_as(format, table, path)
    code, _, err = command.run(
        "--keep", "id", "--errors", errors, "--quiet", "--num_shards", 1, *options, input=path, output=output, **changed
    )
    assert code == 0, err
    rows = pq.read_table(output).to_pylist()
    return {int(row.pop("id")): row for row in rows}, sorted(error["row"] for error in lines(errors))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("narrow", [False, True])
def test_whole_numbers_go_to_floats_that_hold_them(command: Command, format: str, narrow: bool):
    numbers = [1, 2**24, 2**24 + 1, 2**24 + 2, -(2**30) - 1, None]
    table = pa.table({"id": range(6), **{name: pa.array(numbers, pa.int64()) for name in "abcd"}})
    rows, failed = scored(command, format, table, *(["--narrow"] if narrow else []))
    assert failed == ([5] if narrow else [2, 4, 5])
    assert sorted(rows) == [at for at in range(6) if at not in failed]


def test_a_whole_number_that_is_rounded_is_told(command: Command):
    table = pa.table({"id": [0], **{name: [2**24 + 1] for name in "abcd"}})
    for format in FORMATS:
        scored(command, format, table)
        (error,) = lines(command.folder / f"{format}-errors.jsonl")
        assert f"value {2**24 + 1}" in error["reason"] and "does not fit float32; --narrow rounds" in error["reason"]


def test_fractions_of_text_are_rounded_as_ever(command: Command):
    table = pa.table({"id": [0, 1], **{name: [0.1, 1e8 + 0.5] for name in "abcd"}})
    (csv, _), (jsonl, _) = scored(command, "csv", table), scored(command, "jsonl", table)
    narrowed, failed = scored(command, "parquet", table, "--narrow")
    assert failed == []
    for at in (0, 1):
        assert csv[at] == jsonl[at] == narrowed[at]
    assert np.isfinite(csv[1]["y"]).all()


def test_decimals_of_parquet_feed_floats(command: Command):
    table = pa.table({"id": [0, 1], **{name: pa.array([1, 2]).cast(pa.decimal128(21, 2)) for name in "abcd"}})
    floats = pa.table({"id": [0, 1], **{name: pa.array([1, 2], pa.float32()) for name in "abcd"}})
    assert scored(command, "parquet", table) == scored(command, "arrow", floats)


@pytest.mark.parametrize("format", FORMATS)
def test_declared_types_are_those_of_kept_columns(command: Command, format: str):
    features = {name: [1.0, 2.0, 3.0] for name in "abcd"}
    table = pa.table({"id": [0, 1, 2], "key": [7, 8, 9], "day": ["2026-11-01", "soon", None], **features})
    options = ["--keep", "key,day", "--types", "key:string,day:date32,a:float32", "--narrow"]
    path, errors = command.folder / f"t.{format}", command.folder / "errors.jsonl"
    write_as(format, table, path)
    code, _, err = command.run(*options, "--errors", errors, "--quiet", "--num_shards", 1, input=path)
    assert code == 0, err
    written = pq.read_table(command.output)
    assert written.schema.field("key").type == pa.string() and written.schema.field("day").type == pa.date32()
    assert sorted(written["key"].to_pylist()) == ["7", "9"]
    (error,) = lines(errors)
    assert error["row"] == 1 and "soon" in error["reason"] and "date32" in error["reason"]


def test_files_that_disagree_are_read_as_declared(command: Command):
    features = {name: [1.0, 2.0] for name in "abcd"}
    pq.write_table(pa.table({"id": [0, 1], "key": [7, 8], **features}), command.folder / "1.parquet")
    pq.write_table(pa.table({"id": [2, 3], "key": ["9", "x"], **features}), command.folder / "2.parquet")
    options = ["--keep", "id,key", "--narrow"]
    data = command.folder / "[12].parquet"
    assert "say which it should be with --types 'key:TYPE'" in command.error(*options, input=data)
    errors = command.folder / "errors.jsonl"
    assert command.run(*options, "--types", "key:int64", "--errors", errors, "--quiet", input=data)[0] == 0
    assert command.rows()["key"].to_pylist() == [7, 8, 9]
    assert [error["reason"] for error in lines(errors)] == ["column 'key' (string in this file): x is no int64"]


def test_ids_of_json_that_are_numbers_and_texts(command: Command):
    rows = [{"key": key, "a": 1, "b": 2, "c": 3, "d": 4} for key in (1, "k", 1.10, 2**70, None, True)]
    path = command.folder / "t.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows).replace("1.1,", "1.10,"))
    assert command.run("--keep", "key", "--types", "key:string", "--quiet", "--num_shards", 1, input=path)[0] == 0
    assert pq.read_table(command.output)["key"].to_pylist() == ["1", "k", "1.10", str(2**70), None, "true"]


def test_amounts_of_text_as_decimals(command: Command):
    path, errors = command.folder / "t.csv", command.folder / "errors.jsonl"
    path.write_text("id,a,b,c,d\n0,1.10,2,3,4\n1,1.105,2,3,4\n")
    options = ["--keep", "id,a", "--types", "a:decimal128(12,2)", "--errors", errors, "--quiet"]
    assert command.run(*options, input=path)[0] == 0
    assert [str(value) for value in command.rows()["a"].to_pylist()] == ["1.10"]
    assert [error["row"] for error in lines(errors)] == [1]


def test_wrong_types_are_refused(command: Command):
    assert "--types names 'x', and the data has the columns id, a, b, c, d" in command.error("--types", "x:int8")
    assert "of which no timestamp[s] can be made" in command.error("--types", "id:timestamp[s]")
    assert "'strng' is no type" in command.error("--types", "id:strng")
    assert "--schema" in command.error(
        "--types", "id:int8", input="kafka://localhost:1/in", output="kafka://localhost:1/o"
    )


def categories(command: Command) -> str:
    """c: string [n] -> y: int64 [n], by a table of which "" is one."""
    node = onnx_models.helper.make_node(
        "LabelEncoder", ["c"], ["y"], domain="ai.onnx.ml", keys_strings=["", "a", "NA"], values_int64s=[7, 1, 2]
    )
    shapes = [("c", onnx_models.TensorProto.STRING, ["n"])], [("y", onnx_models.TensorProto.INT64, ["n"])]
    return onnx_models.save(
        onnx_models.build([node], *shapes, extra_opsets={"ai.onnx.ml": 2}), command.folder / "c.onnx"
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("cells", [["a", None, "NA"], ["a", None, "", "NA", 'a"']])
def test_an_empty_cell_is_null_and_an_empty_text_a_category(command: Command, format: str, cells: list[str | None]):
    table = pa.table({"id": range(len(cells)), "c": cells})
    rows, failed = scored(command, format, table, model=categories(command), columns="c=c")
    known = {"": 7, "a": 1, "NA": 2, 'a"': -1}
    assert failed == [1]
    assert {at: row["y"] for at, row in rows.items()} == {
        at: known[cell] for at, cell in enumerate(cells) if cell is not None
    }


CELLS = {
    "int": st.none() | st.integers(-(2**26), 2**26),
    "half": st.none() | st.integers(-100, 100).map(lambda n: n / 2),
    "text": st.none() | st.sampled_from(["", "a", "NA", 'q"', "1,2", " ", "é"]),
}


@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None)
def test_the_same_table_has_the_same_values_and_bad_rows_in_every_format(rows):
    kinds = pa.schema([("int", pa.int64()), ("half", pa.float64()), ("text", pa.string())])
    table = pa.Table.from_pylist(rows, schema=kinds)
    signature = Signature((TensorSpec("x", "float32", ("n", 2)), TensorSpec("t", "string", ("n",))), ())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for format in FORMATS:
            path = Path(folder, f"t.{format}")
            write_as(format, table, path)
            files = find_files([str(path)])
            facts = DataFacts({"x": ["int", "half"], "t": ["text"]}, text_source=True)
            binding = bind(signature, {"x": 0, "t": 0}, kinds, facts)
            schema = as_the_model_wants(kinds, binding, []) if format in ("csv", "jsonl") else kinds
            (result,) = read_all(split_file(files[0], 0, format, 10**9), ReadOptions(schema))
            opened = binding.open(result.block)
            bad = [row for row, _ in opened.bad_rows()]
            good = np.delete(np.arange(result.block.num_rows), bad)
            feeds = opened.take(good) if len(good) else {}
            found[format] = (bad, {name: values.tolist() for name, values in feeds.items()})
    assert all(one == found["parquet"] for one in found.values()), found


@pytest.mark.parametrize("format", FORMATS)
def test_numbers_that_would_become_infinite_fail_with_narrow_too(command: Command, format: str):
    values = [1.5, 1e300, -1e39, 2.5]
    table = pa.table({"id": range(4), "a": values, **{name: [0.5] * 4 for name in "bcd"}})
    rows, failed = scored(command, format, table, "--narrow")
    assert (sorted(rows), failed) == ([0, 3], [1, 2])


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_where_most_rows_are_numbers_does_not_hang_on_which_file_comes_first(
    command: Command, names: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("beamsplit.pipelines.sources.sample.SAMPLE_ROWS", 40)
    header = "id,a,b,c,d"
    words = [f"{at},n/a,1,2,3" for at in range(50)]
    numbers = [f"{at},{at}.5,1,2,3" for at in range(50, 110)]
    for name, rows in zip(names, (words, numbers), strict=True):
        (command.folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n")
    errors = command.folder / "e.jsonl"
    given = {"input": command.folder / "?.csv"}
    code, _, err = command.run("--keep", "id", "--num_shards", "1", "--quiet", "--errors", errors, **given)
    assert code == 0, err
    assert command.rows()["id"].to_pylist() == list(range(50, 110))
    assert len(errors.read_text().splitlines()) == 50


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_fields_of_structs_are_declared_too(command: Command, form: str):
    rows = [{"f": {"id": at, "a": str(at / 2)}, "b": 1, "c": 2, "d": 3} for at in range(20)]
    rows[7]["f"]["a"] = "n/a"
    path = command.folder / f"s.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    errors = command.folder / "e.jsonl"
    types = ("--types", "f.a:float32,f.id:string")
    options = (*types, "--keep", "f.id", "--num_shards", "1", "--quiet", "--errors", errors)
    code, _, err = command.run(*options, input=path, columns="x=f.a,b,c,d")
    assert code == 0, err
    made = pq.read_table(command.output)
    assert made["f.id"].to_pylist() == [str(at) for at in range(20) if at != 7]
    (failed,) = [json.loads(line) for line in errors.read_text().splitlines()]
    assert failed["row"] == 7 and "column 'f.a'" in failed["reason"] and "n/a is no float" in failed["reason"]


def test_a_field_of_a_struct_that_cannot_be_of_the_declared_type(command: Command):
    path = command.folder / "s.parquet"
    pq.write_table(pa.Table.from_pylist([{"f": {"a": 1.0}, "b": 1, "c": 2, "d": 3}]), path)
    given = {"input": path, "columns": "x=f.a,b,c,d"}
    said = command.error("--types", "f.a:list<int64>", **given)
    assert "--types f.a:list<item: int64>: the field is double in the parquet files" in said
    assert "--types names 'f.b'" in command.error("--types", "f.b:int64", **given)


@pytest.mark.parametrize("keep", [True, False])
def test_a_column_nested_too_deep_is_named(command: Command, keep: bool):
    data = command.folder / "deep.jsonl"
    row = '{{"id": {0}, "a": 1, "b": 2, "c": 3, "d": 4, "k": {1}1{2}}}\n'
    data.write_text("".join(row.format(i, "[" * 900, "]" * 900) for i in range(3)))
    options = ("--keep", "k") if keep else ()
    assert command.error(*options, input=data) == (
        "column 'k' has lists or structs in one another, more than 100 deep; read it as text with --types k:string"
    )
    code, _, err = command.run("--keep", "id,k", "--types", "k:string", input=data)
    assert code == 0, err
    assert command.rows()["k"].to_pylist() == ["[" * 900 + "1" + "]" * 900] * 3


def test_lists_a_hundred_deep_come_out_as_they_went_in(command: Command):
    data = command.folder / "deep.jsonl"
    deep = "[" * 100 + "1" + "]" * 100
    data.write_text(f'{{"id": 0, "a": 1, "b": 2, "c": 3, "d": 4, "k": {deep}}}\n')
    output = command.output.with_name("p.jsonl")
    code, _, err = command.run("--keep", "k", input=data, output=output)
    assert code == 0, err
    assert f'"k":{deep}' in output.read_text()


@pytest.mark.parametrize(
    ("as_text", "fix"), [(True, "read it as text with --types k:string"), (False, "leave it out of the data")]
)
def test_a_column_nested_too_deep_is_told_with_what_helps(as_text: bool, fix: str):
    kind = pa.int64()
    for _ in range(100):
        kind = pa.list_(kind)
    check_depths(pa.schema([("k", kind)]), as_text)
    with pytest.raises(UsageError, match=f"more than 100 deep; {fix}$"):
        check_depths(pa.schema([("k", pa.list_(kind))]), as_text)
