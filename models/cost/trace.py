"""Runs under ONNX Runtime's own profiler, and what its trace says of each node."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beamsplit.models.running.session import Session
from beamsplit.models.values.tensors import Array

_SUFFIX = "_kernel_time"

WARM_RUNS = 2
"""Runs that count for nothing: they make room for intermediate values, pack weights and start threads."""

_LEAST_RUNS = 3
_MOST_RUNS = 30


@dataclass(frozen=True)
class Trace:
    """What the profiler saw, per run."""

    node_seconds: Mapping[str, float]
    """For each node of the optimised graph that ran, and of bodies, by name."""

    shapes: Mapping[str, tuple[tuple[int, ...], ...]]
    """For each such node, the shape of each output that is a tensor; in the last run."""

    providers: Mapping[str, str]
    """For each such node, the execution provider that ran it."""

    runs: int
    """Runs that it rests on."""


def traced_runs(session: Session, feeds: dict[str, Array], budget_seconds: float, *, least: int = _LEAST_RUNS) -> Trace:
    """Run a session that was made with `enable_profiling` and read its trace, which is removed.

    The profiler has ended when this returns: later runs of the session are no slower for it.

    Raises:
        ModelRunError: the model failed.
    """
    path = ""
    try:
        for _ in range(WARM_RUNS):
            began = time.perf_counter()
            session.run(feeds)
            once = time.perf_counter() - began
        runs = runs_within(budget_seconds, once, least)
        for _ in range(runs):
            session.run(feeds)
    finally:
        path = session.raw.end_profiling()
    try:
        with open(path, encoding="utf-8") as file:
            events = json.load(file)
    finally:
        os.unlink(path)
    return read_trace(events, WARM_RUNS, runs)


def runs_within(budget_seconds: float, once: float, least: int = _LEAST_RUNS) -> int:
    """How many runs of `once` seconds the budget allows, from `least` to 30."""
    return int(np.clip(budget_seconds / max(once, 1e-6), least, _MOST_RUNS))


def read_trace(events: Sequence[Mapping[str, object]], warm: int, runs: int) -> Trace:
    """What the events of `warm + runs` runs say; those of the warm runs are left out.

    The seconds of a node are the mean of the middle half of its runs: as steady as the median, but not bound to the
    whole microseconds in which the trace counts.
    """
    durations: dict[str, list[float]] = {}
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    providers: dict[str, str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith(_SUFFIX):
            continue
        name = name[: -len(_SUFFIX)]
        durations.setdefault(name, []).append(float(str(event["dur"])) * 1e-6)
        given = event.get("args")
        args = given if isinstance(given, dict) else {}
        providers[name] = str(args.get("provider", ""))
        made = args.get("output_type_shape")
        if isinstance(made, list):
            shapes[name] = tuple(tuple(int(d) for d in next(iter(one.values()))) for one in made if one)
    seconds = {}
    for name, found in durations.items():
        # A node in a loop's body runs many times a run, one in a branch maybe never.
        times, rest = divmod(len(found), warm + runs)
        if rest:
            seconds[name] = sum(found) / (warm + runs)
        else:
            per_run = np.array(found).reshape(warm + runs, times).sum(axis=1)[warm:]
            seconds[name] = middle_mean(per_run)
    return Trace(seconds, shapes, providers, runs)


def middle_mean(values: Sequence[float] | Array) -> float:
    """Mean of the middle half, e.g. of `[1, 2, 3, 50]` 2.5."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def time_runs(
    run: Callable[[], object],
    budget_seconds: float,
    *,
    warm: int = 1,
    least: int = _LEAST_RUNS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of one call: the median of several warm ones."""
    once = 0.0
    for _ in range(max(warm, 1)):
        began = clock()
        run()
        once = clock() - began
    found = []
    for _ in range(runs_within(budget_seconds, once, least)):
        began = clock()
        run()
        found.append(clock() - began)
    return float(np.median(found))
