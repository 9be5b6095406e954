"""What a job reads, whatever it is: found, brought together with the model, read.

find_source -> opened -> bind -> ready -> read
    names       there     model   steps    blocks
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from beamsplit.models.planning_budget import PlanningBudget
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.scoring.scorer import ScoringPlan
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.execution.ways import default_workers
from beamsplit.pipelines.execution.workers import Replicas, count_workers
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import BindingOptions, SinkOptions, WorkerOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.transforms.kafka.gaps import Gap
from beamsplit.transforms.step import Step

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job

Own = TypeVar("Own", bound="Source")


@dataclass(frozen=True)
class SourceRows:
    """What a source gives to a pipeline."""

    blocks: PCollection
    failed: Sequence[PCollection] = ()
    """Rows that could not be read."""

    gaps: Sequence[PCollection] = ()
    """Errors that are no rows: what of a topic is gone."""


class Source(ABC):
    """Where the rows of a job come from."""

    bounded: ClassVar[bool] = True
    sampled: ClassVar[bool] = True
    """Whether rows are read before the job, so that the steps around the model can be timed on them."""

    of_messages: ClassVar[bool] = False
    """Whether a row is a message, whose origin is a partition and an offset."""

    in_transactions: bool = False
    """Whether steps and sinks are one step, whose outputs are committed with the offsets that they stand for."""

    group: str | None = None
    """The consumer group that goes on where it is."""

    gaps: tuple[Gap, ...] = ()
    """What was gone before the job."""

    notes: tuple[str, ...] = ()

    @property
    def files(self) -> Sequence[str]:
        """Paths of the files that are read, which no output may be."""
        return ()

    @property
    def total_rows(self) -> int | None:
        """Rows that will be read, as far as that is known."""
        return None

    @property
    def total_exact(self) -> bool:
        """Whether `total_rows` is no estimate."""
        return False

    @property
    def rows_left_out(self) -> int:
        """Rows of what is not read at all, since `--where` keeps none of it."""
        return 0

    @property
    def columns(self) -> tuple[str, ...]:
        """What `--keep '*'` means; empty where it means nothing.

        Raises:
            UsageError: they cannot be found out.
        """
        return ()

    @property
    def empty(self) -> bool:
        """Whether it is known to have no rows."""
        return False

    def opened(self: Own) -> Own:
        """The same with what whoever holds the data tells of it.

        Raises:
            UsageError: it does not answer, or not as is wanted.
        """
        return self

    def within(self: Own, budget: PlanningBudget) -> Own:
        """The same, whose rows are brought together with the model at no more than this cost."""
        return self

    def workers(self, asked: WorkerOptions, parallelism: Parallelism, local: bool) -> Replicas:
        """The workers of a job that reads this."""
        return count_workers(replace(asked, count=default_workers(parallelism, asked.count)), local)

    def check_parallelism(self, parallelism: Parallelism) -> None:
        """Raise for a division that rows from here cannot have.

        Raises:
            UsageError: with what to type.
        """
        return

    @abstractmethod
    def bind(self, binding: BindingOptions, sink: SinkOptions, session: SessionOptions, few_runs: bool) -> Bound:
        """Bring the rows together with the model.

        Args:
            binding: the model, and what feeds it.
            sink: where predictions go: text holds kept values as they are written.
            session: to try the model with.
            few_runs: whether that session only plans and checks, and what scores rows is another: weights of a large
                model then stay in their file.

        Raises:
            UsageError: they do not go together.
        """

    def rows_at_once(self, scoring: ScoringPlan, workers: int) -> int | None:
        """Rows that one worker has at once, where they are known."""
        return None

    def ready(self: Own, binding: BindingOptions, bound: Bound, request: Request, execution: Execution) -> Own:
        """The same as it is read: with the columns that are needed, in blocks for the model as it is run."""
        return self

    @property
    def block_rows(self) -> int:
        """Rows of one block, where that is known beforehand."""
        return 1

    def worker_name(self, worker_type: str) -> str:
        """What its workers are, in words."""
        return {"thread": "threads", "process": "processes"}[worker_type]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What makes rows of what is read."""
        return ()

    @property
    def behind(self) -> tuple[Step, ...]:
        """What is done to predictions because their rows are from here."""
        return ()

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """In words, for --dry_run_plan and the summary."""

    @property
    def pace(self) -> Mapping[str, Any]:
        """In words, how it is read as time goes by."""
        return {}

    @property
    def delivery(self) -> Mapping[str, Any]:
        """In words, what is known of a row that is written."""
        return {}

    @abstractmethod
    def read(self, pipeline: beam.Pipeline, job: Job, hints: Mapping[str, str]) -> SourceRows:
        """Wire the reading of it, in workers with these resource hints."""
