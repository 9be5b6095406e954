"""Where predictions go, and where rows that failed go."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job
    from beamsplit.transforms.step import Step

Written = list["tuple[str, str]"]
"""(path, job id) of each output, whose temporary files can be removed."""


class FoundErrors(NamedTuple):
    """Errors of one kind."""

    errors: PCollection

    hints: Mapping[str, str]
    """Resource hints of the workers that find them."""


class Sink(ABC):
    """Where predictions go: rows that it refuses fail, and what it writes is complete only when `after` is."""

    name: str
    """As the user names it."""

    notes: tuple[str, ...] = ()
    """Lines for the user."""

    def opened(self) -> None:
        """Ask whoever must answer.

        Raises:
            UsageError: it does not, or lets nobody in.
        """
        return

    def files(self) -> list[str]:
        """What is written once it is, in words: the topic, or files."""
        return [self.name]

    @property
    def facts(self) -> Mapping[str, Any]:
        """In words, for --dry_run_plan and the summary."""
        return {"output": self.name}

    def ready(self, schema: pa.Schema) -> tuple[Sink, tuple[Step, ...]]:
        """(the same, as it is for blocks of this schema; steps that fail rows which it does not take).

        Raises:
            UsageError: it does not take such blocks.
        """
        return self, ()

    def send(self, blocks: PCollection, job: Job, hints: Mapping[str, str]) -> PCollection | None:
        """Wire what goes out at once; the rows that were refused. None where nothing does."""
        return None

    def write(self, blocks: PCollection, job: Job, after: PCollection | None) -> Written:
        """Wire what is there for others when all is done; the files written."""
        return []


class ErrorSink(ABC):
    """Where rows that failed go."""

    name: str | None
    """As the user names it; None where they are shown only."""

    def opened(self) -> None:
        """Ask whoever must answer.

        Raises:
            UsageError: it does not, or lets nobody in.
        """
        return

    def write(
        self, errors: PCollection, job: Job, after: PCollection | None, hints: Mapping[str, str]
    ) -> tuple[PCollection | None, Written]:
        """Wire it; (what is there when all errors are in their file, if they go to one; the files written)."""
        return None, []


class Sinks(NamedTuple):
    """The ends of a job."""

    predictions: Sink
    errors: ErrorSink
    notes: tuple[str, ...] = ()
    """Lines for the user."""


class TopicSinks(NamedTuple):
    """The topics among the ends of a job; None where that end is none."""

    predictions: Sink | None
    errors: ErrorSink | None
