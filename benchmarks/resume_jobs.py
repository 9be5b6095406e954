"""The jobs that `benchmarks.resume` kills: every kind of input, every format of output, every way to run a model."""

from __future__ import annotations

from typing import NamedTuple

THREADS = ("--workers", "2", "--worker_type", "thread")
PROCESSES = ("--workers", "2", "--worker_type", "process")
ONE = ("--workers", "1")


class KilledJob(NamedTuple):
    """A job, and what of it is killed."""

    input: str
    """One of `tests.resume_inputs.INPUTS`."""

    output: str
    options: tuple[str, ...] = THREADS
    kills: str = "command"
    """`command` or `worker`."""

    @property
    def workers(self) -> int:
        """How many are at a split at once."""
        return int(self.options[self.options.index("--workers") + 1])


JOBS = (
    KilledJob("parquet", "p.parquet"),
    KilledJob("row groups", "p.csv", PROCESSES),
    KilledJob("csv", "p.jsonl", (*THREADS, "--partition", "contiguous")),
    KilledJob("csv.gz", "p.json"),
    KilledJob("many files", "p.avro", (*THREADS, "--partition", "proportional", "--capacities", "1,3")),
    KilledJob("arrow", "p.orc"),
    KilledJob("avro", "p-*.parquet", (*THREADS, "--partition", "random", "--seed", "3")),
    KilledJob("orc", "out/"),
    KilledJob("tfrecord", "p.parquet", (*ONE, "--num_shards", "3")),
    KilledJob("webdataset", "p.jsonl", PROCESSES),
    KilledJob("images", "p.csv"),
    KilledJob("delta", "p.parquet", PROCESSES, "worker"),
    KilledJob("iceberg", "p.csv", (*THREADS, "--where", "a > 0")),
    KilledJob("lance", "p-*.json", ONE),
    KilledJob("row groups", "p.parquet", (*ONE, "--stages", "2")),
    KilledJob("row groups", "p.orc", (*ONE, "--shards", "2")),
    KilledJob("csv", "p.avro", (*ONE, "--stages", "2", "--shards", "2")),
    KilledJob("parquet", "p-*.jsonl", PROCESSES, "worker"),
    KilledJob("csv", "p.csv", (*PROCESSES, "--partition", "random"), "worker"),
    KilledJob("images", "p.parquet", PROCESSES, "worker"),
    KilledJob("many files", "p.ndjson", PROCESSES, "worker"),
    KilledJob("arrow", "p.jsonl", (*THREADS, "--limit", "15000")),
)
"""In the order in which they are killed, over and over."""
