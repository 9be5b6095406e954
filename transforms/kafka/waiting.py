"""What a reader tells of the messages that wait behind it: to Beam, the job's folder and the metrics of its process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from apache_beam.metrics import Metrics

from beamsplit.transforms.kafka.backlog import gauge_name, write_backlog
from beamsplit.transforms.kafka.lag import forget_lag, tell_lag
from beamsplit.transforms.kafka.offsets import known_ends
from beamsplit.transforms.kafka.watermark import Watermarks
from beamsplit.transforms.telemetry.recorder import recording

if TYPE_CHECKING:
    from beamsplit.transforms.kafka.source import KafkaSource

SECONDS = 1.0
"""Between two counts."""


class Waiting:
    """Counts them once in a while.

    Args:
        source: that is read.
    """

    def __init__(self, source: KafkaSource):
        self._source = source
        self._counted = 0.0
        self._gauge = Metrics.gauge("beamsplit", gauge_name(source.part))

    def of(self, consumer: Any, offsets: Mapping[int, int]) -> dict[int, int]:
        """Partition -> messages that wait in it, as far as the consumer was told while fetching.

        Args:
            consumer: of the reader; None knows nothing.
            offsets: partition -> offset of the next message.
        """
        ends = {} if consumer is None else known_ends(consumer, self._source.topic.name, offsets)
        return {partition: max(0, end - offsets[partition]) for partition, end in ends.items()}

    def answered(self, consumer: Any, offsets: Mapping[int, int]) -> bool:
        """Whether the broker has told of each partition how far it goes, as it does with the first messages or none."""
        return min(known_ends(consumer, self._source.topic.name, offsets).values(), default=0) >= 0

    def due(self, now: float) -> bool:
        """Whether it is time to count them again; then it is taken as done."""
        if now - self._counted < SECONDS:
            return False
        self._counted = now
        return True

    def tell(self, waiting: Mapping[int, int], watermarks: Watermarks) -> None:
        """Tell how many they are.

        Args:
            waiting: as `of` gives it.
            watermarks: of the reader.
        """
        source, total = self._source, sum(waiting.values())
        self._gauge.set(total)
        if (recorder := recording()) is not None:
            tell_lag(recorder, source.topic.name, source.part, waiting, watermarks)
        if source.stop_file is not None:
            write_backlog(os.path.dirname(source.stop_file), source.part, total)

    def forget(self, partitions: Iterable[int]) -> None:
        """Tell the metrics of partitions no longer: another process may have them now."""
        if (recorder := recording()) is not None:
            forget_lag(recorder, self._source.topic.name, self._source.part, partitions)
