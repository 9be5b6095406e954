"""How far behind a reader is, for the metrics of its process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from beamsplit.transforms.kafka.watermark import Watermarks
from beamsplit.transforms.telemetry.recorder import Recorder


def tell_lag(
    recorder: Recorder, topic: str, part: int | None, backlog: Mapping[int, int], watermarks: Watermarks
) -> None:
    """Tell how many messages of each partition wait, and how old the last one is that was read.

    Args:
        recorder: of this process.
        topic: that is read.
        part: number of the reader's part of it; None where there is one.
        backlog: partition -> messages that wait.
        watermarks: of the reader.
    """
    for partition, waiting in backlog.items():
        clock = watermarks.clocks.get(partition)
        last = None if clock is None else clock.time_ms
        age = 0.0 if not waiting or last is None else max(0.0, time.time() - last / 1000)
        recorder.set("beamsplit_lag_messages", waiting, topic, str(partition))
        recorder.set("beamsplit_lag_seconds", age, topic, str(partition))
    known = watermarks.value(time.monotonic(), frozenset(one for one, waiting in backlog.items() if waiting))
    if known is not None:
        recorder.set("beamsplit_watermark_timestamp_seconds", known / 1000, topic, str(part or 0))


def forget_lag(recorder: Recorder, topic: str, part: int | None, partitions: Iterable[int]) -> None:
    """Tell of a reader's partitions no longer: another process may have them now."""
    for partition in partitions:
        recorder.forget("beamsplit_lag_messages", topic, str(partition))
        recorder.forget("beamsplit_lag_seconds", topic, str(partition))
    recorder.forget("beamsplit_watermark_timestamp_seconds", topic, str(part or 0))
