"""Inputs without rows: exit code 0 and the same empty outputs, whatever the format and the way the model was to run."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Command

SCHEMA = pa.schema({"id": pa.int64(), **dict.fromkeys("abcd", pa.float32())})


def empty(command: Command, name: str) -> object:
    path = command.folder / name
    if name.endswith("parquet"):
        pq.write_table(SCHEMA.empty_table(), path)
    elif name.endswith("arrow"):
        with pa.ipc.new_file(str(path), SCHEMA):
            pass
    elif name.endswith("arrows"):
        with pa.ipc.new_stream(str(path), SCHEMA):
            pass
    else:
        path.write_text({"head.csv": "id,a,b,c,d\n", "blank.jsonl": "\n \n"}.get(name, ""))
    return path


@pytest.mark.parametrize("name", ["e.parquet", "e.arrow", "e.arrows", "head.csv", "zero.jsonl", "blank.jsonl"])
def test_every_format_gives_an_empty_output(command: Command, name):
    command.output = command.folder / "out" / "preds.csv"
    code, _, err = command.run("--keep", "id", "--num_shards", "1", "--quiet", input=empty(command, name))
    assert (code, err) == (0, "")
    assert command.output.read_text() == '"id","y"\n'


@pytest.mark.parametrize(
    "more",
    [
        ["--stages", "2"],
        ["--shards", "2"],
        ["--shards", "auto"],
        ["--strategy", "auto"],
        ["--stages", "2", "--shards", "2"],
        ["--shards", "2", "--placement", "distributed"],
        ["--partition", "contiguous", "--workers", "2"],
    ],
)
def test_a_split_model_gives_what_the_whole_one_does(command: Command, more):
    path = empty(command, "e.parquet")
    summary = command.folder / "s.json"
    code, _, err = command.run("--keep", "id", "--num_shards", "1", "--summary", summary, *more, input=path)
    assert code == 0, err
    assert ("the input has no rows: the model is not divided" in err) == (more[0] != "--partition")
    written = pq.read_table(command.output)
    assert (written.num_rows, written.column_names) == (0, ["id", "y"])


@pytest.mark.parametrize("more", [[], ["--stages", "2"], ["--shards", "2"], ["--strategy", "auto"]])
def test_a_csv_file_without_a_header_is_no_input(command: Command, more):
    assert "all empty, so their columns are not known" in command.error(*more, input=empty(command, "zero.csv"))


def test_rows_in_a_later_file_are_rows(command: Command):
    empty(command, "a.parquet")
    pq.write_table(command.table.select(SCHEMA.names).cast(SCHEMA), command.folder / "b.parquet")
    command.data.unlink()
    code, _, err = command.run("--keep", "id", "--stages", "2", "--quiet", input=command.folder / "*.parquet")
    assert code == 0, err
    assert command.rows().num_rows == 600


def test_steps_tell_the_columns_of_text_without_any(command: Command):
    path = empty(command, "zero.jsonl")
    options = ["--prepare", "scale:column=a/b/c/d,factor=2", "--keep", "id,a", "--num_shards", "1", "--quiet"]
    code, _, err = command.run(*options, input=path)
    assert (code, err) == (0, "")
    assert pq.read_table(command.output).column_names == ["id", "a", "y"]
