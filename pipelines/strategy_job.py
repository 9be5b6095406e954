"""`score --strategy`: replicas, stages or shards, as is best on this machine; the job then goes on as if told so."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from models.errors import UsageError
from pipelines.workers import cores, count_workers
from transforms.read import InputFile


def settle_strategy(options: argparse.Namespace, files: Sequence[InputFile], local: bool) -> tuple[str, ...]:
    """Set `--stages` or `--shards` as the strategy says, none for replicas; lines that say why.

    Args:
        options: what `pipelines.options.parse` gave.
        files: of the input, for sample rows.
        local: whether workers run on this machine.

    Raises:
        UsageError: workers are elsewhere, or nothing fits them.
    """
    if options.strategy is None:
        return ()
    if not local and not isinstance(options.workers, str):
        raise UsageError(
            f"--strategy measures this machine, and --runner {options.runner} has workers elsewhere: describe them "
            "with --workers cluster.json, or to python -m pipelines.plan --strategy"
        )
    from models.session import drop_session
    from models.split.cluster import read_cluster
    from models.split.cuts import split_graph
    from models.split.load import load_graph
    from models.strategy.measure import MOST_BYTES
    from models.strategy.planner import plan_strategy
    from pipelines.job import known_batch_size, with_batch_size
    from pipelines.sample import open_sample
    from pipelines.sample_feeds import sample_feeds

    described = options.workers if isinstance(options.workers, str) else None
    options.workers = None if described else options.workers
    workers = count_workers(options.workers, options.threads, options.providers, local)
    made = open_sample(options, files, workers.session, few_runs=True).made
    scoring, _ = with_batch_size(made, known_batch_size(options, made))
    rows = 1 if scoring.row_by_row else options.micro_batch or scoring.batch_size
    feeds, graph = sample_feeds(made, scoring, rows), split_graph(load_graph(scoring.model))
    if sum(graph.weight_bytes.values()) > MOST_BYTES:
        # What profiles the model loads it again: who has memory for one has not always for two.
        drop_session(made.session)
        del made
    strategy = plan_strategy(
        scoring.model,
        feeds,
        graph,
        workers=read_cluster(described or str(workers.count)),
        micro_batch=rows,
        options=replace(workers.session, threads=options.threads or workers.session.threads),
        kind=options.strategy,
        stage_memory=options.stage_memory,
        cores=cores() if local and described is None else None,
    )
    chosen = strategy.chosen
    if chosen.kind == "replicas":
        options.micro_batch = options.stage_memory = None
        options.workers = chosen.workers if described else options.workers
    else:
        options.stages = chosen.stages if chosen.stages > 1 else None
        options.shards = chosen.shards if chosen.shards > 1 else None
        # What it was predicted for; else it would be measured again, and come out otherwise.
        options.batch_size = scoring.batch_size
        # Where a worker has too little memory for all of it, or is elsewhere, each part gets workers of its own.
        apart = described is not None or options.stage_memory is not None
        options.placement = options.placement or ("distributed" if apart else "inline")
        if options.placement == "distributed":
            as_many_as_pods(options, sum(pod.count for pod in chosen.pods))
        if options.shards is not None:
            # It is of what each shard holds, and the stages are planned whole.
            options.stage_memory = None
    told = (f"from worker to worker: {strategy.exchange}",) if strategy.exchange and chosen.kind != "replicas" else ()
    return (f"--strategy {options.strategy}: {strategy.verdict}", *told, *strategy.notes)


def as_many_as_pods(options: argparse.Namespace, pods: int) -> None:
    """Runners start so many processes for each part of the model: all parts together are the workers of one pod."""
    options.workers = pods
    if options.parallelism is not None:
        options.parallelism = pods
