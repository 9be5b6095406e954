"""What a process has counted, in Prometheus' words. No Beam."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from beamsplit.transforms.telemetry.measures import COUNTER, HISTOGRAM, MEASURES
from beamsplit.transforms.telemetry.recorder import Recorder


class RecorderCollector:
    """Gives a recorder's numbers to whoever asks."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def collect(self) -> Iterator[Any]:
        """A family a metric, also of those that nothing was counted of yet."""
        for name, measure in MEASURES.items():
            make = {COUNTER: CounterMetricFamily, HISTOGRAM: HistogramMetricFamily}.get(measure.kind, GaugeMetricFamily)
            family = make(name, measure.help, labels=measure.labels)
            values = list(self._recorder.values(name))
            if measure.kind == COUNTER and not measure.labels and not values:
                values = [((), 0)]  # a counter that is first seen as 1 has not increased, as Prometheus has it
            for labels, value in values:
                if measure.kind == HISTOGRAM:
                    sums = value.counts.cumsum().tolist()
                    ends = [*map(str, measure.edges), "+Inf"]
                    family.add_metric(labels, list(zip(ends, sums, strict=True)), value.total)
                else:
                    family.add_metric(labels, value)
            yield family


def registry_of(recorder: Recorder) -> CollectorRegistry:
    """The recorder's metrics, and those of the process: memory, CPU seconds, open files, Python's version."""
    registry = CollectorRegistry()
    registry.register(RecorderCollector(recorder))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry
