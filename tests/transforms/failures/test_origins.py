from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.failures.origins import FailedOrigins, numbers, origins_of_messages, read_origins

OF_FILES = [("b.csv", 7), ("a.csv", 5), ("b.csv", 7), ("b.csv", 2)]
OF_MESSAGES = [("in", 1, 9), ("in", 0, 3), ("in", 1, 9), ("in", 1, 4)]


def of_files() -> list[dict]:
    return [{"file": file, "row": row, "stage": "infer", "reason": "r"} for file, row in OF_FILES]


def of_messages() -> list[dict]:
    made = [{"topic": t, "partition": p, "offset": o, "stage": "read", "reason": "r"} for t, p, o in OF_MESSAGES]
    return [*made, {"topic": "in", "partition": 0, "offset": 90, "stage": "gap", "reason": "gone", "last_offset": 95}]


def listed(found: FailedOrigins) -> dict[str, list[int]]:
    return {place: numbers(rows).tolist() for place, rows in {**found.files, **found.messages}.items()}


@pytest.mark.parametrize("name", ["e.jsonl", "e", "e.csv", "e.parquet"])
def test_rows_of_files_once_each(tmp_path: Path, name: str):
    path = tmp_path / name
    if name == "e.parquet":
        pq.write_table(pa.Table.from_pylist(of_files()), path)
    elif name == "e.csv":
        path.write_text("file,row,stage,reason\n" + "".join(f"{f},{r},infer,r\n" for f, r in OF_FILES))
    else:
        path.write_text("".join(f"{json.dumps(one)}\n" for one in of_files()))
    found = read_origins(str(path))
    assert listed(found) == {"b.csv": [2, 7], "a.csv": [5]}
    assert found.changed == pytest.approx(path.stat().st_mtime)


def test_messages_once_each_without_those_that_were_gone(tmp_path: Path):
    path = tmp_path / "e.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in of_messages()))
    wanted = {"in/1": [4, 9], "in/0": [3]}
    for found in (read_origins(str(path)), origins_of_messages("t", (json.dumps(e).encode() for e in of_messages()))):
        assert (listed(found), found.gaps) == (wanted, 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "names no row: nothing failed"),
        ("\x01 no JSON\nnor this\n", "is no errors output: nothing in it can be read as jsonl"),
        ('{"file": "a.csv", "row": -5}\n', "has an error of row -5, and there is none below 0"),
        ('{"a": 1}\n', "is no errors output: it has the columns a"),
        ('{"file": "a.csv", "row": 1}\n{"file": "a.csv"}\n', "has an error without its row"),
        ('{"file": "a.csv", "row": 1}\n{"file": "a.c', "row 1 is no error"),
        ('{"file": "a.csv", "row": 1}\n{"file": "a.csv", "row": "x"}\n', "no error"),
    ],
)
def test_what_is_no_errors_output(tmp_path: Path, content: str, told: str):
    (tmp_path / "e.jsonl").write_text(content)
    with pytest.raises(UsageError, match=told):
        read_origins(str(tmp_path / "e.jsonl"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([], "names no row"),
        ([b"x"], "message 0 is no error"),
        ([None], "message 0 is no error"),
        ([b"3"], "message 0 is no error"),
        ([b'{"topic": "t"}'], "has an error without its partition"),
        ([b'{"topic": "t", "partition": "x", "offset": 1}'], "is no error"),
        ([b'{"topic": "t", "partition": 0, "offset": 1}', b'{"file": "a", "row": 0}'], "of files and of messages"),
    ],
)
def test_what_is_no_errors_topic(values: list, told: str):
    with pytest.raises(UsageError, match=told):
        origins_of_messages("kafka://h:1/e", values)
