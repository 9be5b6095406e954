"""What this process has counted, as numbers in memory. No Beam.

Steps ask `recording()`, once a block; it is None, and nothing is counted, where no endpoint was asked for.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beamsplit.transforms.telemetry.measures import COUNTER, GAUGE, HISTOGRAM, MEASURES

MOST_SERIES = 200
"""Of one metric: a label may hold what users write, and each value of it is kept for ever by who reads it."""

OTHER = "other"
"""Stands for the values of labels beyond these."""

_OF_PART = re.compile(r"(stage|shard)_(\d+)_(busy|offered|queue)_usec")

Labels = tuple[str, ...]


@dataclass
class Histogram:
    """Counts of values by bucket."""

    edges: np.ndarray
    counts: np.ndarray
    """float64 [buckets + 1], the last beyond all edges."""

    total: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Take in values, of any number."""
        # A value on an edge belongs to the bucket below, as Prometheus has it.
        self.counts += np.bincount(np.searchsorted(self.edges, values, side="left"), minlength=len(self.counts))
        self.total += float(values.sum())


@dataclass
class Recorder:
    """The numbers of one process.

    >>> recorder = Recorder()
    >>> recorder.count("beamsplit_rows", 3, "infer", "a1")
    >>> recorder.count("beamsplit_rows", 2, "infer", "a1")
    >>> list(recorder.values("beamsplit_rows"))
    [(('infer', 'a1'), 5)]
    """

    model_version: str = ""
    """Of the model in use."""

    _values: dict[str, dict[Labels, Any]] = field(default_factory=lambda: {name: {} for name in MEASURES})
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str, by: float = 1, *labels: str) -> None:
        """Add to a counter."""
        assert MEASURES[name].kind == COUNTER
        with self._lock:
            series = self._values[name]
            labels = self._known(series, labels)
            series[labels] = series.get(labels, 0) + by

    def count_errors(self, kinds: Iterable[tuple[str, str]]) -> None:
        """Add rows that failed, each with its stage and the kind of its reason."""
        for labels, rows in Counter(kinds).items():
            self.count("beamsplit_errors", rows, *labels)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        assert MEASURES[name].kind == GAUGE
        with self._lock:
            series = self._values[name]
            series[self._known(series, labels)] = value

    def forget(self, name: str, *labels: str) -> None:
        """Tell of a gauge no longer: another process has what it was of."""
        with self._lock:
            self._values[name].pop(labels, None)

    def observe(self, name: str, values: np.ndarray | float, *labels: str) -> None:
        """Take values, of any number, into a histogram."""
        measure = MEASURES[name]
        assert measure.kind == HISTOGRAM
        with self._lock:
            series = self._values[name]
            labels = self._known(series, labels)
            held = series.get(labels)
            if held is None:
                held = series[labels] = Histogram(np.array(measure.edges), np.zeros(len(measure.edges) + 1))
            held.add(np.atleast_1d(np.asarray(values, np.float64)))

    def delivered(self, times: np.ndarray) -> None:
        """Outputs are with the brokers.

        Args:
            times: int64 [rows], milliseconds since 1970 of their messages; below 0 where a message has none.
        """
        self.count("beamsplit_rows_delivered", len(times))
        known = times[times >= 0]
        if len(known):
            self.observe("beamsplit_delivery_seconds", np.maximum(0.0, time.time() - known / 1000))

    def tell_of_model(self, seconds: float, nbytes: int) -> None:
        """A model, or a part of one, is loaded.

        Args:
            seconds: that it took.
            nbytes: of its files.
        """
        self.count("beamsplit_model_loads", 1, self.model_version)
        self.set("beamsplit_model_load_seconds", seconds, self.model_version)
        self.set("beamsplit_model_bytes", nbytes, self.model_version)

    def add_parts(self, counts: Mapping[str, int]) -> None:
        """What parts of a model did, by the names that `models.running.runs.Counts` has for it."""
        for name, value in counts.items():
            if name == "stages_active_usec":
                self.count("beamsplit_stages_active_seconds", value / 1e6)
            elif (found := _OF_PART.fullmatch(name)) is not None:
                part, what = f"{found[1]} {found[2]}", found[3]
                self.count(f"beamsplit_stage_{what}_seconds", value / 1e6, part)

    @property
    def ready(self) -> bool:
        """Whether a model is there, and none is still being loaded."""
        return _LOADS.at_work == 0 < _LOADS.done

    def values(self, name: str) -> Iterator[tuple[Labels, Any]]:
        """(labels, number or `Histogram`) of a metric, as they are now."""
        with self._lock:
            found = list(self._values[name].items())
            if MEASURES[name].kind == HISTOGRAM:
                found = [(labels, Histogram(one.edges, one.counts.copy(), one.total)) for labels, one in found]
        yield from found

    @staticmethod
    def _known(series: dict[Labels, Any], labels: Labels) -> Labels:
        return labels if labels in series or len(series) < MOST_SERIES else (OTHER,) * len(labels)


_RECORDER: list[Recorder] = []


def recording() -> Recorder | None:
    """What to count with; None where nobody asks for it."""
    return _RECORDER[0] if _RECORDER else None


def begin_recording() -> Recorder:
    """The recorder of this process, made by the first call."""
    if not _RECORDER:
        _RECORDER.append(Recorder())
    return _RECORDER[0]


@dataclass
class _Loads:
    """Counted in each process: the step that asks for metrics may come behind the one that loads."""

    at_work: int = 0
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


_LOADS = _Loads()


@contextmanager
def loading_model() -> Iterator[None]:
    """Within, a model is being loaded and its process not ready."""
    with _LOADS.lock:
        _LOADS.at_work += 1
    loaded = 0
    try:
        yield
        loaded = 1
    finally:  # a load that fails may be tried again in the same process
        with _LOADS.lock:
            _LOADS.at_work -= 1
            _LOADS.done += loaded
