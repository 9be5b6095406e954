"""CSV without a header, or with one that looks like a row: read as it is said to be."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import (
    NoColumns,
    ReadOptions,
    assign_splits,
    count_rows,
    find_files,
    has_rows,
    input_schema,
    make_splits,
    read_all,
    read_sample,
    split_file,
    total_rows,
)
from beamsplit.transforms.read.csv_header import header

NAMES = ("id", "a", "text")
ROWS = [(at, at / 2, f"t{at}\nu" if at % 7 == 0 else f"t{at}") for at in range(60)]
TEXT = "".join(f'{number},{half},"{text}"\n' for number, half, text in ROWS)


def files_of(path, given):
    return [replace(file, header=given) for file in find_files([str(path)])]


def rows_of(splits, schema):
    rows, failures = [], []
    for result in read_all(splits, ReadOptions(schema)):
        failures += [(failure.row, failure.reason) for failure in result.failures]
        if result.block is not None:
            rows += [tuple(row.values()) for row in result.block.to_pylist()]
    return rows, failures


def expected(path):
    return [(*row, str(path), at) for at, row in enumerate(ROWS)]


@pytest.mark.parametrize("text", [TEXT, "\ufeff" + TEXT, "\n\n" + TEXT, TEXT.replace("\n", "\r\n"), TEXT[:-1]])
@pytest.mark.parametrize("split_bytes", [1, 100, 10**9])
@pytest.mark.parametrize("given", [NAMES, False])
def test_the_first_line_is_row_0(tmp_path, text, split_bytes, given):
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    files = files_of(path, given)
    schema = input_schema(files, "csv")
    assert schema.names == (list(NAMES) if given else ["column_1", "column_2", "column_3"])
    splits = split_file(files[0], 0, "csv", split_bytes)
    assert (len(splits) > 1) == (split_bytes < 10**9)
    assert sum(count_rows(split) for split in splits) == len(ROWS)
    rows, failures = rows_of(splits, schema)
    wanted = [(*row[:2], row[2].replace("\n", "\r\n") if "\r" in text else row[2], *row[3:]) for row in expected(path)]
    assert (rows, failures) == (wanted, [])
    assert abs(total_rows(files, "csv") - len(ROWS)) <= 1
    assert [row["a" if given else "column_2"] for row in read_sample(files, "csv", ReadOptions(schema), 3).to_pylist()]


def test_compressed_files_of_workers_that_share_the_rows(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(("\ufeff" + TEXT).encode()))
    files = files_of(path, NAMES)
    splits = [split for _, split in assign_splits(make_splits(files, "csv", 1), [0, 20, 60])]
    assert len(splits) == 2
    assert rows_of(splits, input_schema(files, "csv")) == (expected(path), [])


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_text_that_is_not_utf_8(tmp_path, encoding):
    path = tmp_path / "x.csv"
    path.write_bytes("1,é\n2,ü\n".encode(encoding))
    files = [replace(file, encoding=encoding) for file in files_of(path, ("a", "b"))]
    rows, failures = rows_of(split_file(files[0], 0, "csv", 1), input_schema(files, "csv"))
    assert ([row[:2] for row in rows], failures) == ([(1, "é"), (2, "ü")], [])
    path.write_bytes("é,1\né,2\n".encode(encoding))
    with pytest.raises(UsageError, match="looks like a row"):
        header(str(path), encoding)


def test_a_first_row_that_is_not_utf_8_fails_alone(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"1,\xe9\n2,x\n")
    files = files_of(path, False)
    rows, failures = rows_of(make_splits(files, "csv", 1), input_schema(files, "csv"))
    assert [row[:2] for row in rows] == [(2, "x")]
    assert failures == [(0, "column 'column_2': '\\xe9' is not UTF-8 (see --encoding)")]


def test_types_come_from_all_files_and_rows(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n")
    (tmp_path / "b.csv").write_text("x,2.5\n")
    (tmp_path / "empty.csv").write_text("")
    assert input_schema(files_of(tmp_path, False), "csv") == pa.schema(
        {"column_1": pa.string(), "column_2": pa.float64()}
    )


def test_numbers_that_are_said_to_be_names(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("0.1,0.5\n1,2\n3,4\n")
    files = files_of(path, True)
    schema = input_schema(files, "csv")
    assert schema.names == ["0.1", "0.5"]
    assert [row[:2] for row in rows_of(make_splits(files, "csv", 1), schema)[0]] == [(1, 2), (3, 4)]


@pytest.mark.parametrize("text", ["1,2,3\n4,5\n6,7,8\n", "1,2\n3,4,5\n6,7,8\n", "1,2,3"])
def test_one_odd_row_does_not_tell_the_number_of_columns(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    files = files_of(path, False)
    assert input_schema(files, "csv").names == ["column_1", "column_2", "column_3"]
    _, failures = rows_of(make_splits(files, "csv", 1), input_schema(files, "csv"))
    odd = [at for at, line in enumerate(text.split()) if line.count(",") == 1]
    assert failures == [(at, "2 fields, but there are 3 columns") for at in odd]
    given = files_of(path, ("a", "b", "c"))
    assert rows_of(make_splits(given, "csv", 1), input_schema(given, "csv"))[1] == failures


@pytest.mark.parametrize(("names", "cells"), [(("a", "b"), 3), (("a", "b", "c", "d"), 3)])
def test_names_of_another_number_than_the_cells_are_refused(tmp_path, names, cells):
    (tmp_path / "a.csv").write_text(",".join(names).replace("a", "1").replace("b", "2") + "\n")
    (tmp_path / "b.csv").write_text("1,2,3\n" * 3 + ",".join("9" for _ in names) + "\n")
    with pytest.raises(
        UsageError, match=rf"b\.csv has {cells} cells a row, and --csv_header names {len(names)} \(a, b"
    ):
        input_schema(files_of(tmp_path, names), "csv")


def test_names_that_the_file_has_itself_are_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a, b\n1,2\n")
    with pytest.raises(UsageError, match=r"x\.csv has the names .* in its first line, so it has a header: leave"):
        input_schema(files_of(path, ("a", "b")), "csv")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_nothing_has_the_columns_that_are_named(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    files = files_of(path, ("a", "b"))
    assert input_schema(files, "csv") == pa.schema({"a": pa.string(), "b": pa.string()})
    assert rows_of(make_splits(files, "csv", 1), input_schema(files, "csv")) == ([], [])
    assert not has_rows(files, "csv") and not total_rows(files, "csv")
    with pytest.raises(NoColumns):
        input_schema(files_of(path, False), "csv")


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", True),
        ("setosa,5.1,male\nvirginica,1,male\nsetosa,2,female\n", True),
        ("2026-11-01,NA,7\n2026-11-02,1,8\n", True),
        ("5,,nan\n4,1,2\n", True),
        ("Na,K,None\n1,2,3\n", False),
        ("id,2026-11-01,2026-11-02\n1,2,3\n", False),
        ("id,0.5,0.9\na,1,2\nb,1,2\n", False),
        ("setosa,5.1,male\nvirginica,1,male\n", False),
        ("name,city\nname,city\n", False),
        ("name,city,land\na,b,c\nname,city,land\nd,e,f\n", False),
        ("red,small,round\nred,big,square\nblue,small,round\n", True),
        ("red,small,round\nred,big,square\nblue,small,oval\n", False),
        ("word\nthis\nword\nis\n", False),
        (",0,1\n,1,2\n", False),
    ],
)
def test_words_that_stand_in_their_columns_again_are_no_names(tmp_path, text, row):
    path = tmp_path / "x.csv"
    path.write_text(text)
    if row:
        with pytest.raises(UsageError, match=r"looks like a row .* --csv_header c0,c1,c2, .* by --csv_header no"):
            header(str(path))
        assert header(str(path), given=True)[1] == text.index("\n") + 1
        assert header(str(path), given=False)[1] == 0
    else:
        assert header(str(path))[0] == text.split("\n")[0].split(",")


def test_a_row_of_one_value_twice_tells_the_option(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("x,0.5,0.5\n")
    with pytest.raises(UsageError, match=r"several columns named '0.5' .* --csv_header no if that line is a row"):
        header(str(path))


def test_a_first_cell_that_is_large_or_never_closed(tmp_path):
    path = tmp_path / "x.csv"
    for text, wanted in {f"1,{'z' * 200_000}\n2,{'z' * 200_000}\n": [], '1,"open\n2,x\n': [0]}.items():
        path.write_text(text)
        for given in (False, ("a", "b")):
            files = files_of(path, given)
            schema = input_schema(files, "csv")
            rows, failures = rows_of(make_splits(files, "csv", 1), schema)
            assert (len(schema), len(rows), [at for at, _ in failures]) == (2, 2 * (not wanted), wanted)
        with pytest.raises(UsageError, match="never closed" if wanted else "too large for a name"):
            header(str(path))
