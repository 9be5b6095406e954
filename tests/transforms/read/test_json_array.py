"""Files that are one JSON array."""

from __future__ import annotations

import gzip
import io
import json
import random

import pytest

from beamsplit.transforms.read import ReadOptions, find_files, infer_schema, total_rows
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.json_array import ArrayLines, is_array
from beamsplit.transforms.read.splits import make_splits, read_all
from tests.command import Command, lines

ITEMS = [{"a": 1, "t": 'x,]}\\" \\\\'}, {"a": 2, "t": "\\"}, {"a": [[1], {"b": "[{"}], "t": "ü\n"}, {}]


def through(text: str, size: int) -> list[object]:
    stream = ArrayLines(io.BytesIO(text.encode()), "f.json")
    out = b""
    while data := stream.read(size):
        out += data
    return [json.loads(line) for line in out.split(b"\n") if line.strip()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_items_are_lines_wherever_the_text_is_cut(size, indent):
    assert through(json.dumps(ITEMS, indent=indent) + " \n", size) == ITEMS
    assert through(json.dumps(ITEMS, indent=indent, ensure_ascii=False), size) == ITEMS


def test_random_texts():
    chance = random.Random(0)
    for _ in range(200):
        items = [{"k": "".join(chance.choices('\\"[]{},\n x', k=chance.randrange(12)))} for _ in range(3)]
        assert through(json.dumps(items), chance.randrange(1, 9)) == items


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"a"', "ends in the middle"),
        ('[{"a": 1}', "ends in the middle"),
        ('[{"a": 1}] x', "goes on behind"),
        ('[{"a": 1}][{"a": 2}]', "goes on behind"),
    ],
)
def test_what_is_no_array_is_damaged(text, message, size):
    with pytest.raises(DamagedFile, match=f"f.json {message}"):
        through(text, size)


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ('[{"a": 1}]', True),
        ("[]", True),
        (' \n[\n {"a": 1}]', True),
        ('[{"a": 1},\n{"a": 2}]', True),
        ('{"a": 1}\n', False),
        ("[1, 2]\n", False),
        ('[{"a": 1}]\n{"a": 2}\n', False),
        ("", False),
    ],
)
def test_arrays_are_told_from_lines(tmp_path, text, array):
    path = tmp_path / "f.json"
    path.write_text(text)
    assert is_array(str(path)) == array


@pytest.mark.parametrize("ending", ["json", "json.gz", "jsonl"])
def test_arrays_are_read_in_blocks(tmp_path, ending):
    rows = [{"id": k, "t": f"{k},[" * 30} for k in range(9000)]
    data = json.dumps(rows, indent=1).encode()
    path = tmp_path / f"f.{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith("gz") else data)
    files = find_files([str(path)])
    assert total_rows(files, "jsonl") is None
    options = ReadOptions(infer_schema(files, "jsonl").schema)
    found = [row for result in read_all(make_splits(files, "jsonl", 4), options) for row in result.block.to_pylist()]
    assert [{"id": row["id"], "t": row["t"]} for row in found] == rows
    assert [row["_origin_row"] for row in found] == list(range(9000))


def test_the_command_reads_an_array_and_a_bad_item_is_a_row(command: Command):
    rows = [{"id": k, **dict.fromkeys("abcd", 1.0)} for k in range(4)]
    path = command.folder / "x.json"
    path.write_text(json.dumps([*rows[:2], None, *rows[2:]], indent=2))
    code, _, err = command.run("--keep", "id", "--errors", command.folder / "e.jsonl", "--quiet", input=path)
    assert (code, err) == (0, "")
    assert command.rows()["id"].to_pylist() == [0, 1, 2, 3]
    assert [error["row"] for error in lines(command.folder / "e.jsonl")] == [2]


def test_an_empty_array_is_an_empty_input(command: Command):
    path = command.folder / "x.json"
    path.write_text("[]")
    code, _, err = command.run("--keep", "id", "--stages", "2", "--num_shards", "1", "--quiet", input=path)
    assert (code, err) == (0, "")


def test_a_cut_array_fails_the_job(command: Command):
    path = command.folder / "x.json"
    path.write_text(json.dumps([{"id": k, **dict.fromkeys("abcd", 1.0)} for k in range(4)])[:-9])
    code, _, err = command.run("--keep", "id", input=path)
    assert code in (1, 2)
    assert "x.json ends in the middle of its JSON array" in err
