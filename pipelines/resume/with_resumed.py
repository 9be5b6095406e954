"""A job with what earlier runs of it have finished."""

from __future__ import annotations

from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.job.job import Job
from beamsplit.pipelines.resume.kept import ONLY_FILES, Resumed
from beamsplit.pipelines.sinks.files import ErrorFile, FileSink, NoErrors


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
    if type(job.sinks.predictions) is not FileSink or type(job.sinks.errors) not in (ErrorFile, NoErrors):
        raise UsageError(f"{ONLY_FILES}, and --output {job.sinks.predictions.name} is none; leave --resume out")
    told = f"starts anew: {resumed.changed}" if resumed.changed is not None else resumed.line
    return replace(job, resumed=resumed, facts={**job.facts, "resumed": told})
