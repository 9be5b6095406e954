"""Files of predictions tell which model and which job they are of."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

import fastavro
import pyarrow.parquet as pq
import pytest

from beamsplit.models.graph.model_copy import model_version
from tests.command import Command


def told(path: Path) -> tuple[str, str]:
    """(version of the model, id of the job)."""
    if path.suffix == ".avro":
        found = {
            key.encode(): value.encode()
            for key, value in fastavro.reader(io.BytesIO(path.read_bytes())).metadata.items()
        }
    else:
        found = pq.read_schema(path).metadata
    return found[b"beamsplit.model_version"].decode(), found[b"beamsplit.job"].decode()


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("p.parquet", ()),
        ("p.avro", ()),
        ("p.parquet", ("--workers", 2)),
        ("p-*.parquet", ("--num_shards", 2, "--stages", 2)),
        ("p-*.avro", ("--num_shards", 3)),
    ],
)
def test_the_version_and_the_job(command: Command, output: str, options: tuple[object, ...]):
    jobs = set()
    for _ in range(2):
        assert command.run("--quiet", *options, output=command.output.parent / output)[0] == 0
        found = {told(path) for path in command.output.parent.iterdir()}
        ((version, job),) = found
        assert version == model_version(str(command.model)) and uuid.UUID(job)
        jobs.add(job)
    assert len(jobs) == 2


def test_a_job_that_reads_what_another_wrote_tells_of_itself(command: Command):
    assert command.run("--quiet", "--keep", "a,b,c,d")[0] == 0
    again = command.folder / "again.parquet"
    assert command.run("--quiet", input=command.output, output=again)[0] == 0
    assert told(again)[1] != told(command.output)[1]


def test_a_job_that_resumes_stays_the_same(command: Command):
    for name in ("one", "two"):
        assert command.run("--quiet", "--resume", output=command.folder / name / "p.parquet")[0] == 0
    found = {told(command.folder / name / "p.parquet") for name in ("one", "two")}
    ((version, _),) = found
    assert version == model_version(str(command.model))
