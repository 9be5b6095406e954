"""What files of predictions tell of where they come from, in the metadata of formats that have some (Parquet, Avro)."""

from __future__ import annotations

import pyarrow as pa

VERSION, JOB = "beamsplit.model_version", "beamsplit.job"
"""The model's version (`models.graph.model_copy`) and the id of the job, in files and in commits to tables."""


def with_provenance(schema: pa.Schema, version: str | None, job: str) -> pa.Schema:
    """The schema with both beside what it tells already.

    >>> with_provenance(pa.schema([]), "3f2a", "one").metadata
    {b'beamsplit.model_version': b'3f2a', b'beamsplit.job': b'one'}

    Args:
        schema: of the blocks that are written.
        version: of the model; None where it may change as the job runs.
        job: its id.
    """
    told = {VERSION: version, JOB: job}
    mine = {key.encode(): value.encode() for key, value in told.items() if value is not None}
    return schema.with_metadata({**(schema.metadata or {}), **mine})
