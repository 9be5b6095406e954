"""Runs of a model one after the other, or overlapping where its session can: what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from beamsplit.models.graph.signature import Signature
from beamsplit.models.running.session import ModelRunError, RunTimeoutError

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class RunOutcome:
    """What became of one run of the model."""

    outputs: list[Array] | None
    """In the order of the signature; None where it failed."""

    error: ModelRunError | None
    seconds: float
    """From giving the rows to the model to having its outputs."""


class StageRunError(ModelRunError):
    """A run failed in one stage of a split model."""

    def __init__(self, stage: int, error: ModelRunError) -> None:
        super().__init__(str(error))
        self.stage = stage
        """From 0."""
        self.timed_out = timed_out(error)
        """Whether it was stopped, since it did not return in time."""


def timed_out(error: BaseException | None) -> bool:
    """Whether a run was stopped since it did not return in time: which row is at fault, each tells alone."""
    return isinstance(error, RunTimeoutError) or getattr(error, "timed_out", False)


Fetch: TypeAlias = Callable[[str, str], str]
"""(where a model lies, what it must hold as its SHA-256 or empty) -> its file on this machine."""


class RunnableModel(Protocol):
    """A model on disk and how it is run: data, so that every process makes the same of it.

    Three make one: `models.running.whole_model.WholeModel`; `models.split.staged.StagedModel`, whose stages overlap;
    `models.shard.sharded.ShardedModel`, whose shards run side by side.
    """

    def fetched(self, fetch: Fetch) -> RunnableModel:
        """The same with its files on this machine."""

    def open(self, device: int | None = None) -> Runs:
        """This process's session, shared by all its threads; loaded by the first call.

        Args:
            device: the GPU that falls to this worker; None, or a model in parts, takes those of its own options.

        Raises:
            UsageError: a file is missing or does not load.
        """


class Counts(Protocol):
    """What a session of a model in parts did, as counters of a job."""

    @property
    def counts(self) -> Mapping[str, int]:
        """By name."""


class Runs(Protocol):
    """What scoring needs of a session: `models.running.session.Session`, or `models.split.staged.StagedSession`.

    One that has `run_many(feeds)` too, as the latter, overlaps runs. One that has `take_stats() -> Counts` tells what
    it did since the last call.
    """

    load_seconds: float

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the model."""

    @property
    def model_bytes(self) -> int:
        """Bytes of its files."""

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """All outputs, in the order of the signature."""


def overlaps(session: Runs) -> bool:
    """Whether the session takes feeds ahead of what it gives: then their arrays must not be written to again."""
    return hasattr(session, "run_many")


def run_many(session: Runs, feeds: Iterable[dict[str, Array]]) -> Generator[RunOutcome, None, None]:
    """Run the model on each of the feeds; what became of each, in order. Failures of the model are outcomes."""
    overlapping = getattr(session, "run_many", None)
    if overlapping is not None:
        yield from overlapping(feeds)
        return
    for one in feeds:
        started = time.perf_counter()
        try:
            outputs = session.run(one)
        except ModelRunError as error:
            yield RunOutcome(None, error, time.perf_counter() - started)
        else:
            yield RunOutcome(outputs, None, time.perf_counter() - started)
