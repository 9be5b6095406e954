"""The profile that a plan rests on: measured where the model fits this machine, else an estimate that says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from beamsplit.models.cost.cluster import ClusterWorker, format_bytes
from beamsplit.models.cost.estimate import MachineRate, estimate_profile
from beamsplit.models.cost.measured_profile import known_profile, measure_profile
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.errors import UsageError
from beamsplit.models.free_memory import free_memory
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.cuts import SplitGraph


def threads_of_worker(workers: Sequence[ClusterWorker]) -> int:
    """Threads of one worker's session: an equal share of this machine's cores among the workers that are its own."""
    local = sum(worker.local for worker in workers)
    return max(1, core_count() // max(local, 1))


def profile_model(graph: SplitGraph, run: SampleRun) -> Profile:
    """What the model's parts cost: measured, or estimated where it cannot be run here, which a note says."""
    weights = sum(graph.weight_bytes.values())
    free = free_memory()
    why = f"its weights take {format_bytes(weights)}, and this machine has {format_bytes(free)} free"
    try:
        if weights > free:
            raise MemoryError(why)
        return measure_profile(graph.model, run)
    except (UsageError, ModelRunError, MemoryError) as error:
        found = _estimated(graph, run)
        return dataclasses.replace(found, notes=(*found.notes, f"because the model cannot be run here: {error}"))


def quick_profile(graph: SplitGraph, run: SampleRun, seconds: float) -> Profile:
    """What the model's parts cost, without running it: as measured before, else its own seconds dealt by estimate.

    Args:
        graph: the units.
        run: the micro-batch.
        seconds: that the whole model takes for it.
    """
    known = known_profile(graph.model, run)
    if known is not None:
        return known
    found = _estimated(graph, run)
    share = seconds / found.total_seconds if found.total_seconds > 0 else 1.0
    dealt = {name: share * one for name, one in found.node_seconds.items()}
    return dataclasses.replace(found, node_seconds=dealt, total_seconds=seconds)


def _estimated(graph: SplitGraph, run: SampleRun) -> Profile:
    return estimate_profile(
        graph.model,
        rows=run.rows,
        input_shapes={name: value.shape for name, value in run.feeds.items()},
        rate=MachineRate(threads=run.options.threads),
        provider=run.options.providers[0],
    )
