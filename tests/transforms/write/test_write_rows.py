from __future__ import annotations

from beamsplit.transforms.write.rows import line_ends


def test_a_line_feed_inside_quotes_ends_no_row():
    ends, inside = line_ends(b'a,"x\ny"\nb,"z\n', False, quotes=True)
    assert (ends.tolist(), inside) == ([7], True)
    ends, inside = line_ends(b'"\n', True, quotes=True)
    assert (ends.tolist(), inside) == ([1], False)


def test_without_quotes_every_line_feed_ends_a_row():
    ends, inside = line_ends(b'"\n"\n', False, quotes=False)
    assert (ends.tolist(), inside) == ([1, 3], False)
