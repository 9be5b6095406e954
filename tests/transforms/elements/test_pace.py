from __future__ import annotations

import pytest

from beamsplit.transforms.elements import pace
from beamsplit.transforms.elements.pace import LONE_ROWS, Pace


def sent_on(
    monkeypatch: pytest.MonkeyPatch, wait: float | None, bundles: list[list[float]], taking: float = 0
) -> list[list[float]]:
    """The times of each bundle's rows at which those that wait go on, without those that its end sends on.

    Args:
        monkeypatch: of the clock.
        wait: seconds that rows may wait.
        bundles: the times at which rows of each come.
        taking: seconds that going on takes.
    """
    asked = Pace(wait)
    every = []
    for times in bundles:
        asked.start_bundle()
        sent, waiting = [], 0
        for now in times:
            monkeypatch.setattr(pace.time, "monotonic", lambda now=now: now)
            waiting += 1
            if asked.is_over(waiting == 1):
                sent.append(now)
                waiting = 0
                monkeypatch.setattr(pace.time, "monotonic", lambda now=now: now + taking)
                asked.went_on()
        every.append(sent)
    return every


def quick(first: float, rows: int = 13) -> list[float]:
    """A row each 5 ms."""
    return [round(first + 0.005 * at, 3) for at in range(rows)]


ENDED = [quick(at) for at in (1, 2, 3)]
"""Bundles without a pause: their source ends them where it has no more."""


def test_rows_that_come_fast_wait_for_one_another(monkeypatch: pytest.MonkeyPatch):
    # After a pause, the first alone; then those of 20 ms together.
    assert sent_on(monkeypatch, 0.02, [*ENDED, quick(10)])[-1] == [10, 10.03, 10.06]


def test_rows_go_on_as_they_come_until_bundles_are_known_to_end(monkeypatch: pytest.MonkeyPatch):
    # A burst of 20 ms goes on row by row: it may be all, and nothing tells. What goes on longer is collected.
    first, *_ = sent_on(monkeypatch, 0.02, [quick(10)])
    assert first == [*quick(10, LONE_ROWS), 10.06]
    first, *_ = sent_on(monkeypatch, 0.1, [quick(10)])
    assert first == quick(10)
    # A bundle in which rows waited for the source shows that it does not end it.
    paused = [*quick(10, 2), *quick(11, 2)]
    assert sent_on(monkeypatch, 0.02, [*ENDED, paused, quick(20, 3)])[-2:] == [[10, 11, 11.005], quick(20, 3)]


def test_what_going_on_takes_is_no_pause(monkeypatch: pytest.MonkeyPatch):
    times = [10, 10.1, 10.101]
    assert sent_on(monkeypatch, 0.02, [*ENDED, times], taking=0.1)[-1] == times[:1]


def test_rows_that_come_rarely_do_not_wait(monkeypatch: pytest.MonkeyPatch):
    times = [10.0, 10.5, 11.0, 12.0]
    assert sent_on(monkeypatch, 0.02, [times]) == [times]


def test_rows_of_what_has_an_end_wait_for_it(monkeypatch: pytest.MonkeyPatch):
    assert sent_on(monkeypatch, None, [[10.0, 20.0]]) == [[]]
