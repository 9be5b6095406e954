"""A topic up to its end with a group: one job at a time, from where the one before has ended."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.sources.group import OffsetsNotCommittedError, holding_group
from beamsplit.transforms.kafka import group_hold
from beamsplit.transforms.kafka.config import ClientConfig, Topic


class Messages:
    """What of a topic a job reads."""

    def __init__(self, name: str, log: list[str], current: bool = True, group: str | None = "g", fails: bool = False):
        self.config, self.topic, self.group = ClientConfig("h:1"), Topic("h:1", "in"), group
        self._name, self._log, self._current, self._fails = name, log, current, fails

    def is_current(self) -> bool:
        return self._current

    def commit(self) -> None:
        if self._fails:
            raise RuntimeError("no coordinator")
        self._log.append(f"{self._name} is committed")


class Hold:
    """Holds a group; tells at once that another job has it, where it is told to."""

    lost: str | None = None
    log: list[str]

    def __init__(self, config: object, topic: str, group: str, once: bool, call: Callable[[str], None]):
        assert (topic, group, once) == ("in", "g", False)
        if self.lost is not None:
            call(self.lost)

    def __enter__(self) -> None:
        self.log.append("held")

    def __exit__(self, *_: object) -> None:
        self.log.append("let go")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens, in its order."""
    made: list[str] = []
    monkeypatch.setattr(Hold, "log", made, raising=False)
    monkeypatch.setattr(group_hold, "GroupHold", Hold)
    return made


def job(messages: Messages | None) -> Any:
    return SimpleNamespace(source=messages or SimpleNamespace(group=None))


def never() -> Any:
    raise AssertionError("planned anew")


def test_what_was_read_is_committed_while_the_group_is_held(log: list[str]):
    planned = job(Messages("first", log))
    with holding_group(planned, never) as held:
        assert held is planned
        log.append("run")
    assert log == ["held", "run", "first is committed", "let go"]


def test_a_job_is_planned_anew_where_another_has_moved_the_group(log: list[str]):
    anew = job(Messages("second", log))
    with holding_group(job(Messages("first", log, current=False)), lambda: anew) as held:
        assert held is anew
    assert log == ["held", "second is committed", "let go"]


def test_nothing_is_committed_of_a_job_that_failed(log: list[str]):
    with pytest.raises(UsageError), holding_group(job(Messages("first", log)), never):
        raise UsageError("no")
    assert log == ["held", "let go"]


def test_a_commit_that_fails_is_told(log: list[str]):
    with (
        pytest.raises(OffsetsNotCommittedError, match="no coordinator"),
        holding_group(job(Messages("first", log, fails=True)), never),
    ):
        pass
    assert log == ["held", "let go"]


def test_a_group_that_another_job_has_taken_over_is_not_moved(log: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Hold, "lost", "--group g was taken over by another job")
    with (
        pytest.raises(OffsetsNotCommittedError, match="taken over by another job"),
        holding_group(job(Messages("first", log)), never),
    ):
        pass
    assert log == ["held", "let go"]


@pytest.mark.parametrize("messages", [None, Messages("first", [], group=None)])
def test_files_and_topics_without_a_group_hold_nothing(log: list[str], messages: Messages | None):
    planned = job(messages)
    with holding_group(planned, never) as held:
        assert held is planned
    assert log == []
