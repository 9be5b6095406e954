from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read.damage import damaged
from beamsplit.transforms.read.result import conform
from tests.command import ROWS, Command, lines


def text(offsets: list[int], characters: bytes, kind: pa.DataType | None = None) -> pa.Array:
    large = kind is not None and "large" in str(kind)
    places = pa.py_buffer(np.array(offsets, np.int64 if large else np.int32))
    return pa.Array.from_buffers(kind or pa.string(), len(offsets) - 1, [None, places, pa.py_buffer(characters)])


LATIN = text([0, 1, 2, 4, 5], b"ab\xff\xfec")
INDICES = pa.DictionaryArray.from_arrays(pa.array([0, 1, 7, None, -1], pa.int8()), pa.array(["a", "b"]), safe=False)
STRUCT = pa.StructArray.from_arrays([pa.array([1, 2, 3, 4]), LATIN], ["x", "y"])


@pytest.mark.parametrize(
    ("array", "wrong"),
    [
        (pa.array(["a", None, "é"]), []),
        (LATIN, [2]),
        (LATIN.slice(1, 2), [1]),
        (LATIN.slice(3), []),
        (text([0, 1, 2, 4, 5], b"ab\xff\xfec", pa.large_string()), [2]),
        (text([0, 1, 2, 4, 5], b"ab\xff\xfec", pa.binary()), []),
        (text([0, 1, 900, 4, 5], b"abcde"), [1, 2]),
        (text([0, 1, 3, 2, 5], b"abcde"), [1, 2, 3]),
        (text([0, -4, 1, 3], b"abcde", pa.large_binary()), [0, 1]),
        (INDICES, [2, 4]),
        (INDICES.slice(2, 2), [0]),
        (pa.DictionaryArray.from_arrays(pa.array([1, 250], pa.uint8()), pa.array(["a", "b"]), safe=False), [1]),
        (pa.DictionaryArray.from_arrays(pa.array([0, None, 2, 3, 2]), LATIN, safe=False), [2, 4]),
        (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([], pa.string()), safe=False), [0]),
        (pa.ListArray.from_arrays([0, 2, 2, 4], LATIN), [2]),
        (pa.ListArray.from_arrays([0, 2, 2, 4], LATIN).slice(1), [1]),
        (pa.ListArray.from_arrays([0, 2, 2, 4], LATIN).slice(0, 1), []),
        (pa.LargeListArray.from_arrays([0, 1, 9, 4], pa.array([1, 2, 3, 4])), [1, 2]),
        (STRUCT, [2]),
        (STRUCT.slice(2), [0]),
        (pa.FixedSizeListArray.from_arrays(LATIN, 2), [1]),
        (pa.FixedSizeListArray.from_arrays(LATIN, 2).slice(1), [0]),
        (pa.ListArray.from_arrays([0, 1, 3, 4], STRUCT), [1]),
        (pa.array(["a"], pa.string_view()), []),
    ],
)
def test_damaged(array: pa.Array, wrong: list[int]):
    found = damaged(array)
    assert ([] if found is None else np.flatnonzero(found).tolist()) == wrong


def test_rows_beside_a_damaged_one_are_read_and_numbered():
    batch = pa.RecordBatch.from_arrays(
        [INDICES, pa.array([1, 2, 3, 400, 5]), LATIN.take([0, 1, 0, 1, 0])], ["d", "i", "s"]
    )
    parsed = conform(batch, pa.schema([("i", pa.int8()), ("d", INDICES.type)]))
    assert sorted(parsed.bad) == [2, 3, 4]
    assert parsed.bad[2].startswith("column 'd': its index is not in the dictionary") and "400 is no" in parsed.bad[3]
    assert parsed.batch.to_pylist() == [{"i": 1, "d": "a"}, {"i": 2, "d": "b"}]
    unread = conform(batch, pa.schema([("i", pa.int64())]))
    assert (unread.bad, unread.batch.num_rows) == ({}, 5), "what is not read fails nothing"


def test_a_dictionary_of_which_a_value_is_wrong_has_it_no_longer():
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3]), LATIN, safe=False)
    parsed = conform(pa.RecordBatch.from_arrays([column], ["d"]), pa.schema([("d", column.type)]))
    assert list(parsed.bad) == [2]
    parsed.batch.validate(full=True)
    assert parsed.batch.column("d").to_pylist() == ["a", "b", "c"]


@pytest.mark.parametrize("extension", ["arrow", "parquet"])
def test_one_damaged_cell_fails_one_row_of_a_job(command: Command, extension: str):
    texts = [b"fine", b"caf\xe9"]
    names = pa.array([texts[row == 7] for row in range(ROWS)]).view(pa.string())
    indices = pa.array([9 if row == 11 and extension == "arrow" else row % 2 for row in range(ROWS)], pa.int8())
    codes = pa.DictionaryArray.from_arrays(indices, pa.array(["even", "odd"]), safe=False)
    table = command.table.append_column("name", names).append_column("code", codes)
    path = command.folder / f"damaged.{extension}"
    if extension == "parquet":
        pq.write_table(table, path, store_schema=False)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    errors = command.folder / "e.jsonl"
    code, _, err = command.run("--keep", "id,name,code", "--errors", errors, "--quiet", input=path)
    assert (code, err) == (0, "")
    wrong = [7, 11] if extension == "arrow" else [7]
    found = lines(errors)
    assert [(error["row"], error["stage"]) for error in found] == [(row, "read") for row in wrong]
    assert found[0]["reason"] == "column 'name': not UTF-8"
    rows = command.rows()
    assert rows["id"].to_pylist() == [row for row in range(ROWS) if row not in wrong]
    assert rows["code"].to_pylist() == ["odd" if row % 2 else "even" for row in range(ROWS) if row not in wrong]
