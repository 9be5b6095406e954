"""A job with what earlier runs of it have finished."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.resume.kept import ONLY_FILES, Resumed
from beamsplit.pipelines.sinks.files import ErrorFile, FileSink, NoErrors
from beamsplit.pipelines.sinks.table import TableSink
from beamsplit.transforms.resume.finish import are_there
from beamsplit.transforms.write.storage import local_path


def with_resumed(job: Job, resumed: Resumed) -> Job:
    """The job as it goes on.

    Raises:
        UsageError: its parts have workers of their own, or it writes something else than files.
    """
    if job.execution.is_distributed:
        raise UsageError(
            "--resume keeps splits that one worker has scored from end to end, and here each part of the model has "
            "workers of its own; type --placement inline, or leave --resume out"
        )
    sink = job.sinks.predictions
    if not isinstance(sink, (FileSink, TableSink)) or type(job.sinks.errors) not in (ErrorFile, NoErrors):
        raise UsageError(f"{ONLY_FILES}, and --output {sink.name} is none; leave --resume out")
    if isinstance(sink, TableSink):
        _check_table(sink)
        resumed = _of_table(resumed, sink)
        commit = replace(sink.commit, keeps_files=True)
        job = replace(job, sinks=job.sinks._replace(predictions=replace(sink, commit=commit)))
    told = f"starts anew: {resumed.changed}" if resumed.changed is not None else resumed.line
    return replace(job, resumed=resumed, facts={**job.facts, "resumed": told})


def _check_table(sink: TableSink) -> None:
    """Raise for a table whose files are not just those of splits.

    Raises:
        UsageError: with what to do.
    """
    if sink.commit.partitions is not None:
        raise UsageError(
            f"--resume keeps files of splits, and --output {sink.name} is partitioned: its files have rows of one "
            "partition each; leave --resume out"
        )
    if local_path(sink.folder) is None:
        raise UsageError(
            f"--resume goes on with tables on this machine's file system, and --output {sink.name} lies in "
            f"{sink.folder}; leave --resume out"
        )


def _of_table(resumed: Resumed, sink: TableSink) -> Resumed:
    """As the table lets it go on: with the columns that it had, and the files that were written for it.

    A commit that was made is the end of the job, whatever has become of the table since.
    """
    final = resumed.final
    if final is not None and not sink.commit.is_done():
        final = final if are_there(dict(final)) else None
    columns = str(sink.commit.columns)
    if resumed.columns in (None, columns) or (final is not None and sink.commit.is_done()):
        return replace(resumed, columns=columns, final=final)
    dropped = len(resumed.units) if final is not None else len(resumed.records)
    changed = f"{sink.name} has other columns"
    return replace(resumed, columns=columns, final=None, records=(), begun=0, changed=changed, dropped=dropped)
