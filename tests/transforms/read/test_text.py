from __future__ import annotations

import gzip
import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.transforms.block import data_columns
from beamsplit.transforms.read import (
    ReadOptions,
    count_rows,
    find_files,
    input_schema,
    lines,
    make_splits,
    read_all,
    slice_split,
    split_file,
)

INT_TEXT = pa.schema([("a", pa.int64()), ("b", pa.string())])


def read(path, schema=None, split_bytes=10**9, **options):
    """(rows with their numbers, failures with theirs, splits)."""
    files = find_files([str(path)])
    format = "csv" if ".csv" in Path(path).name else "jsonl"
    splits = split_file(files[0], 0, format, split_bytes)
    return (*rows_of(splits, schema or input_schema(files, format), **options), splits)


def rows_of(splits, schema, **options):
    rows, failures = [], []
    for result in read_all(splits, ReadOptions(schema, **options)):
        failures += [(failure.file, failure.row, failure.reason) for failure in result.failures]
        if result.block is not None:
            rows += [tuple(row.values()) for row in result.block.to_pylist()]
    return rows, failures


@pytest.fixture
def file(tmp_path):
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\n1,x\n2,y",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"a,b\r1,x\r2,y\r",
        b"\n\na,b\n\n1,x\n\r\n\n2,y\n\n",
        b'"a","b"\n"1","x"\n2,y\n',
    ],
)
@pytest.mark.parametrize("split_bytes", [1, 5, 10**9])
def test_csv_line_ends_and_blank_lines(file, data, split_bytes):
    path = file("t.csv", data)
    rows, failures, _ = read(path, split_bytes=split_bytes)
    assert rows == [(1, "x", str(path), 0), (2, "y", str(path), 1)]
    assert failures == []


@pytest.mark.parametrize("data", [b"", b"a,b", b"a,b\n", b"a,b\n\n\n"])
def test_csv_without_rows(file, data):
    rows, failures, _ = read(file("t.csv", data), INT_TEXT, split_bytes=1)
    assert (rows, failures) == ([], [])


def test_csv_bad_rows_keep_the_numbers_of_the_others(file):
    path = file("t.csv", b"a,b\n1,x\nzwei,y\n3\n\n4,z,5\n5,v\n6,\xff\n7,w\n")
    for split_bytes in (1, 12, 10**9):
        rows, failures, _ = read(path, INT_TEXT, split_bytes)
        assert rows == [(1, "x", str(path), 0), (5, "v", str(path), 4), (7, "w", str(path), 6)]
        assert sorted(failures) == [
            (str(path), 1, "column 'a': 'zwei' is no int64"),
            (str(path), 2, "1 fields, but there are 2 columns"),
            (str(path), 3, "3 fields, but there are 2 columns"),
            (str(path), 5, "column 'b': '\\xff' is not UTF-8 (see --encoding)"),
        ]


def test_csv_quote_that_is_never_closed_is_one_bad_row(file):
    rows, failures, _ = read(file("t.csv", b'a,b\n1,x\n2,"y\n3,z\n'), INT_TEXT)
    assert [row[:2] for row in rows] == [(1, "x")]
    assert [failure[1] for failure in failures] == [1]


VERBATIM = [
    ("1.10", "1.10"),
    (" 007 ", " 007 "),
    ("+1e5", "+1e5"),
    ("NA", "NA"),
    ("null", "null"),
    ("", None),
    ('""', ""),
    ('" "', " "),
    ('"a ""q"", b"', 'a "q", b'),
    ('"two\r\nlines"', "two\r\nlines"),
    ("\U0001f600 \u0000", "\U0001f600 \u0000"),
    ("9" * 400, "9" * 400),
]


@pytest.mark.parametrize("others", [b"1", b"x"], ids=["all good", "one bad"])
@pytest.mark.parametrize("cells", [VERBATIM, [pair for pair in VERBATIM if pair[0] != '""' and "q" not in pair[0]]])
def test_csv_columns_that_only_pass_through_keep_every_byte(file, cells, others):
    text = "".join(f"1,{cell}\n" for cell, _ in cells)
    path = file("t.csv", b"n,a\n" + text.encode() + others + b",last\n")
    schema = pa.schema([("a", pa.string()), ("n", pa.int64())])
    rows, failures, _ = read(path, schema, verbatim=("a",))
    wanted = [value for _, value in cells] + (["last"] if others == b"1" else [])
    assert [row[0] for row in rows] == wanted
    assert len(failures) == (others == b"x")


def test_csv_text_that_is_not_utf8_fails_its_row(file):
    path = file("t.csv", b"id,city\n1,Bonn\n2,m\xfcnchen\n3,Ulm\n")
    assert input_schema(find_files([str(path)]), "csv").types == [pa.int64(), pa.string()]
    rows, failures, _ = read(path)
    assert [row[:2] for row in rows] == [(1, "Bonn"), (3, "Ulm")]
    assert failures == [(str(path), 1, "column 'city': 'm\\xfcnchen' is not UTF-8 (see --encoding)")]


