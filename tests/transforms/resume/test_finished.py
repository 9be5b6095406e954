"""What is told of a job that was done already."""

from __future__ import annotations

from beamsplit.transforms.resume.finish import Finished


def test_all_splits_and_rows_were_taken_over_and_none_is_scored_again():
    counters = {"rows_read": 90, "rows_unreadable": 7, "rows_written": 85}
    assert Finished(counters, None, 3).told == {"splits": 3, "of_splits": 3, "rows": 97, "scored_again": 0}
    assert Finished().told == {"splits": 0, "of_splits": 0, "rows": 0, "scored_again": 0}
