from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms import lines
from transforms.lines import line_ends, rows_before


def test_a_line_feed_inside_quotes_ends_no_row():
    ends, inside = line_ends(b'a,"x\ny"\nb,"z\n', False, quotes=True)
    assert (ends.tolist(), inside) == ([7], True)
    ends, inside = line_ends(b'"\n', True, quotes=True)
    assert (ends.tolist(), inside) == ([1], False)


def test_without_quotes_every_line_feed_ends_a_row():
    ends, inside = line_ends(b'"\n"\n', False, quotes=False)
    assert (ends.tolist(), inside) == ([1, 3], False)


def test_empty_lines_are_no_rows():
    data = b"a\n\n\r\nbc\r\n\nd"
    assert rows_before(io.BytesIO(data), [0, 1, 2, 3, 5, 6, len(data)], quotes=False) == [0, 1, 1, 1, 1, 2, 3]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.text('ab",\n\r é', max_size=5), min_size=2, max_size=2), max_size=8),
    st.integers(1, 9),
    st.sampled_from(["\n", "\r\n"]),
)
def test_counts_what_the_csv_module_wrote(rows, chunk, terminator):
    text = io.StringIO(newline="")
    starts = []
    for row in rows:
        starts.append(len(text.getvalue().encode()))
        csv.writer(text, lineterminator=terminator, quoting=csv.QUOTE_ALL).writerow(row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK", chunk)
        assert rows_before(io.BytesIO(text.getvalue().encode()), starts, quotes=True) == list(range(len(rows)))
