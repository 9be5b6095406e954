"""The options of workers, and of the runner that has them. Imports no Beam."""

from __future__ import annotations

import argparse

from beamsplit.pipelines.options.texts import (
    positive,
    read_audit,
    read_batch_size,
    read_capacities,
    read_count_of_seconds,
    read_milliseconds,
    read_seconds,
    read_workers,
    threads_count,
)


def add_workers(p: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    workers = p.add_argument_group("workers")
    workers.add_argument(
        "--runner",
        default="DirectRunner",
        metavar="NAME",
        help="DirectRunner (default: this machine, in threads or processes; streams on Prism), PrismRunner, "
        "FlinkRunner (this machine, or --flink_master), DataflowRunner (files); others of Beam's get the job, untested",
    )
    workers.add_argument(
        "--job_name",
        metavar="NAME",
        help="of the job on its runner's page (default: beamsplit-GROUP of a stream, beamsplit-OUTPUT of files)",
    )
    workers.add_argument(
        "--workers",
        type=read_workers,
        metavar="N",
        help="replicas of the model, data parallelism (default: one a core or GPU); with --strategy also a "
        "cluster.json, as for plan",
    )
    workers.add_argument(
        "--worker_type", choices=("thread", "process"), help="default: whichever measures faster for the model"
    )
    workers.add_argument(
        "--batch_size", type=read_batch_size, default="auto", metavar="N|auto", help="rows in a run of the model"
    )
    workers.add_argument(
        "--partition", choices=("random", "contiguous", "proportional"), help="how rows are dealt to workers"
    )
    workers.add_argument(
        "--capacities", type=read_capacities, metavar="1,1,2|measured", help="speeds of the workers, for proportional"
    )
    workers.add_argument(
        "--audit",
        type=read_audit,
        nargs="?",
        const=(100, False),
        metavar="N|warn|N:warn",
        help="score about N random rows of the job (of a stream: of 100,000 messages) again, each alone, and fail the "
        "job if one comes out otherwise, or with warn only tell it (default: none; N: 100)",
    )
    workers.add_argument(
        "--run_timeout",
        type=read_seconds,
        metavar="60s",
        help="stop a run of the model that takes longer; its rows are then run one by one, and those that do not "
        "return fail (default: none)",
    )
    workers.add_argument(
        "--plan_seconds",
        type=read_count_of_seconds,
        metavar="60",
        help="seconds that runs of the model may take before the job begins, to probe rows, to measure batches and to "
        "plan parts (default: 2, or a tenth of the job's own time)",
    )
    workers.add_argument("--seed", type=int, default=0, help="for --partition random (default: %(default)s)")
    workers.add_argument(
        "--providers", default="auto", metavar="auto|cpu,cuda,...", help="ONNX Runtime execution providers, in order"
    )
    workers.add_argument(
        "--threads",
        type=threads_count,
        metavar="N",
        help="threads a session (default: workers x threads fill the cores)",
    )

    flink = p.add_argument_group("Flink (--runner FlinkRunner)")
    flink.add_argument("--flink_master", metavar="HOST:8081", help="a session cluster (default: Flink on this machine)")
    flink.add_argument(
        "--parallelism", type=positive, metavar="N", help="tasks of a step side by side (default: slots, or cores)"
    )
    flink.add_argument(
        "--checkpoint",
        type=read_milliseconds,
        default=10_000,
        metavar="10s|off",
        help="between checkpoints of a streaming job (default: 10s)",
    )
    flink.add_argument(
        "--flink_job_server_jar", metavar="JAR", help="default: Beam's, or put together by Maven; fetched once"
    )
