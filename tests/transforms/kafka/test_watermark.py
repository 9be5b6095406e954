from __future__ import annotations

import numpy as np

from beamsplit.transforms.kafka.watermark import Watermarks


def saw(marks: Watermarks, now: float, *messages: tuple[int, int]) -> None:
    marks.saw(np.array([p for p, _ in messages]), np.array([t for _, t in messages]), now)


def test_the_slowest_partition_counts():
    marks = Watermarks(idle_seconds=5)
    saw(marks, 0.0, (0, 100), (1, 70), (0, 90))
    assert marks.value(1.0) == 70


def test_nothing_is_known_while_a_partition_is_new():
    marks = Watermarks(idle_seconds=5)
    marks.add(1, 0.0)
    saw(marks, 0.0, (0, 100))
    assert marks.value(1.0) is None
    assert marks.value(6.0) == 100


def test_an_idle_partition_does_not_hold_back_the_others_unless_messages_wait_in_it():
    marks = Watermarks(idle_seconds=5)
    saw(marks, 0.0, (0, 100), (1, 70))
    saw(marks, 9.0, (0, 200))
    assert marks.value(10.0) == 200
    assert marks.value(10.0, behind=frozenset({1})) == 70


def test_times_never_go_back_and_missing_ones_are_left_out():
    marks = Watermarks(idle_seconds=5)
    saw(marks, 0.0, (0, 100))
    saw(marks, 1.0, (0, 50), (0, -1))
    assert marks.value(1.0) == 100
    assert marks.value(100.0) == 100
