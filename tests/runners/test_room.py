"""Room for worker processes."""

from __future__ import annotations

import pytest

from beamsplit.runners import room
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.room import check_room, needed, room_left


def test_where_nothing_is_limited_there_is_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "room_left", lambda: None)
    check_room(1000)


@pytest.mark.parametrize(("left", "told"), [(200 << 20, "leaves 200 MB"), (-5, "leaves 0 MB")])
def test_too_little_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, left: int, told: str):
    monkeypatch.setattr(room, "room_left", lambda: left)
    with pytest.raises(RunnerError) as caught:
        check_room(2)
    assert str(caught.value).startswith("2 worker processes need about ")
    assert told in str(caught.value) and "--worker_type thread" in str(caught.value)


def test_just_enough_is_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "room_left", lambda: needed(2))
    check_room(2)


def test_what_is_left_is_what_the_limit_leaves(monkeypatch: pytest.MonkeyPatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert room_left() is None
    monkeypatch.setattr(room.sys, "platform", "linux")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 50, 1 << 50))
    assert (1 << 49) < room_left() < (1 << 50)
