from __future__ import annotations

import pytest

from beamsplit.transforms.elements import pace
from beamsplit.transforms.elements.pace import Pace


def sent_on(monkeypatch: pytest.MonkeyPatch, wait: float | None, times: list[float]) -> list[float]:
    """The times of rows at which those that wait go on."""
    asked = Pace(wait)
    sent, waiting = [], 0
    for now in times:
        monkeypatch.setattr(pace.time, "monotonic", lambda now=now: now)
        waiting += 1
        if asked.is_over(waiting == 1):
            sent.append(now)
            waiting = 0
    return sent


def test_rows_that_come_fast_wait_for_one_another(monkeypatch: pytest.MonkeyPatch):
    # After a pause, the first alone; then those of 20 ms together.
    assert sent_on(monkeypatch, 0.02, [10 + 0.005 * at for at in range(13)]) == [10, 10.03, 10.06]


def test_rows_that_come_rarely_do_not_wait(monkeypatch: pytest.MonkeyPatch):
    times = [10.0, 10.5, 11.0, 12.0]
    assert sent_on(monkeypatch, 0.02, times) == times


def test_rows_of_what_has_an_end_wait_for_it(monkeypatch: pytest.MonkeyPatch):
    assert sent_on(monkeypatch, None, [10.0, 20.0]) == []
