"""What a job tells of itself in the files that it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from beamsplit.models.graph.model_copy import model_version
from beamsplit.transforms.write.provenance import with_provenance

if TYPE_CHECKING:
    from beamsplit.pipelines.job.job import Job


def told_schema(job: Job) -> pa.Schema:
    """The schema of a job's files, with its model's version and its id, which a job that is resumed keeps."""
    version = None if job.updating else model_version(job.infer.plan.model.path)
    return with_provenance(job.schema, version, job.id if job.resumed is None else job.resumed.folder.job)
