from __future__ import annotations

import threading
from pathlib import Path

import pytest

from beamsplit.pipelines.running import stream_end
from beamsplit.pipelines.running.stream_end import StreamEnd, wait_for_end
from beamsplit.transforms.kafka.stopping import Ending, end_stream, why_ended


class Result:
    """A pipeline that runs until it is cancelled, which it takes for a failure."""

    def __init__(self, fails: str | None = None):
        self._cancelled = threading.Event()
        self._fails = fails
        self.cancels = 0

    def cancel(self) -> None:
        self.cancels += 1
        self._cancelled.set()

    def wait_until_finish(self) -> None:
        if self._fails is None:
            assert self._cancelled.wait(60)
        raise RuntimeError(self._fails or "cancelled")


def test_a_stream_that_cannot_go_on_is_asked_to_end_and_then_cancelled(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(stream_end, "GRACE_SECONDS", 0.1)
    end = StreamEnd(str(tmp_path / "stop"))
    assert end.reason is None and not end.overdue
    end.end("the topic was deleted")
    end.end("and once more")
    assert why_ended(str(tmp_path / "stop")) == Ending("the topic was deleted", commit=False)
    assert (tmp_path / "stop").exists()
    result = Result()
    wait_for_end(result, [], end)
    assert result.cancels == 1 and end.reason == "the topic was deleted"


def test_a_stream_whose_readers_are_elsewhere_is_cancelled_at_once():
    end = StreamEnd(None)
    end.end("the topic was deleted")
    result = Result()
    wait_for_end(result, [], end)
    assert result.cancels == 1 and end.reason == "the topic was deleted"


def test_a_stream_is_cancelled_where_its_readers_are_done(tmp_path: Path):
    done = [str(tmp_path / name) for name in "ab"]
    for path in done:
        Path(path).touch()
    result = Result()
    wait_for_end(result, done, StreamEnd(str(tmp_path / "stop")))
    assert result.cancels == 1


def test_a_failure_is_told_unless_it_is_known_why(tmp_path: Path):
    end = StreamEnd(str(tmp_path / "stop"))
    with pytest.raises(RuntimeError, match="no disk"):
        wait_for_end(Result(fails="no disk"), [], end)
    end_stream(str(tmp_path / "stop"), Ending("a gap"))
    wait_for_end(Result(fails="no disk"), [], end)
    assert end.reason == "a gap" and not end.overdue
