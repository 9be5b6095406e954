"""The end of a job's pipeline: predictions and rows that failed, to files or topics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job

FIRST_ERRORS = 5
"""Errors that are shown where they go nowhere."""

Written = list["tuple[str, str]"]
"""(path, job id) of each output, whose temporary files can be removed."""


def write_outputs(
    blocks: PCollection, errors: PCollection, job: Job, first_errors: str | None, gaps: Sequence[PCollection] = ()
) -> Written:
    """Wire where predictions and errors go; `first_errors` is where it is told how many failed and why.

    What tells of `gaps` in a topic is among the errors that are written, and no row that failed.
    Predictions get their names last: putting the errors together reads the input once more, which may fail.
    """
    from beamsplit.transforms.failures.summary import CheckFailures, FirstErrors

    if job.topics is not None and job.topics.output is not None:
        errors = _send_blocks(blocks, errors, job)
    checked = None
    if job.max_failed is not None:
        checked = (blocks, errors) | "Few failed" >> CheckFailures(job.max_failed)
    if first_errors is not None:
        # The first are told where they go nowhere else.
        errors | "First errors" >> FirstErrors(0 if job.errors else FIRST_ERRORS, first_errors)
    if gaps:
        import apache_beam as beam

        errors = (errors, *gaps) | "With gaps" >> beam.Flatten()
    done, written = write_errors(errors, job, checked)
    return [*write_blocks(blocks, job, checked if done is None else done), *written]


def _send_blocks(blocks: PCollection, errors: PCollection, job: Job) -> PCollection:
    """Wire the output to its topic; the errors, with those of rows that the topic will not take."""
    import apache_beam as beam

    from beamsplit.transforms.kafka.rows import SendRows

    assert job.topics is not None and job.topics.output is not None
    send = SendRows(job.topics.config, job.topics.output, job.topics.output_format, job.infer.job_dir)
    refused = blocks | "Write" >> send
    return (errors, refused) | "All errors" >> beam.Flatten()


def write_blocks(blocks: PCollection, job: Job, after: PCollection | None) -> Written:
    """Wire the job's output, complete only when `after` is; of a topic it is wired already."""
    if job.topics is not None and job.topics.output is not None:
        return []
    from beamsplit.transforms.formats import FORMATS
    from beamsplit.transforms.read import check_unchanged
    from beamsplit.transforms.write import WriteBlocks

    # Elsewhere a file's number and times may be others, or the file not be there. Of a topic there are none.
    here = job.files and job.infer.job_dir is not None and not FORMATS[job.format].files
    check = partial(check_unchanged, job.files) if here else None
    schema = job.schemas["finish"]
    write = WriteBlocks(job.output, schema, job.num_shards, job.workers == 1, after, check, job.overwrite)
    blocks | "Write" >> write
    return [(job.output, write.job_id)]


def write_errors(errors: PCollection, job: Job, after: PCollection | None) -> tuple[PCollection | None, Written]:
    """(what is there when all errors are in their file, if they go to one; the files written), after `after`."""
    from beamsplit.transforms.failures.errors import WriteErrors, to_line

    if job.topics is not None and job.topics.errors is not None:
        from beamsplit.transforms.kafka.errors import SendErrors
        from beamsplit.transforms.kafka.rows import SendRowErrors

        send = SendRowErrors if job.messages is None else SendErrors
        errors | "Write errors" >> send(job.topics.config, job.topics.errors, job.infer.job_dir)
    elif job.errors:
        line = to_line
        if job.messages is not None:
            from beamsplit.transforms.kafka.errors import error_line as line
        write = WriteErrors(job.errors, line, after)
        return errors | "Write errors" >> write, [(job.errors, write.job_id)]
    return None, []
