"""`--shards auto`: a few numbers of shards are divided and timed here, and the numbers decide."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from beamsplit.models.cost.cluster import format_bytes, option_bytes
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.saving import PLAN_FILE
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.shard.choose import MOST_SHARDS, Tried, choose
from beamsplit.models.shard.plan import ShardPlan, read_plan
from beamsplit.models.shard.planner import NothingToDivide, divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.shard.weights import held_bytes
from beamsplit.models.split.chain import check_same, tolerance_of
from beamsplit.models.split.stage_times import time_together
from beamsplit.models.strategy.measure import told
from beamsplit.models.values.tensors import Array
from beamsplit.pipelines.execution.shard_source import ShardSource
from beamsplit.pipelines.execution.workers import Replicas, cores
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import WorkerOptions

BUDGET_SECONDS = 0.5
"""For the timed runs of one number of shards, about."""

FEWEST_TRIED = 4
"""So many shards are tried at least: on fewer cores too their smaller weights may lie in faster memory."""


@dataclass(frozen=True)
class Whole:
    """The model as it is, and rows for it."""

    model: ModelFile
    session: Session

    take: Callable[[int], dict[str, Array]]
    """Feeds of so many rows."""

    rows: int
    """Of a run that is timed."""

    few: int
    """Rows that it is divided on."""


class Feeds(NamedTuple):
    """Rows for the model."""

    timed: dict[str, Array]
    few: dict[str, Array]
    """Those that it is divided on, and compared on."""


@dataclass(frozen=True)
class ShardChoice:
    """What `--shards auto` comes to."""

    shards: int
    """1 leaves the model whole."""

    line: str
    """Why, for the user."""

    source: ShardSource | None = None
    """The division, saved in the job's folder; None where the model stays whole."""


def choose_shards(
    whole: Whole, workers: Replicas, asked: WorkerOptions, parallelism: Parallelism, job_dir: str
) -> ShardChoice:
    """Divide the model over ever more shards, time each and take the number that the times and the memory favour.

    Args:
        whole: what is divided.
        workers: of the whole model.
        asked: what was said of the workers: how many, and their threads.
        parallelism: with `placement`, and `stage_memory` where a worker has so much for weights.
        job_dir: folder of the job on this machine.

    Raises:
        UsageError: no number of shards fits the memory.
    """
    if blocks_of(whole.model.rewrites) is not None:
        return ShardChoice(1, "the whole model, because it takes a fixed number of rows in each run")
    feeds, few = whole.take(whole.rows), whole.take(whole.few)
    memory, inline = parallelism.stage_memory, not parallelism.distributed and not workers.gpus
    rate = _rate(partial(whole.session.run, feeds), workers.count, whole.rows)
    tried: list[Tried] = []
    why, left = "", list[str]()
    shards = 2
    while shards <= MOST_SHARDS:
        folder = os.path.join(job_dir, f"shards-{shards}")
        enough = shards >= max(FEWEST_TRIED, workers.gpus or cores())
        try:
            plan = divide(whole.model, few, shards, folder)
            seconds = _timed(plan, folder, whole, workers, asked, Feeds(feeds, few))
        except NothingToDivide as error:
            why = f"it has no layer that can be divided over {shards} shards ({error.why})"
            break
        except Exception as error:
            # One number of shards that fails, for whatever reason, leaves the others.
            why = f"{shards} shards fail ({told(error)})"
            left.append(why)
            if enough:
                break
            shards *= 2
            continue
        if not tried:
            tried.append(Tried(1, rate, plan.weight_bytes))
        held = _worker_bytes(plan, parallelism.distributed, bool(workers.gpus))
        tried.append(Tried(shards, seconds, held))
        fits = memory is None or held <= memory
        if (enough and fits) or (inline and not fits):
            break
        shards *= 2
    if not tried:
        _check_whole(whole.model, memory, why)
        return ShardChoice(1, f"the whole model, because {why}")
    try:
        chosen, line = choose(tried, memory)
    except UsageError as error:
        if inline:
            line = "--placement inline has all shards in each worker; add --placement distributed"
            raise UsageError(f"{error}: {line}") from None
        raise
    line = "; ".join([line, *(f"left out: {one}" for one in left)])
    for one in tried:
        if one.shards != chosen:
            shutil.rmtree(os.path.join(job_dir, f"shards-{one.shards}"), ignore_errors=True)
    if chosen == 1:
        return ShardChoice(1, line)
    path = os.path.join(job_dir, f"shards-{chosen}", PLAN_FILE)
    return ShardChoice(chosen, line, ShardSource(plan=read_plan(path), path=path, made_here=True))


def _check_whole(model: ModelFile, memory: float | None, why: str) -> None:
    """Raise unless the memory holds the weights of a model that cannot be divided."""
    held = held_bytes(load_graph(model).graph)
    if memory is not None and held > memory:
        raise UsageError(
            f"--stage_memory is {format_bytes(memory)}, but the whole model has {format_bytes(held)} of weights, and "
            f"{why}: give --stage_memory {option_bytes(held)} or more, or use --stages"
        )


def _worker_bytes(plan: ShardPlan, distributed: bool, devices: bool) -> int:
    """Bytes of weights in the fullest worker, or in the fullest device of one."""
    shards = [plan.shard_bytes(shard) for shard in range(plan.shards)]
    if not distributed:
        return max(shards) + plan.whole_bytes if devices else sum(shards) + plan.whole_bytes
    return max(*shards, plan.whole_bytes)


def _timed(plan: ShardPlan, folder: str, whole: Whole, workers: Replicas, asked: WorkerOptions, feeds: Feeds) -> float:
    """Rows a second of the shards inline, with the workers that such a job would have.

    Raises:
        UsageError: they give other numbers than the whole model.
    """
    count = asked.count or max(1, cores() // plan.shards)
    each, between = shard_sessions(workers, asked.threads, plan.shards, max(1, cores() // count))
    session = ShardedSession(ShardedModel(plan, folder, each, between, whole.session.signature))
    try:
        check_same(whole.session, session, feeds.few, tolerance_of(whole.model.path), of="they do", fix="left out")
        return _rate(partial(session.run, feeds.timed), count, whole.rows)
    finally:
        session.drop()


def _rate(run: partial[list[Array]], workers: int, rows: int) -> float:
    """Rows a second of so many workers; those beyond the cores take turns, and add none."""
    workers = min(workers, cores())
    return sum(rows / max(seconds, 1e-9) for seconds in time_together([run] * workers, BUDGET_SECONDS))


def shard_sessions(
    workers: Replicas, asked: int | None, shards: int, threads: int
) -> tuple[tuple[SessionOptions, ...], SessionOptions]:
    """Options of each shard's sessions inline, and of whole steps; a worker has so many threads, unless it is asked."""
    session = workers.session
    devices = [shard % workers.gpus if workers.gpus else None for shard in range(shards)]
    count = asked or max(1, threads // shards)
    each = tuple(replace(session, threads=count, device=device) for device in devices)
    return each, replace(session, threads=asked or threads)
