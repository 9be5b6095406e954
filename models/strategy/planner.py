"""A model, sample rows and workers in; the strategy out.

graph -> profile -> widths -> candidates -> the best of each kind run here, where that can be -> choice
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from beamsplit.models import plain
from beamsplit.models.cost.cluster import ClusterWorker, format_bytes, limit_memory
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.graph.load import file_name
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.profiled import profile_model, threads_of_worker
from beamsplit.models.strategy.choose import Strategy, choose
from beamsplit.models.strategy.exchange import ASSUMED, Exchange, measure_exchange
from beamsplit.models.strategy.local_timings import time_locally
from beamsplit.models.strategy.measure import Machine
from beamsplit.models.strategy.teams import INLINE, apart, shard_counts
from beamsplit.models.strategy.width import make_widths

HERE_SECONDS = 1.5
"""For timing the whole model on the cores of this machine."""

VERSION = 1
"""Of the JSON form."""


def plan_strategy(
    run: SampleRun,
    graph: SplitGraph,
    workers: Sequence[ClusterWorker],
    *,
    kind: str = "auto",
    stage_memory: float | None = None,
    cores: int | None = None,
) -> Strategy:
    """Choose among replicas, stages, shards and their combinations.

    Args:
        run: the model on a micro-batch; `threads` 0 is this machine's cores over the workers that are its own.
        graph: its units.
        workers: of `read_cluster`. Memory that they name is all that they have, of which their process takes a part.
            Where they are this machine's, the best of each kind are run on it.
        kind: one of `kinds.KINDS`.
        stage_memory: bytes of weights and activations that a worker may hold; None is what each has.
        cores: of this machine, which all workers share; None where each has its own.

    Raises:
        UsageError: nothing fits the workers; the line says the least memory that there is a way for.
    """
    workers = limit_memory(workers, stage_memory)
    options = dataclasses.replace(run.options, threads=run.options.threads or threads_of_worker(workers))
    run = dataclasses.replace(run, options=options)
    profile = profile_model(graph, run)
    machine = Machine(run, workers, graph, profile)
    inline = machine.is_here and stage_memory is None
    links, seen, exchanged = INLINE, profile, ""
    if not inline:
        exchange = measure_exchange() if len(workers) > 1 else ASSUMED
        links, exchanged = apart(exchange), exchange_line(exchange, workers)
        workers = [dataclasses.replace(one, bandwidth=exchange.bandwidth(one.bandwidth)) for one in workers]
    elif core_count() > 1:
        here = time_locally(run.model_file, run.feeds, options, HERE_SECONDS)
        links, seen = here.links, here.profile(profile)
    counts = shard_counts(len(workers)) if kind != "replicas" else ()
    widths, notes = make_widths(run.model_file, run.feeds, graph, seen, counts)
    measure = machine.measure_all if inline else None
    found = choose(widths, workers, kind=kind, measure=measure, links=links, cores=cores)
    told = (*profile.notes, *notes, *found.notes)
    return dataclasses.replace(found, model=file_name(run.model_file), exchange=exchanged, notes=told)


def exchange_line(exchange: Exchange, workers: Sequence[ClusterWorker]) -> str:
    """What a block costs from worker to worker, in words: what of it was measured, given or assumed."""
    links = [one.bandwidth for one in workers if math.isfinite(one.bandwidth)]
    given = f"a link of {format_bytes(min(links))}/s as given" if links else "no link to wait for (--bandwidth)"
    if not exchange.measured:
        return f"{exchange.block_seconds * 1e6:.0f} µs a block assumed, {given}"
    return (
        f"{exchange.block_seconds * 1e6:.3g} µs a block and {exchange.byte_seconds * 1e9:.2g} ns a byte "
        f"from process to process, measured here, and {given}; what a runner adds is not counted"
    )


def to_json(strategy: Strategy) -> str:
    """The strategy as JSON text, which `from_json` reads back to an equal one."""
    return plain.to_json(_finite(strategy), VERSION)


def from_json(text: str, path: str = "the strategy") -> Strategy:
    """Read a strategy.

    Raises:
        UsageError: the text is no strategy of a version that this program reads.
    """
    return plain.from_json(Strategy, VERSION, text, path, "make it again with python -m pipelines.plan --strategy auto")


def _finite(strategy: Strategy) -> Strategy:
    """JSON has no infinity: a bound that is none is left out."""
    return strategy if math.isfinite(strategy.bound) else dataclasses.replace(strategy, bound=0.0)
