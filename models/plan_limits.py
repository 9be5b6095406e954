"""What the numbers of a plan may be: it is a file, and whoever wrote it may have meant harm or a typing error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beamsplit.models.shard.plan import ShardPlan
    from beamsplit.models.split.plan import Plan

MOST_PARTS = 1_000
"""Stages, shards, and replicas of a stage: as many as workers that are planned for."""

MOST_ROWS = 1_000_000
"""In a micro-batch."""

MOST_THREADS = 10_000
MOST_BYTES = 1 << 60
MOST_SECONDS = 1e9
MOST_SPEED = 1e6


def wrong_number(plan: Plan) -> str | None:
    """What cannot be, in words; None where all can."""
    return next(_wrong(plan), None)


def wrong_shards(plan: ShardPlan) -> str | None:
    """The same of a model divided by width."""
    return next(_wrong_shards(plan), None)


def _wrong(plan: Plan) -> Iterator[str]:
    if not plan.stages:
        yield "it has no stages"
    if len(plan.stages) > MOST_PARTS:
        yield f"it has {len(plan.stages):,} stages, and at most {MOST_PARTS:,} are planned for"
    if [stage.index for stage in plan.stages] != list(range(len(plan.stages))):
        yield f"its stages are numbered {', '.join(str(stage.index) for stage in plan.stages[:9])}, not from 0 in order"
    if plan.links not in ("chain", "direct"):
        yield f"its links are {plan.links!r}, neither chain nor direct"
    if plan.micro_batch < 1:
        yield f"its micro_batch is {plan.micro_batch}, and at least 1 row is wanted"
    if plan.micro_batch > MOST_ROWS:
        yield f"its micro_batch is {plan.micro_batch:,}, and at most {MOST_ROWS:,} rows go through together"
    if not 0 <= plan.threads <= MOST_THREADS:
        yield f"its threads are {plan.threads:,}, and 0 to {MOST_THREADS:,} can be"
    for name in ("period", "lower_bound"):
        yield from _seconds(name, getattr(plan, name))
    for stage in plan.stages:
        of = f"of stage {stage.index}"
        if stage.replicas < 1:
            yield "a stage has no replicas"
        if stage.replicas > MOST_PARTS:
            yield f"stage {stage.index} has {stage.replicas:,} replicas, and at most {MOST_PARTS:,} are planned for"
        yield from _seconds(f"seconds {of}", stage.seconds)
        if not 1 / MOST_SPEED <= stage.speed <= MOST_SPEED:
            yield f"the speed {of} is {stage.speed}, and above 0, {MOST_SPEED:,.0f} at most, can be"
        for name in ("weight_bytes", "bytes_in", "bytes_out"):
            yield from _bytes(f"{name} {of}", getattr(stage, name))
        if stage.shards is not None:
            for line in _wrong_shards(stage.shards):
                yield f"of stage {stage.index}, {line}"
    for tensor in plan.boundaries:
        yield from _bytes(f"nbytes of {tensor.name}", tensor.nbytes)
        if tensor.rows_axis is not None and not 0 <= tensor.rows_axis < 64:
            yield f"the rows_axis of {tensor.name} is {tensor.rows_axis}"
    for point in plan.frontier:
        if not 1 <= point.workers <= MOST_PARTS or not 0 < point.rows_per_second <= MOST_BYTES:
            yield f"its frontier has {point.rows_per_second} rows/s of {point.workers} workers"
        yield from _bytes(f"worker_bytes of {point.name}", point.worker_bytes)
    for other in plan.alternatives:
        yield from _bytes(f"worker_bytes of {other.name}", other.worker_bytes)


def _wrong_shards(plan: ShardPlan) -> Iterator[str]:
    if not 2 <= plan.shards <= MOST_PARTS:
        yield f"its shards are {plan.shards:,}, and 2 to {MOST_PARTS:,} can be"
    steps = plan.steps
    if not steps or steps[-1].sharded:
        yield "its last step is not a whole one"
    for number, step in enumerate(steps):
        models = plan.shards if step.sharded else 1
        # One that has not been saved is made again and compared.
        if step.sha256 and not len(step.files) == len(step.weight_bytes) == len(step.sha256) == models:
            yield f"step {number} does not have a file and its bytes for each of {models} models"
        for nbytes in step.weight_bytes:
            yield from _bytes(f"weight_bytes of step {number}", nbytes)
        if not 0 <= step.depth < MOST_PARTS:
            yield f"step {number} is of stage {step.depth:,}"
    for join in plan.joins:
        if not 0 <= join.step < len(steps) or not steps[join.step].sharded:
            yield f"the join of {join.tensor} is of step {join.step:,}, which is no sharded one"
        if join.how not in ("concat", "sum", "sizes"):
            yield f"{join.tensor} is joined by {join.how!r}"
    for layer in plan.layers:
        yield from _bytes(f"weight_bytes of {layer.node}", layer.weight_bytes)
        if any(piece < 0 for piece in layer.pieces):
            yield f"the pieces of {layer.node} are {', '.join(map(str, layer.pieces[:9]))}"
    for kept in plan.kept_whole:
        yield from _bytes(f"weight_bytes of {kept.node}", kept.weight_bytes)
    for name in ("weight_bytes", "sharded_bytes", "least_bytes"):
        yield from _bytes(name, getattr(plan, name))


def _bytes(name: str, number: float) -> Iterator[str]:
    if not 0 <= number <= MOST_BYTES:
        yield f"{name} is {number:,.0f}, which is no number of bytes"


def _seconds(name: str, number: float) -> Iterator[str]:
    if not 0 <= number <= MOST_SECONDS:
        yield f"{name} is {number:g}, which is no time"
