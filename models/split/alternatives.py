"""Other ways to use the same workers, without splitting: measured where they are this machine's, else predicted."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.cost.trace import time_runs
from beamsplit.models.running.session import Session
from beamsplit.models.split.plan import Alternative, StagePlan
from beamsplit.models.split.stage_times import open_stages, time_together, time_window

BUDGET_SECONDS = 1.5
"""For the runs of one alternative, at least."""

_MOST_SECONDS = 10.0
_RUNS = 12
"""Of one alternative, where they take no longer than `_MOST_SECONDS`."""

_TURNS = 3

AT_ONCE = 2e9
"""Bytes of weights that may be in memory while alternatives take turns."""


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class WholeCost:
    """What the whole model takes on one worker."""

    seconds: float
    """Of a micro-batch at speed 1."""

    weight_bytes: float
    memory_bytes: float
    """That a worker needs for it, activations included."""

    transfer_bytes: float = 0.0
    """Inputs and outputs of a micro-batch."""


@dataclass(frozen=True)
class TimedAlternatives:
    """The split and its alternatives, timed on this machine."""

    stage_seconds: tuple[float, ...]
    """Of each stage per micro-batch while all run; empty where there is one stage only."""

    alternatives: tuple[Alternative, ...]
    """Without the split."""

    spread: float = 0.0
    """Of the split, as `Alternative.spread`."""


def time_alternatives(
    model: ir.Model,
    run: SampleRun,
    stages: Sequence[StagePlan],
    workers: Sequence[ClusterWorker],
    whole_model: WholeCost,
) -> TimedAlternatives:
    """Time the stages side by side, a replica of the whole model a worker, and the whole model with all threads.

    They take turns, so that what else the machine does meanwhile falls on all alike; a model too large to be in
    memory three times has its turns one after the other.

    Args:
        model: of `load_graph`.
        run: of the whole model.
        stages: the split, with replicas.
        workers: all of this machine, each with cores of its own.
        whole_model: what it takes, about; slow models are given more time.
    """
    model_file, feeds, options = run.model_file, run.feeds, run.options
    number, each = len(workers), options.threads
    every = min(core_count(), each * number)
    share = max(BUDGET_SECONDS, min(_RUNS * whole_model.seconds, _MOST_SECONDS)) / _TURNS

    def split() -> _Window:
        runs = list(open_stages(model, run, stages))
        return lambda: time_window(stages, runs, share)

    def replicas() -> _Window:
        replica = functools.partial(Session(model_file, options).run, feeds)
        return lambda: time_together([replica] * number, share)

    def whole() -> _Window:
        threaded = functools.partial(Session(model_file, dataclasses.replace(options, threads=every)).run, feeds)
        return lambda: [time_runs(threaded, share)]

    contenders = [replicas]
    if every > each:
        contenders.append(whole)
    if len(stages) > 1:
        contenders.append(split)
    weight_bytes = whole_model.weight_bytes
    turns = _take_turns(contenders, weight_bytes * len(contenders) <= AT_ONCE)
    times = [np.median(one, axis=0) for one in turns]
    spreads = [_spread(one) for one in turns]
    fits = all(worker.memory_bytes >= whole_model.memory_bytes for worker in workers)
    rates = [float((run.rows / np.maximum(one, 1e-12)).sum()) for one in times]
    name = replicas_name(number, f" ({each} {'thread' if each == 1 else 'threads'} each)")
    found = [Alternative(name, rates[0], weight_bytes, True, fits, spreads[0])]
    if every > each:
        name = f"the whole model with {every} threads"
        found.append(Alternative(name, rates[1], weight_bytes, True, fits, spreads[1]))
    seconds = tuple(float(one) for one in times[-1]) if len(stages) > 1 else ()
    return TimedAlternatives(seconds, tuple(found), spreads[-1])


def _spread(turns: Sequence[Sequence[float]]) -> float:
    """How far one contender's turns lie from their median, by the slowest of each; the farthest counts for nothing."""
    slowest = np.array(turns).max(axis=1)
    middle = float(np.median(slowest))
    return float(np.median(np.abs(slowest - middle))) / middle if middle > 0 else 0.0


_Window = Callable[[], "list[float]"]


def _take_turns(contenders: Sequence[Callable[[], _Window]], at_once: bool) -> list[list[list[float]]]:
    """For each contender its seconds in each turn."""
    if at_once:
        windows = [one() for one in contenders]
        turns = [[window() for window in windows] for _ in range(_TURNS)]
        return [list(one) for one in zip(*turns, strict=True)]
    found = []
    for one in contenders:
        window = one()
        found.append([window() for _ in range(_TURNS)])
        del window
    return found


def replicas_name(number: int, detail: str = "") -> str:
    """E.g. `4 replicas of the whole model`."""
    return f"{number} {'replica' if number == 1 else 'replicas'} of the whole model{detail}"


def predict_alternatives(
    workers: Sequence[ClusterWorker], whole_model: WholeCost, rows: int
) -> tuple[Alternative, ...]:
    """Replicas of the whole model on the workers that hold it, from their speeds, memory and bandwidth.

    Where none holds it, that is an alternative that does not fit.

    Args:
        workers: those to use.
        whole_model: what a micro-batch of it takes.
        rows: in the micro-batch.
    """
    able = [worker for worker in workers if worker.memory_bytes >= whole_model.memory_bytes]
    used = able or workers
    number = len(used)
    seconds = [whole_model.seconds / one.speed + whole_model.transfer_bytes / one.bandwidth for one in used]
    rate = sum(rows / max(one, 1e-12) for one in seconds)
    name = replicas_name(number)
    if able and number < len(workers):
        name += f" (the only {'worker' if number == 1 else 'workers'} of {len(workers)} with the memory)"
    return (Alternative(name, rate, whole_model.weight_bytes, False, bool(able)),)
