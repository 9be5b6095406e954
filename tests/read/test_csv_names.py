"""A first line of CSV that is no line of names."""

from __future__ import annotations

import pytest

from models.errors import UsageError
from transforms.read import csv_header


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