def test_csv_columns_are_found_by_name_and_read_as_asked(file):
    path = file("t.csv", b"b,a,c\nx, 1.5 ,true\ny,,false\n")
    schema = pa.schema([("c", pa.bool_()), ("a", pa.float32()), ("b", pa.dictionary(pa.int32(), pa.string()))])
    rows, _, _ = read(path, schema)
    assert [row[:3] for row in rows] == [(True, 1.5, "x"), (False, None, "y")]
    rows, _, _ = read(path, schema, columns=("a",))
    assert [row[0] for row in rows] == [1.5, None]
    rows, _, _ = read(path, pa.schema([("a", pa.float16())]))
    assert [row[0] for row in rows] == [1.5, None]
    rows, _, _ = read(path, schema, columns=())
    assert rows == [(str(path), 0), (str(path), 1)]


def test_csv_bad_cells_of_every_type_are_found(file):
    path = file(
        "t.csv",
        b"i,f,b,t,d\n1,1.5,true,2024-01-02,k\nx,1,true,2024-01-02,k\n2,y,true,2024-01-02,k\n"
        b"3,1,maybe,2024-01-02,k\n4,1,true,never,k\n5, ,,,k\n",
    )
    schema = pa.schema(
        [
            ("i", pa.int32()),
            ("f", pa.float16()),
            ("b", pa.bool_()),
            ("t", pa.date32()),
            ("d", pa.dictionary(pa.int8(), pa.string())),
        ]
    )
    rows, failures, _ = read(path, schema)
    assert [row[0] for row in rows] == [1, 5]
    assert [reason for _, _, reason in failures] == [
        "column 'i': 'x' is no int32",
        "column 'f': 'y' is no halffloat",
        "column 'b': 'maybe' is no bool",
        "column 't': 'never' is no date32[day]",
    ]


def test_rows_of_csv_without_the_column_fail(file):
    path = file("t.csv", b"a\n1\n2\n")
    rows, failures, _ = read(path, INT_TEXT)
    assert rows == []
    assert failures == [(str(path), at, "no column 'b' (string) in this file, it has a") for at in range(2)]


CELLS = st.text(alphabet=st.sampled_from('ab",\n\r\t é\U0001f600'), min_size=1, max_size=6)


@given(
    st.lists(st.tuples(CELLS, CELLS), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.integers(1, 80),
    st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_csv_splits_hold_every_row_once_in_order(cells, newline, last_newline, quote_all, split_bytes, run_bytes):
    def quoted(cell: str) -> str:
        return '"' + cell.replace('"', '""') + '"' if quote_all or set(cell) & set('",\r\n') else cell

    text = newline.join(["x,y", *(f"{quoted(x)},{quoted(y)}" for x, y in cells)])
    data = (text + newline * last_newline).encode()
    schema = pa.schema([("x", pa.string()), ("y", pa.string())])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "RUN_BYTES", run_bytes)
        patch.setattr(lines, "SCAN_BYTES", run_bytes)
        path = Path(folder, "t.csv")
        path.write_bytes(data)
        rows, failures, splits = read(path, schema, split_bytes)
        assert failures == []
        assert rows == [(*row, str(path), at) for at, row in enumerate(cells)]
        assert sum(count_rows(split) for split in splits) == len(cells)
        if len(splits) > 1:
            assert sum(split.rows for split in splits) == len(cells)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n',
        b'{"a":1,"b":"x"}\r\n\r\n{"a":2,"b":"y"}',
        b'\xef\xbb\xbf{"a":1,"b":"x"}\n  \n  {"a":2,"b":"y","c":[1]}\n\n',
    ],
)
def test_json_line_ends_and_blank_lines(file, data):
    path = file("t.jsonl", data)
    rows, failures, _ = read(path, INT_TEXT)
    assert rows == [(1, "x", str(path), 0), (2, "y", str(path), 1)]
    assert failures == []


BAD_LINES = [b"null", b"[1]", b"1", b"{", b'{"a":1} {"a":2}', b'{"a":1} null', b'{"a":"x"}', b'{"a":1.5}',
             b'{"a":1,"a":2}', b'{"b":"\xff"}', b"nonsense", b'{"a":99999999999999999999}']  # fmt: skip


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("alone", [True, False])
def test_json_bad_lines(file, bad, alone):
    good = [] if alone else [b'{"a":1}', b'{"a":2}']
    path = file("t.jsonl", b"\n".join([*good, bad, b"", *good]))
    rows, failures, _ = read(path, INT_TEXT)
    assert [row[0] for row in rows] == ([] if alone else [1, 2, 1, 2])
    assert [row[-1] for row in rows] == ([] if alone else [0, 1, 3, 4])
    assert [(file, row) for file, row, _ in failures] == [(str(path), len(good))]


