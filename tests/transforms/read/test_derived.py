"""Fields of structs and the names of folders as columns."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import ReadOptions, find_files, infer_schema, with_derived
from beamsplit.transforms.read.derived import partition_types, partition_values
from beamsplit.transforms.read.splits import make_splits, read_all
from tests import onnx_models
from tests.command import Command, lines
from tests.onnx_models import save

ROWS = [
    {"f": {"a": 1.5, "g": {"b": "x"}}, "f.c": 7},
    {"f": None, "f.c": 8},
    {"f": {"a": None, "g": None}, "f.c": 9},
]


def write(path, rows, schema=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".csv":
        names = table.column_names
        path.write_text("\n".join([",".join(names), *(",".join(str(row[n]) for n in names) for row in rows)]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(folder, format, *names, splits=1):
    files = find_files([str(folder)])
    schema, derived, notes = with_derived(infer_schema(files, format).schema, files, names)
    options = ReadOptions(schema, names, derived=derived)
    rows, failures = [], []
    for result in read_all(make_splits(files, format, splits), options):
        failures += result.failures
        if result.block is not None:
            assert result.block.schema == options.block_schema
            rows += result.block.to_pylist()
    return [{name: row[name] for name in names} for row in rows], failures, notes


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl"])
def test_fields_of_structs_are_columns(tmp_path, ending):
    write(tmp_path / f"x.{ending}", ROWS)
    rows, failures, _ = read(tmp_path, "jsonl" if ending == "jsonl" else ending, "f.g.b", "f.a", "f.c", "f.g")
    assert failures == []
    assert rows == [
        {"f.g.b": "x", "f.a": 1.5, "f.c": 7, "f.g": {"b": "x"}},
        {"f.g.b": None, "f.a": None, "f.c": 8, "f.g": None},
        {"f.g.b": None, "f.a": None, "f.c": 9, "f.g": None},
    ]


def test_a_struct_is_kept_beside_its_field(command: Command):
    rows = [{"id": k, "f": {"a": float(k), "b": "x"}} for k in range(3)]
    path = write(command.folder / "x.jsonl", rows)
    given = {"input": path, "columns": "x=f.a,f.a,f.a,f.a"}
    code, _, err = command.run("--keep", "id,f,f.b", "--num_shards", "1", "--quiet", **given)
    assert (code, err) == (0, "")
    assert command.rows().select(["f", "f.b"]).to_pylist() == [{"f": row["f"], "f.b": "x"} for row in rows]


def test_a_column_of_the_very_name_wins(tmp_path):
    write(tmp_path / "x.parquet", [{"f": {"a": 1, "b.c": 3}, "f.a": 2}])
    assert read(tmp_path, "parquet", "f.a", "f.b.c")[0] == [{"f.a": 2, "f.b.c": 3}]


def test_only_fields_that_are_asked_for_are_columns(tmp_path):
    write(tmp_path / "x.parquet", ROWS)
    files = find_files([str(tmp_path)])
    schema, derived, _ = with_derived(infer_schema(files, "parquet").schema, files, ["f.x", "g.a", "f.c.d"])
    assert (schema.names, derived.names) == (["f", "f.c"], frozenset())


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("a/b.parquet", {}),
        ("x=1/b.parquet", {"x": "1"}),
        ("gs://bucket/x=1/y=a=b/z=2.parquet", {"x": "1", "y": "a=b"}),
        ("/d/city=S%C3%A3o%2FPaulo/k%20e=v/f", {"city": "São/Paulo", "k e": "v"}),
        ("/d/x=__HIVE_DEFAULT_PARTITION__/y=/f", {"x": None, "y": ""}),
    ],
)
def test_folders_tell_values(path, values):
    assert partition_values(path) == values


def test_a_folder_that_is_no_text_is_refused():
    with pytest.raises(UsageError, match=r"x=%FF/f: the name of a folder is no UTF-8"):
        partition_values("x=%FF/f")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "02", "-3"], pa.int32()),
        (["1", "__HIVE_DEFAULT_PARTITION__"], pa.int32()),
        (["1", "3000000000"], pa.int64()),
        (["1", "9999999999999999999"], pa.string()),
        (["1", "a"], pa.string()),
        (["1.5"], pa.string()),
        (["2026-11-01"], pa.string()),
        (["__HIVE_DEFAULT_PARTITION__"], pa.string()),
        ([""], pa.string()),
    ],
)
def test_types_are_those_of_all_paths(values, kind):
    for order in (values, values[::-1]):
        assert partition_types(f"x={value}/f" for value in order) == {"x": kind}


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "csv"])
def test_folders_are_columns_of_every_format(tmp_path, ending):
    write(tmp_path / "day=2026-11-01" / "n=1" / f"x.{ending}", [{"v": 1}, {"v": 2}])
    write(tmp_path / "day=2026-11-02" / "n=__HIVE_DEFAULT_PARTITION__" / f"x.{ending}", [{"v": 3}])
    rows, failures, notes = read(tmp_path, ending, "n", "v", "day", splits=3)
    assert (failures, notes) == ([], ())
    assert rows == [
        {"n": 1, "v": 1, "day": "2026-11-01"},
        {"n": 1, "v": 2, "day": "2026-11-01"},
        {"n": None, "v": 3, "day": "2026-11-02"},
    ]
    assert [row["day"] for row in read(tmp_path, ending, "day")[0]] == ["2026-11-01", "2026-11-01", "2026-11-02"]


def test_a_column_of_the_files_wins_over_folders_and_that_is_said(tmp_path):
    write(tmp_path / "v=9" / "x.parquet", [{"v": 1}])
    rows, _, notes = read(tmp_path, "parquet", "v")
    assert (rows, len(notes)) == ([{"v": 1}], 1)
    assert "the files have a column 'v', which is read" in notes[0]


def test_files_that_are_rows_have_the_names_of_their_folders(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / f"class={label}").mkdir()
        (tmp_path / f"class={label}" / "1.bin").write_bytes(label.encode())
    rows, _, _ = read(tmp_path, "files", "class", "bytes")
    assert rows == [{"class": "cat", "bytes": b"cat"}, {"class": "dog", "bytes": b"dog"}]


def test_the_command_takes_them_as_inputs_and_keeps_them(command: Command):
    rng = np.random.default_rng(1)
    flat = []
    for day in (1, 2):
        made = [{"id": 5 * day + k, "a": float(a), "c": float(c)} for k, (a, c) in enumerate(rng.random((5, 2)))]
        rows = [{"id": row["id"], "f": {"a": row["a"], "b": {"c": row["c"]}}} for row in made]
        write(command.folder / "in" / f"day={day}" / "x.parquet", rows)
        flat += [{**row, "d": day} for row in made]
    given = {"input": command.folder / "in", "columns": "x=f.a,f.b.c,day,f.a"}
    code, _, err = command.run("--keep", "id,day,f.a", "--quiet", "--narrow", "--workers", "2", **given)
    assert (code, err) == (0, "")
    rows = command.rows()
    assert rows["day"].to_pylist() == [1] * 5 + [2] * 5
    assert rows["f.a"].to_pylist() == [row["a"] for row in flat]
    path = write(command.folder / "flat.parquet", flat)
    code, _, err = command.run("--keep", "id", "--quiet", "--narrow", input=path, columns="x=a,c,d,a")
    assert (code, err) == (0, "")
    assert command.rows()["y"].to_pylist() == rows["y"].to_pylist()


def test_folders_are_not_taken_for_an_input_unless_named(command: Command):
    folder = command.folder / "in" / "day=1"
    folder.mkdir(parents=True)
    pq.write_table(command.table.select(list("abcd")), folder / "x.parquet")
    code, _, err = command.run("--quiet", input=command.folder / "in", columns=None)
    assert code == 0, err


def test_images_in_structs(command: Command):
    command.model = save(onnx_models.mlp(4, outputs=2), command.folder / "m.onnx")
    rows = [{"id": 0, "image": {"bytes": b"\1\2\3\4", "path": "p"}}, {"id": 1, "image": None}]
    path = write(command.folder / "i.parquet", rows)
    options = ["--prepare", "bytes:begin=4,dtype=float32,column=image.bytes,output=x", "--keep", "id,image.path"]
    code, _, err = command.run(*options, "--errors", command.folder / "e.jsonl", "--quiet", input=path, columns=None)
    assert (code, err) == (0, "")
    assert command.rows().select(["id", "image.path"]).to_pylist() == [{"id": 0, "image.path": "p"}]
    assert [error["reason"] for error in lines(command.folder / "e.jsonl")] == ["null in column 'image.bytes'"]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ([], [("01234", 1), ("99999", 2)]),
        (["--types", "zip:int64,k:string"], [(1234, "1"), (99999, "2")]),
        (["--types", "zip:int16"], [(1234, 1)]),
    ],
)
def test_codes_in_folders_stay_text_unless_declared(command: Command, options, values):
    for at, (folder, row) in enumerate([("zip=01234/k=1", 0), ("zip=99999/k=2", 1)]):
        (command.folder / "hive" / folder).mkdir(parents=True)
        pq.write_table(command.table.slice(row, 1), command.folder / "hive" / folder / f"{at}.parquet")
    given = ["--keep", "zip,k,id", "--num_shards", "1", "--quiet", "--errors", command.folder / "e.jsonl"]
    code, _, err = command.run(*given, *options, input=command.folder / "hive")
    assert (code, err) == (0, "")
    assert [(row["zip"], row["k"]) for row in command.rows().to_pylist()] == values


def test_a_folder_of_which_a_model_reads_the_code_is_a_number(command: Command):
    (command.folder / "m=07").mkdir()
    pq.write_table(command.table.slice(0, 2), command.folder / "m=07" / "x.parquet")
    given = ["--keep", "m,id", "--num_shards", "1", "--quiet"]
    code, _, err = command.run(*given, input=command.folder / "m=07", columns="x=a,b,c,m")
    assert (code, err) == (0, "")
    assert command.rows()["m"].to_pylist() == [7, 7]
