"""CSV whose first rows mislead: cells that are no numbers, no rows at all, fractions further down."""

from __future__ import annotations

import json

import numpy as np

from tests.command import Command, lines


def write(command: Command, text: str):
    path = command.folder / "data.csv"
    path.write_text(text)
    return path


def test_a_cell_that_is_no_number_fails_its_row_only(command: Command):
    path = write(command, "id,a,b,c,d\n0,1,2,3,4\n1,1,oops,3,4\n2,1,2,3,4\n")
    errors = command.folder / "errors.jsonl"
    code, _, err = command.run("--keep", "id", "--errors", errors, input=path)
    assert code == 0, err
    assert command.rows().column("id").to_pylist() == [0, 2]
    (error,) = [json.loads(line) for line in errors.read_text().splitlines()]
    assert (error["row"], error["stage"]) == (1, "read")
    assert "oops" in error["reason"] and "'b'" in error["reason"]


def test_a_header_without_rows_gives_an_empty_output(command: Command):
    code, _, err = command.run("--keep", "id", input=write(command, "id,a,b,c,d\n"))
    assert code == 0, err
    assert command.rows().num_rows == 0


def test_columns_of_words_are_still_an_error(command: Command):
    path = write(command, "id,a,b,c,d\n0,red,2,3,4\n1,green,2,3,4\n")
    assert "column 'a' is string" in command.error(input=path)


def test_fractions_far_below_whole_numbers_are_read(command: Command):
    rows = [f"{row},1,2,3,4" for row in range(200_000)] + ["200000,0.5,0.5,0.5,0.5"]
    path = write(command, "\n".join(["id,a,b,c,d", *rows]) + "\n")
    code, _, err = command.run("--keep", "id", input=path)
    assert code == 0, err
    assert command.rows().num_rows == 200_001


def test_nan_in_csv_is_a_number_and_an_empty_cell_is_none(command: Command):
    data = command.folder / "data.csv"
    data.write_text("id,a,b,c,d\n0,1,2,3,4\n1,nan,2,3,4\n2,,2,3,4\n3,-NaN,2,3,x\n4,inf,NaN,NA,4\n5,NaN,nan,NaN,nan\n")
    code, _, err = command.run("--keep", "id", "--errors", command.folder / "e.jsonl", "--quiet", input=data)
    assert (code, err) == (0, "")
    written = command.rows()
    assert written["id"].to_pylist() == [0, 1, 5]
    assert np.isnan(written["y"].combine_chunks().to_numpy_ndarray()).all(axis=1).tolist() == [False, True, True]
    assert sorted((error["row"], error["reason"]) for error in lines(command.folder / "e.jsonl")) == [
        (2, "null in column 'a'; --nulls a=VALUE would fill it"),
        (3, "column 'd': 'x' is no double"),
        (4, "null in column 'c'; --nulls c=VALUE would fill it"),
    ]


def test_kept_keys_of_csv_lose_no_digit(command: Command):
    data = command.folder / "data.csv"
    data.write_text(
        "id,zip,big,plus,a,b,c,d\n7,00123,12345678901234567890,+1,1,2,3,4\n8,9,1,2,x,2,3,4\n-0,0,2,3,01,2,3,4\n"
    )
    kept = command.run(
        "--keep", "id,zip,big,plus", "--num_shards", "1", "--quiet", "--errors", command.folder / "e", input=data
    )
    assert kept == (0, "", "")
    written = command.rows().select(["id", "zip", "big", "plus"]).to_pylist()
    assert written == [
        {"id": 0, "zip": "0", "big": "2", "plus": "3"},
        {"id": 7, "zip": "00123", "big": "12345678901234567890", "plus": "+1"},
    ]
    assert [error["reason"] for error in lines(command.folder / "e")] == ["column 'a': 'x' is no double"]


def test_json_fields_of_no_arrow_type_are_json_text(command: Command):
    data = command.folder / "data.jsonl"
    rows = [{"id": at, "a": 1, "b": 2, "c": 3, "d": at, "odd": [at, "x"], "more": {"k": [at, "x"]}} for at in range(3)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert command.run("--keep", "id", "--quiet", input=data) == (0, "", "")
    assert command.rows()["id"].to_pylist() == [0, 1, 2]
    assert command.run("--keep", "id,odd", "--quiet", input=data) == (0, "", "")
    assert command.rows()["odd"].to_pylist() == ['[0, "x"]', '[1, "x"]', '[2, "x"]']
