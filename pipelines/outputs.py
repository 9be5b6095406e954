"""The end of a job's pipeline: predictions and rows that failed, to files or topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apache_beam.pvalue import PCollection

    from pipelines.job import Job

Written = list["tuple[str, str]"]
"""(path, job id) of each output, whose temporary files can be removed."""


def write_blocks(blocks: PCollection, job: Job) -> Written:
    """Wire the job's output."""
    if job.topics is not None and job.topics.output is not None:
        from transforms.kafka.rows import SendRows

        blocks | "Write" >> SendRows(job.topics.config, job.topics.output, job.topics.output_format)
        return []
    from transforms.write import WriteBlocks

    write = WriteBlocks(job.output, job.schemas["finish"], job.num_shards, write_behind=job.workers == 1)
    blocks | "Write" >> write
    return [(job.output, write.job_id)]


def write_errors(errors: PCollection, job: Job, first_errors: str | None) -> Written:
    """Wire the job's errors; `first_errors` is where the first few go if they go nowhere else."""
    from transforms.errors import FirstErrors, WriteErrors, to_line

    if job.topics is not None and job.topics.errors is not None:
        from transforms.kafka.errors import SendErrors
        from transforms.kafka.rows import SendRowErrors

        send = SendRowErrors if job.messages is None else SendErrors
        errors | "Write errors" >> send(job.topics.config, job.topics.errors)
    elif job.errors:
        line = to_line
        if job.messages is not None:
            from transforms.kafka.errors import error_line as line
        write = WriteErrors(job.errors, line)
        errors | "Write errors" >> write
        return [(job.errors, write.job_id)]
    elif first_errors:
        errors | "First errors" >> FirstErrors(5, first_errors)
    return []
