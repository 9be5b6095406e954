from __future__ import annotations

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beamsplit.transforms.read import lines


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"", 0),
        (b"a,b", 0),
        (b"a,b\n", 4),
        (b"a,b\nc", 4),
        (b'a,"b\nc', 0),
        (b'a,"b\nc"\nd', 8),
        (b'a,"x""y\n"\n', 10),
        (b'5" pipe,b\nc,"d\ne', 10),
        (b'"a"b"c\nd"\n', 10),
        (b"a\rb\rc", 4),
        (b"a\r", 0),
    ],
)
def test_whole_csv_rows(data, length):
    assert lines.csv_end(",")(data) == length


@pytest.mark.parametrize(
    ("data", "rows"),
    [(b"", 0), (b"\n", 0), (b"a", 1), (b"a\n", 1), (b"a\r\n\r\n\nb", 2), (b'"a\nb"\nc\n', 2), (b"a\rb\r\nc", 3)],
)
def test_csv_rows_are_counted_without_blank_lines(data, rows):
    assert lines.count_csv(data, ",") == rows


@pytest.mark.parametrize(
    ("data", "rows"),
    [(b"", 0), (b"\n", 0), (b"{}", 1), (b"{}\n{}\n", 2), (b"  \n{}\n\r\n\t\n{}", 2), (b"{}\n{}", 2)],
)
def test_json_rows_are_counted_without_blank_lines(data, rows):
    assert lines.count_json(data) == rows


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"", 0),
        (b"\n", 0),
        (b"{}", 1),
        (b"{}\r\n{}\r\n", 2),
        (b"  \n{}\n\r\n\t\n {}  ", 2),
        (b"{}{}", 1),
        (b"null", None),
        (b'{"a":[{},\n{}]}', None),
        (b"{}\n{} 1\n", None),
        (b"{}\r", 1),
        (b"\r", 0),
    ],
)
def test_lines_that_begin_and_end_as_objects_are_counted(data, rows):
    assert lines.count_objects(data) == rows


def outside_of_quotes(data: bytes) -> list[int]:
    """The row ends, byte by byte, as RFC 4180 and pyarrow have it."""
    ends, at, state = [], 0, "start"
    while at < len(data):
        byte = data[at : at + 1]
        if state == "quoted":
            if byte == b'"':
                if data[at + 1 : at + 2] == b'"':
                    at += 1
                else:
                    state = "plain"
        elif byte == b'"' and state == "start":
            state = "quoted"
        elif byte == b"\n":
            ends.append(at)
            state = "start"
        else:
            state = "start" if byte == b"," else "plain"
        at += 1
    return ends


@given(st.text(alphabet='",\na', max_size=30).map(str.encode))
@example(b'"a"b"c\n"\n')
@example(b'a"\n"\n"\n')
@settings(max_examples=300, deadline=None)
def test_row_ends_are_those_of_a_byte_by_byte_parser(data):
    assert lines._row_ends(data, ",", b"\n").tolist() == outside_of_quotes(data)


@given(st.binary(max_size=60), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_runs_are_the_whole_text(data, run_bytes):
    parts = list(lines.runs(io.BytesIO(data), None, lines.line_end, run_bytes))
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts[:-1])


@given(st.lists(st.sampled_from([b"", b"a", b"bcd", b"efghij"]), max_size=12), st.integers(1, 15))
@settings(max_examples=100, deadline=None)
def test_line_starts_begin_lines(texts, target):
    data = b"\n".join(texts)
    starts = lines.line_starts(io.BytesIO(data), 0, len(data), target)
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert all(data[start - 1 : start] == b"\n" and start < len(data) for start in starts[1:])


@given(st.text(alphabet='",\n\ra', max_size=40).map(str.encode), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_a_scan_finds_and_counts_the_same_rows(data, run_bytes):
    scan = lines.CsvScan(",")
    found = [(run, scan.rows(run)) for run in lines.runs(io.BytesIO(data), None, scan, run_bytes)]
    plain = list(lines.runs(io.BytesIO(data), None, lines.csv_end(","), run_bytes))
    assert found == [(run, lines.count_csv(run, ",")) for run in plain]


@pytest.mark.parametrize(
    ("data", "cells"),
    [
        (b"", []),
        (b"a,b\n\nc\r\n,,\n", [2, 1, 3]),
        (b'"a,b\n",c\n"x""y,",\n', [2, 2]),
        (b'a"b,c\n1', [2, 1]),
        (b'1,"open,\n2,3\n', [2]),
    ],
)
def test_cells_of_csv_rows(data, cells):
    assert lines.csv_cells(data, ",").tolist() == cells
