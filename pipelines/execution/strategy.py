"""`score --strategy`: replicas, stages or shards, as is best on this machine; the job then goes on as if told so."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.execution.batch_size import known_batch_size, with_batch_size
from beamsplit.pipelines.execution.request import measures_parts
from beamsplit.pipelines.execution.workers import cores, count_workers, planning_budget
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import ScoreOptions

if TYPE_CHECKING:
    from beamsplit.models.strategy.candidate import Candidate
    from beamsplit.pipelines.sources.source import Source


class CannotDivide(UsageError):
    """The model cannot be divided as a strategy says."""


@dataclass(frozen=True)
class Settled:
    """What a strategy came to."""

    options: ScoreOptions
    """Of the job, as the strategy sets them."""

    lines: tuple[str, ...] = ()
    """Why, for the user."""

    others: tuple[Settled, ...] = ()
    """What comes next where the model cannot be divided so, the best first."""

    @property
    def name(self) -> str:
        """E.g. `"2 stages x 4 shards"`."""
        counts = ((self.options.parallelism.stages, "stages"), (self.options.parallelism.shards, "shards"))
        return " x ".join(f"{count} {word}" for count, word in counts if count) or "the whole model"


@contextlib.contextmanager
def trying(asked: Parallelism, job_dir: str | None) -> Iterator[None]:
    """Have what divides the model as a strategy says fail so that the next way can be taken, with nothing of it left.

    Raises:
        CannotDivide: in place of whatever was raised.
    """
    try:
        yield
    except Exception as error:
        if asked.strategy is None or (asked.stages is None and asked.shards is None):
            raise
        from beamsplit.models.strategy.measure import told

        for name in ("stages", "shards") if job_dir else ():
            shutil.rmtree(os.path.join(job_dir or "", name), ignore_errors=True)
        raise CannotDivide(told(error)) from error


def settle_strategy(options: ScoreOptions, source: Source, local: bool) -> Settled:
    """The options with `--stages` or `--shards` as the strategy says, with none for replicas.

    Args:
        options: of the job.
        source: of the rows, for a few of them.
        local: whether workers run on this machine.

    Raises:
        UsageError: workers are elsewhere, or nothing fits them.
    """
    asked, kind, described = options.parallelism, options.parallelism.strategy, options.parallelism.cluster
    if kind is None:
        return Settled(options)
    if not local and described is None:
        raise UsageError(
            f"--strategy measures this machine, and --runner {options.runner.name} has workers elsewhere: describe "
            "them with --workers cluster.json, or to python -m pipelines.plan --strategy"
        )
    from beamsplit.models.cost.cluster import read_cluster
    from beamsplit.models.cost.sample_run import SampleRun
    from beamsplit.models.graph.load import load_graph
    from beamsplit.models.running.blocks import blocks_of
    from beamsplit.models.running.session import drop_session
    from beamsplit.models.split.cuts import split_graph
    from beamsplit.models.strategy.measure import MOST_BYTES
    from beamsplit.models.strategy.planner import Limits, plan_strategy
    from beamsplit.pipelines.job.sample_feeds import sample_feeds

    given = options.workers
    workers = count_workers(given, local)
    planning = planning_budget(given, lambda: source.total_rows)
    made = source.within(planning).bind(options.binding, options.sink, workers.session, few_runs=True).fit
    scoring, _ = with_batch_size(made, known_batch_size(asked, given.batch_size, made))
    if kind == "auto" and blocks_of(scoring.model.rewrites) is not None:
        whole = replace(options, parallelism=replace(asked, micro_batch=None, stage_memory=None))
        return Settled(
            whole, ("--strategy auto: the whole model, because it takes a fixed number of rows in each run",)
        )
    rows = 1 if scoring.row_by_row else asked.micro_batch or scoring.batch_size
    feeds, graph = sample_feeds(made, scoring, rows), split_graph(load_graph(scoring.model))
    limits = Limits(
        asked.stage_memory,
        cores() if local and described is None else None,
        planning,
        None if measures_parts(planning, made, rows) else made.run_seconds[0][1],
    )
    if sum(graph.weight_bytes.values()) > MOST_BYTES:
        # What profiles the model loads it again: who has memory for one has not always for two.
        drop_session(made.session)
        del made
    session = replace(workers.session, threads=given.threads or workers.session.threads)
    strategy = plan_strategy(
        SampleRun(scoring.model, feeds, session, rows),
        graph,
        read_cluster(described or str(workers.count)),
        kind=kind,
        limits=limits,
    )
    told = (f"from worker to worker: {strategy.exchange}",) if strategy.exchange else ()
    ways = [one for one in strategy.candidates if one.fits]
    found = [
        Settled(
            _as_chosen(options, one, scoring.batch_size),
            (*(told if one.kind != "replicas" else ()), *strategy.notes),
        )
        for one in _unlike(ways)
    ]
    first = (f"--strategy {kind}: {strategy.verdict}", *found[0].lines)
    return replace(found[0], lines=first, others=tuple(found[1:]))


def _unlike(ways: Sequence[Candidate]) -> list[Candidate]:
    """The first of those that divide the model alike."""
    found: dict[tuple[int, int], Candidate] = {}
    for one in ways:
        found.setdefault((one.stages, one.shards), one)
    return list(found.values())


def _as_chosen(options: ScoreOptions, chosen: Candidate, batch_size: int) -> ScoreOptions:
    """The options of a job that runs a candidate."""
    asked, workers = options.parallelism, options.workers
    if chosen.kind == "replicas":
        count = chosen.workers if asked.cluster is not None else workers.count
        whole = replace(asked, micro_batch=None, stage_memory=None)
        return replace(options, parallelism=whole, workers=replace(workers, count=count))
    # Where a worker has too little memory for all of it, or is elsewhere, each part gets workers of its own.
    distributed = asked.cluster is not None or asked.stage_memory is not None
    shards = chosen.shards if chosen.shards > 1 else None
    asked = replace(
        asked,
        stages=chosen.stages if chosen.stages > 1 else None,
        shards=shards,
        placement=asked.placement or ("distributed" if distributed else "inline"),
        # It is of what each shard holds, and the stages are planned whole.
        stage_memory=asked.stage_memory if shards is None else None,
    )
    # What it was predicted for; else it would be measured again, and come out otherwise.
    options = replace(options, parallelism=asked, workers=replace(workers, batch_size=batch_size))
    return as_many_as_pods(options, sum(pod.count for pod in chosen.pods)) if asked.distributed else options


def as_many_as_pods(options: ScoreOptions, pods: int) -> ScoreOptions:
    """Runners start so many processes for each part of the model: all parts together are the workers of one pod."""
    runner = options.runner if options.runner.parallelism is None else replace(options.runner, parallelism=pods)
    return replace(options, workers=replace(options.workers, count=pods), runner=runner)
