"""`score --strategy`: replicas, stages or shards, as is best on this machine; the job then goes on as if told so."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.workers import cores, count_workers
from beamsplit.transforms.read import InputFile

if TYPE_CHECKING:
    from beamsplit.models.strategy.candidate import Candidate


class CannotDivide(UsageError):
    """The model cannot be divided as a strategy says."""


@dataclass(frozen=True)
class Settled:
    """What a strategy came to."""

    options: argparse.Namespace
    """Of the job, as the strategy sets them."""

    lines: tuple[str, ...] = ()
    """Why, for the user."""

    others: tuple[Settled, ...] = ()
    """What comes next where the model cannot be divided so, the best first."""

    @property
    def name(self) -> str:
        """E.g. `"2 stages x 4 shards"`."""
        counts = ((self.options.stages, "stages"), (self.options.shards, "shards"))
        return " x ".join(f"{count} {word}" for count, word in counts if count) or "the whole model"


@contextlib.contextmanager
def trying(options: argparse.Namespace, job_dir: str | None) -> Iterator[None]:
    """Have what divides the model as a strategy says fail so that the next way can be taken, with nothing of it left.

    Raises:
        CannotDivide: in place of whatever was raised.
    """
    try:
        yield
    except Exception as error:
        if options.strategy is None or (options.stages is None and options.shards is None):
            raise
        from beamsplit.models.strategy.measure import told

        for name in ("stages", "shards") if job_dir else ():
            shutil.rmtree(os.path.join(job_dir or "", name), ignore_errors=True)
        raise CannotDivide(told(error)) from error


def settle_strategy(options: argparse.Namespace, files: Sequence[InputFile], local: bool) -> Settled:
    """Set `--stages` or `--shards` as the strategy says, none for replicas.

    Args:
        options: what `pipelines.options.score.parse` gave.
        files: of the input, for sample rows.
        local: whether workers run on this machine.

    Raises:
        UsageError: workers are elsewhere, or nothing fits them.
    """
    if options.strategy is None:
        return Settled(options)
    if not local and not isinstance(options.workers, str):
        raise UsageError(
            f"--strategy measures this machine, and --runner {options.runner} has workers elsewhere: describe them "
            "with --workers cluster.json, or to python -m pipelines.plan --strategy"
        )
    from beamsplit.models.cost.cluster import read_cluster
    from beamsplit.models.graph.load import load_graph
    from beamsplit.models.running.blocks import blocks_of
    from beamsplit.models.running.session import drop_session
    from beamsplit.models.split.cuts import split_graph
    from beamsplit.models.strategy.measure import MOST_BYTES
    from beamsplit.models.strategy.planner import plan_strategy
    from beamsplit.pipelines.job.job import known_batch_size, with_batch_size
    from beamsplit.pipelines.job.sample import open_sample
    from beamsplit.pipelines.job.sample_feeds import sample_feeds

    described = options.workers if isinstance(options.workers, str) else None
    options.workers = None if described else options.workers
    workers = count_workers(options.workers, options.threads, options.providers, local, options.run_timeout)
    made = open_sample(options, files, workers.session, few_runs=True).made
    scoring, _ = with_batch_size(made, known_batch_size(options, made))
    if options.strategy == "auto" and blocks_of(scoring.model.rewrites) is not None:
        whole = argparse.Namespace(**{**vars(options), "micro_batch": None, "stage_memory": None})
        return Settled(
            whole, ("--strategy auto: the whole model, because it takes a fixed number of rows in each run",)
        )
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
    told = (f"from worker to worker: {strategy.exchange}",) if strategy.exchange else ()
    ways = [one for one in strategy.candidates if one.fits]
    found = [
        Settled(
            _options_of(options, one, scoring.batch_size, described is not None),
            (*(told if one.kind != "replicas" else ()), *strategy.notes),
        )
        for one in _unlike(ways)
    ]
    first = (f"--strategy {options.strategy}: {strategy.verdict}", *found[0].lines)
    return replace(found[0], lines=first, others=tuple(found[1:]))


def _unlike(ways: Sequence[Candidate]) -> list[Candidate]:
    """The first of those that divide the model alike."""
    found: dict[tuple[int, int], Candidate] = {}
    for one in ways:
        found.setdefault((one.stages, one.shards), one)
    return list(found.values())


def _options_of(given: argparse.Namespace, chosen: Candidate, batch_size: int, described: bool) -> argparse.Namespace:
    """The options of a job that runs a candidate."""
    options = argparse.Namespace(**vars(given))
    if chosen.kind == "replicas":
        options.micro_batch = options.stage_memory = None
        options.workers = chosen.workers if described else options.workers
        return options
    options.stages = chosen.stages if chosen.stages > 1 else None
    options.shards = chosen.shards if chosen.shards > 1 else None
    # What it was predicted for; else it would be measured again, and come out otherwise.
    options.batch_size = batch_size
    # Where a worker has too little memory for all of it, or is elsewhere, each part gets workers of its own.
    apart = described or options.stage_memory is not None
    options.placement = options.placement or ("distributed" if apart else "inline")
    if options.placement == "distributed":
        as_many_as_pods(options, sum(pod.count for pod in chosen.pods))
    if options.shards is not None:
        # It is of what each shard holds, and the stages are planned whole.
        options.stage_memory = None
    return options


def as_many_as_pods(options: argparse.Namespace, pods: int) -> None:
    """Runners start so many processes for each part of the model: all parts together are the workers of one pod."""
    options.workers = pods
    if options.parallelism is not None:
        options.parallelism = pods