def test_json_infers_from_the_good_lines(file):
    path = file("t.jsonl", b'null\n{"a":1,"b":[1,2.5],"c":{"d":null},"e":null}\n[\n{"a":2}\n')
    schema = input_schema(find_files([str(path)]), "jsonl")
    assert schema == pa.schema(
        [("a", pa.int64()), ("b", pa.list_(pa.float64())), ("c", pa.struct([("d", pa.string())])), ("e", pa.string())]
    )
    rows, failures, _ = read(path, schema)
    assert [row[:4] for row in rows] == [(1, [1.0, 2.5], {"d": None}, None), (2, None, None, None)]
    assert [row for _, row, _ in failures] == [0, 2]


VALUES = st.fixed_dictionaries(
    {}, optional={"n": st.integers(-5, 5), "s": st.text(max_size=5), "l": st.lists(st.floats(-1, 1), max_size=3)}
)


@given(st.lists(VALUES, max_size=12), st.integers(1, 80), st.integers(1, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_json_splits_hold_every_row_once_in_order(values, split_bytes, run_bytes, ascii_only):
    data = "\n".join(json.dumps(value, ensure_ascii=ascii_only) for value in values).encode()
    schema = pa.schema([("n", pa.int64()), ("s", pa.string()), ("l", pa.list_(pa.float64()))])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "RUN_BYTES", run_bytes)
        path = Path(folder, "t.jsonl")
        path.write_bytes(data)
        rows, failures, splits = read(path, schema, split_bytes)
        assert failures == []
        assert [row[:3] for row in rows] == [(v.get("n"), v.get("s"), v.get("l")) for v in values]
        assert sum(count_rows(split) for split in splits) == len(values)
        for split in splits:
            numbers = [row[-1] for row in rows_of([split], schema)[0]]
            assert numbers == list(range(len(numbers)))
            assert split.origin_file() == (str(path) if split.start == 0 else f"{path}#byte={split.start}")


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_row_ranges_of_text_cover_it_once(file, name, monkeypatch):
    lines_of = {
        "t.csv": ["a,b", *(f"{i},x" if i % 4 else "bad,x" for i in range(20))],
        "t.jsonl": [f'{{"a":{i},"b":"x"}}' if i % 4 else "bad" for i in range(20)],
    }
    path = file(name, "\n".join(lines_of[name]).encode())
    monkeypatch.setattr(lines, "RUN_BYTES", 25)
    rows, failures, splits = read(path, INT_TEXT)
    assert [row[-1] for row in rows] == [i for i in range(20) if i % 4]
    for cuts in ([0, 20], [0, 1, 4, 5, 13, 20], list(range(21))):
        parts = [slice_split(splits[0], begin, end) for begin, end in pairwise(cuts)]
        assert [count_rows(part) for part in parts] == [e - b for b, e in pairwise(cuts)]
        got = rows_of(parts, INT_TEXT)
        assert got[0] == rows
        assert sorted(got[1]) == sorted(failures)


@pytest.mark.parametrize(
    ("name", "data"), [("t.csv.gz", b"a,b\n1,x\n2,y\n"), ("t.jsonl.gz", b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}')]
)
def test_compressed_text_is_one_split(file, name, data):
    path = file(name, gzip.compress(data))
    rows, _, splits = read(path, INT_TEXT, split_bytes=1)
    assert len(splits) == 1
    assert rows == [(1, "x", str(path), 0), (2, "y", str(path), 1)]
    assert count_rows(splits[0]) == 2


def test_blocks_are_no_larger_than_asked(file):
    path = file("t.csv", b"a,b\n" + b"1,x\n" * 100)
    files = find_files([str(path)])
    blocks = [r.block for r in read_all(split_file(files[0], 0, "csv", 10**9), ReadOptions(INT_TEXT, block_rows=30))]
    assert [block.num_rows for block in blocks] == [30, 30, 30, 10]
    assert all(data_columns(block.schema) == ["a", "b"] for block in blocks)


def test_a_row_with_too_many_cells_that_are_not_utf8_fails_alone(tmp_path, capfd):
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,c\n1,x\n\xe4,2,3\n2,\xe4\n\xe4\n3,"y\n\xc3\xa4"\n4,\n')
    files = find_files([str(path)])
    found = input_schema(files, "csv")
    schema = pa.schema([("a", pa.int64()), ("c", pa.string())])
    assert found.field("c") == schema.field("c")
    results = list(read_all(make_splits(files, "csv", 1), ReadOptions(schema)))
    rows = [(row["a"], row["c"], row["_origin_row"]) for r in results if r.block for row in r.block.to_pylist()]
    assert rows == [(1, "x", 0), (3, "y\nä", 4), (4, None, 5)]
    assert [(failure.row, failure.reason) for r in results for failure in r.failures] == [
        (1, "3 fields, but there are 2 columns"),
        (2, "column 'c': '\\xe4' is not UTF-8 (see --encoding)"),
        (3, "1 fields, but there are 2 columns"),
    ]
    assert capfd.readouterr().err == ""
