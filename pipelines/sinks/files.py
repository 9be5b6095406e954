"""Files as what a job writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from beamsplit.pipelines.options.values import SinkOptions
from beamsplit.pipelines.sinks.provenance import told_schema
from beamsplit.pipelines.sinks.sink import ErrorSink, Sink, Written

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job


@dataclass(frozen=True)
class FileSink(Sink):
    """Predictions in files, which get their names last."""

    asked: SinkOptions

    @property
    def name(self) -> str:  # type: ignore[override]
        """The path."""
        return self.asked.output

    def files(self) -> list[str]:
        """Those that are there."""
        from beamsplit.transforms.write.names import files_of, is_single

        return files_of(self.name, is_single(self.name, self.asked.num_shards))

    def write(self, blocks: PCollection, job: Job, after: PCollection | None) -> Written:
        """Wire the files, once nothing that was read has changed meanwhile."""
        from beamsplit.transforms.write import WriteBlocks

        check = unchanged_check(job)
        asked = self.asked
        one = job.workers == 1
        write = WriteBlocks(self.name, told_schema(job), asked.num_shards, one, after, check, asked.overwrite)
        blocks | "Write" >> write
        return [(self.name, write.job_id)]


def unchanged_check(job: Job) -> Callable[[], None] | None:
    """What raises where files that the job reads have changed; None where that cannot be told."""
    from beamsplit.pipelines.sources.files import Files
    from beamsplit.transforms.formats import FORMATS
    from beamsplit.transforms.read import check_unchanged

    if isinstance(job.source, Files) and job.job_dir is not None and not FORMATS[job.source.format].files:
        # Elsewhere a file's number and times may be others, or the file not be there.
        return partial(check_unchanged, job.source.inputs)
    return None


@dataclass(frozen=True)
class NoErrors(ErrorSink):
    """Errors that go nowhere: a job tells how many and the first, a stream shows each."""

    name: str | None = None

    def write(
        self, errors: PCollection, job: Job, after: PCollection | None, hints: Mapping[str, str]
    ) -> tuple[PCollection | None, Written]:
        """Show them, where there is no end at which they could be told."""
        if not job.source.bounded:
            from beamsplit.transforms.kafka.errors import ShowErrors

            errors | "Show errors" >> ShowErrors().with_resource_hints(**hints)
        return None, []


@dataclass(frozen=True)
class ErrorFile(ErrorSink):
    """Errors in one file."""

    name: str

    def write(
        self, errors: PCollection, job: Job, after: PCollection | None, hints: Mapping[str, str]
    ) -> tuple[PCollection | None, Written]:
        """Wire the file: put together at the end, or of a stream as the errors come."""
        if not job.source.bounded:
            from beamsplit.transforms.kafka.errors import AppendErrors

            errors | "Write errors" >> AppendErrors(self.name).with_resource_hints(**hints)
            return None, []
        from beamsplit.transforms.failures.error_file import to_line
        from beamsplit.transforms.failures.errors import WriteErrors

        line = to_line
        if job.source.of_messages:
            from beamsplit.transforms.kafka.errors import error_line as line
        write = WriteErrors(self.name, line, after)
        return errors | "Write errors" >> write, [(self.name, write.job_id)]
