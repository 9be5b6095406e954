"""What stages really take: each is extracted and timed, alone or while the others run beside it."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.cost.trace import time_runs
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session
from beamsplit.models.split.plan import StagePlan
from beamsplit.models.split.stage import extract_stage

BUDGET_SECONDS = 1.0
"""For the runs of one stage, or of all together."""

_LEAST_RUNS = 4
_ENOUGH_RUNS = 30
"""Runs of each that are as good as the whole budget, if a fifth of it has been spent."""


def time_stages(
    model: ir.Model,
    run: SampleRun,
    stages: Sequence[StagePlan],
    *,
    together: bool,
    budget_seconds: float = BUDGET_SECONDS,
) -> list[float]:
    """Seconds per micro-batch of each stage, what surrounds a run included.

    Args:
        model: of `load_graph`.
        run: of the whole model; a stage's session has the same options.
        stages: with their replicas.
        together: all stages and replicas run at once, each on its own micro-batch over and over, as they do in one
            machine: they share memory and caches, and get in one another's way. Else one stage is in memory at a time.
        budget_seconds: for each stage, or for all at once.

    Raises:
        ModelRunError: a stage failed.
    """
    opened = open_stages(model, run, stages)
    if together:
        return time_window(stages, list(opened), budget_seconds)
    return [time_runs(stage, budget_seconds) for stage in opened]


def open_stages(model: ir.Model, run: SampleRun, stages: Sequence[StagePlan]) -> Iterator[Callable[[], object]]:
    """For each stage what runs it on its part of the feeds; only what the caller keeps stays in memory."""
    values = dict(run.feeds)
    for stage in stages:
        session = _open(model, run, stage)
        given = {name: values[name] for name in stage.inputs}
        values.update(zip(stage.outputs, session.run(given), strict=True))
        needed = {name for later in stages[stage.index + 1 :] for name in later.inputs}
        values = {name: value for name, value in values.items() if name in needed}
        yield functools.partial(session.run, given)
        del session, given


def _open(model: ir.Model, run: SampleRun, stage: StagePlan) -> Session:
    source = ir.to_proto(extract_stage(model, stage)).SerializeToString(deterministic=True)
    # A stage is fed as its graph takes it, whatever is done with the rows of the whole model.
    return Session(ModelFile(run.model_file.path), run.options, source=source)


def time_window(
    stages: Sequence[StagePlan], runs: Sequence[Callable[[], object]], budget_seconds: float
) -> list[float]:
    """Seconds per micro-batch of each stage while all stages with all their replicas run."""
    teams = [run for stage, run in zip(stages, runs, strict=True) for _ in range(stage.replicas)]
    times = iter(time_together(teams, budget_seconds))
    return [float(np.mean([next(times) for _ in range(stage.replicas)])) for stage in stages]


def time_together(
    runs: Sequence[Callable[[], object]],
    budget_seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of each call while all are called over and over, each by a thread of its own.

    The median of the calls that began while every other one was still at it; every thread goes on until all have made
    four such calls and the budget is spent, or thirty in less.

    Raises:
        BaseException: the first that a call raised.
    """
    ready = threading.Barrier(len(runs))
    counts = [0] * len(runs)
    found: list[list[float]] = [[] for _ in runs]
    failed: list[BaseException] = []

    def work(at: int) -> None:
        try:
            runs[at]()
            ready.wait()
            started = clock()
            while not failed and not _enough(min(counts), clock() - started, budget_seconds):
                began = clock()
                runs[at]()
                found[at].append(clock() - began)
                counts[at] += 1
        except BaseException as error:
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(at,), name=f"stage-{at}") for at in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise next((one for one in failed if not isinstance(one, threading.BrokenBarrierError)), failed[0])
    return [float(np.median(times)) for times in found]


def _enough(runs: int, seconds: float, budget_seconds: float) -> bool:
    if runs >= _ENOUGH_RUNS:
        return seconds >= budget_seconds / 5
    return runs >= _LEAST_RUNS and seconds >= budget_seconds
