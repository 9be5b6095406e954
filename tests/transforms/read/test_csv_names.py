"""A first line of CSV that is no line of names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import (
    ReadOptions,
    csv_again,
    csv_header,
    find_files,
    input_schema,
    read_split,
    split_file,
)


@pytest.mark.parametrize("line", ["5.1,3.5,1.4", "3,1,2", "1,2,2.5", "-1, 0,1", "7", "0.5", "1e3,2e3", "10,20,30"])
def test_numbers_are_no_names(tmp_path, line):
    path = tmp_path / "x.csv"
    path.write_text(f"{line}\n1,2,3\n")
    with pytest.raises(UsageError, match=r"x\.csv begins with .* --csv_header c0.*--csv_header yes"):
        csv_header.header(str(path))


@pytest.mark.parametrize("line", ["a,b", "0,1,2", "1,2,3", "2019,2020,2021", ",0,1", "id,0.5,0.9", "0", "5.1,setosa"])
def test_names_may_look_like_numbers_in_part(tmp_path, line):
    path = tmp_path / "x.csv"
    path.write_text(f"{line}\n1,2,3\n")
    assert csv_header.header(str(path))[0] == line.split(",")


def read(path, given=None, columns=None):
    files = [replace(file, header=given) for file in find_files([str(path)])]
    options = ReadOptions(input_schema(files, "csv"), columns=columns)
    results = list(read_split(split_file(files[0], 0, "csv", 1 << 20)[0], options))
    rows = [row for result in results if result.block is not None for row in result.block.to_pylist()]
    return [row["a"] for row in rows], [failure for result in results for failure in result.failures]


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_names_again_are_no_row(tmp_path, quote: str):
    path = tmp_path / "x.csv"
    lines = ["a,b", "u,v", "a,b", "w,a", "a,x"]
    path.write_text("".join(",".join(f"{quote}{cell}{quote}" for cell in line.split(",")) + "\n" for line in lines))
    values, failures = read(path)
    assert values == ["u", "w", "a"]
    assert [failure[1:] for failure in failures] == [(1, csv_again.REASON)]
    if not quote:
        assert read(path, ("a", "c"))[0] == ["a", "u", "a", "w", "a"]


def test_a_word_may_be_the_name_of_its_only_column(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a\nb\na\n")
    assert read(path) == (["b", "a"], [])


def test_the_names_again_beside_numbers(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,n\nb,1\na,n\nc,2\n")
    values, failures = read(path, True)
    assert values == ["b", "c"] and [failure.row for failure in failures] == [1]
