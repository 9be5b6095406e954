"""Measures one model split by depth beside the same model whole, on the same cores."""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from beamsplit.models.cost.cluster import read_cluster
from beamsplit.models.cost.measured_profile import measure_profile
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.graph.feeds import find_id_limits, make_feeds
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import Session, SessionOptions, drop_session, get_session
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.balance import CannotSplit, balance, equal_count, equal_weight_bytes, evaluate
from beamsplit.models.split.chain import StageChain, check_chain
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.plan import Plan
from beamsplit.models.split.planner import make_plan
from beamsplit.models.split.problem import make_problem, solver_workers, unit_seconds
from beamsplit.models.split.stage import save_stages
from beamsplit.models.split.staged import StagedModel, StagedSession, tensors_of
from beamsplit.models.values.tensors import Array
from benchmarks.measure import peak_private_bytes, save_tensors
from benchmarks.split_models import SplitCase

STAGES, WHOLE, REPLICAS = "stages inline", "whole model", "replicas"
"""The three ways to use the same cores."""

TOO_LARGE_FOR_TMP = 1 << 30
"""Bytes of weights from which the stages are saved beside the model: the temporary folder may be in memory."""


@dataclass(frozen=True)
class SplitResult:
    """What was measured of one model."""

    model: str
    stages: int
    rows: int
    """In a micro-batch."""

    micro_batches: int
    seconds: dict[str, list[float]]
    """For all micro-batches, of each way, in each run."""

    predicted_period: float
    measured_period: float
    """Seconds between two micro-batches that come out of the full pipeline; median of the runs."""

    bubble_share: float
    """Of the workers' time, filling and draining included; median of the runs."""

    solver_seconds: float
    gap: float
    method: str
    weight_bytes_ratio: float | None
    """Bottleneck of stages of equal weight bytes over ours, by the profile; None where there is no such split."""

    node_count_ratio: float | None
    base_bytes: int
    """Private memory of a worker process without a model, at its peak."""

    whole_bytes: int
    """Of one with the whole model."""

    stage_bytes: list[int]
    """Of one with each stage."""

    verdict: str
    foretold: str
    """The way that the plan calls the fastest."""

    largest_difference: float
    """Between the stages' outputs and the whole model's, as a share of the largest magnitude."""

    def rows_per_second(self, way: str) -> float:
        """By the median of the runs."""
        return self.rows * self.micro_batches / statistics.median(self.seconds[way])

    @property
    def fastest(self) -> str:
        """The way with the most rows a second."""
        return max(self.seconds, key=self.rows_per_second)


def measure_case(case: SplitCase, stages: int, micro_batches: int, runs: int) -> SplitResult:
    """Plan, save, check and run one model."""
    model = ModelFile(str(case.model))
    one = SessionOptions((CPU,), max(1, core_count() // stages))
    graph = split_graph(load_graph(model))
    session = get_session(model, SessionOptions((CPU,), core_count()))
    feeds = make_feeds(session.signature, case.rows, id_limits=find_id_limits(graph.model))
    drop_session(session)
    del session
    sampled = SampleRun(model, feeds, one, case.rows)
    profile = measure_profile(graph.model, sampled)
    solver_seconds, gap, method, ratios = measure_solver(graph, profile, stages)
    plan = make_plan(sampled, stages, read_cluster(str(stages)), graph=graph, profile=profile)
    weights = sum(graph.weight_bytes.values())
    with tempfile.TemporaryDirectory(
        prefix="split-", dir=case.model.parent if weights > TOO_LARGE_FOR_TMP else None
    ) as at:
        saved = save_stages(graph.model, plan, at)
        staged = StagedModel(saved, at, saved.outputs, (one,) * stages, tuple(s.replicas for s in saved.stages))
        difference = _difference(model, staged, feeds)
        ways = {STAGES: lambda: _stages(staged), WHOLE: lambda: _whole(model), REPLICAS: lambda: _replicas(model)}
        seconds: dict[str, list[float]] = {}
        told: list[tuple[float, float]] = []
        for _ in range(runs):
            for name, way in ways.items():
                with way() as run:
                    run(feeds, 2)
                    took, period, bubbles = run(feeds, micro_batches)
                seconds.setdefault(name, []).append(took)
                if name == STAGES:
                    told.append((period, bubbles))
        base, whole_bytes, stage_bytes = measure_memory(model, staged, feeds, Path(at))
    return SplitResult(
        case.name, stages, case.rows, micro_batches, seconds, plan.period,
        statistics.median(period for period, _ in told), statistics.median(bubbles for _, bubbles in told),
        solver_seconds, gap, method, *ratios, base, whole_bytes, stage_bytes, plan.verdict, foretold(plan), difference,
    )  # fmt: skip


def foretold(plan: Plan) -> str:
    """The way that a plan ranks first."""
    if not plan.alternatives:
        return STAGES
    name = plan.alternatives[0].name
    return REPLICAS if "replica" in name else WHOLE if "whole" in name else STAGES


def measure_solver(
    graph: SplitGraph, profile: Profile, stages: int
) -> tuple[float, float, str, tuple[float | None, float | None]]:
    """(seconds, gap, method, (bottleneck of equal weight bytes, and of equal node counts, over ours))."""
    problem = make_problem(graph, profile, unit_seconds(graph, profile))
    workers = solver_workers(read_cluster(str(stages)))
    began = time.perf_counter()
    found = balance(problem, workers, stages)
    seconds = time.perf_counter() - began
    ratios: list[float | None] = []
    for method in (equal_weight_bytes, equal_count):
        try:
            other = evaluate(problem, method(problem, stages), [(k,) for k in range(stages)], workers)
        except CannotSplit:
            ratios.append(None)
        else:
            ratios.append(other.period / found.period)
    return seconds, found.gap, found.method, (ratios[0], ratios[1])


def _difference(model: ModelFile, staged: StagedModel, feeds: dict[str, Array]) -> float:
    whole = get_session(model, SessionOptions((CPU,), core_count()))
    sessions = [get_session(staged.stage_file(k), staged.sessions[k]) for k in range(len(staged.sessions))]
    try:
        return max(check_chain(whole, StageChain(sessions, staged.plan), feeds).differences.values())
    finally:
        for session in (whole, *sessions):
            drop_session(session)


Run = Callable[[dict[str, Array], int], tuple[float, float, float]]
"""Runs so many micro-batches: (seconds, seconds between two that come out, bubble share)."""


@contextmanager
def _stages(model: StagedModel) -> Iterator[Run]:
    staged = StagedSession(model)

    def run(feeds: dict[str, Array], count: int) -> tuple[float, float, float]:
        staged.take_stats()
        began = time.perf_counter()
        done = []
        for outcome in staged.run_many(dict(feeds) for _ in range(count)):
            if outcome.error is not None:
                raise outcome.error
            done.append(time.perf_counter())
        period = (done[-1] - done[0]) / max(1, count - 1)
        return done[-1] - began, period, staged.take_stats().bubble_share

    try:
        yield run
    finally:
        for session in staged.sessions:
            drop_session(session)


@contextmanager
def _whole(model: ModelFile) -> Iterator[Run]:
    session = Session(model, SessionOptions((CPU,), core_count()))

    def run(feeds: dict[str, Array], count: int) -> tuple[float, float, float]:
        began = time.perf_counter()
        for _ in range(count):
            session.run(feeds)
        return time.perf_counter() - began, 0.0, 0.0

    yield run


@contextmanager
def _replicas(model: ModelFile) -> Iterator[Run]:
    """One thread a core on one session: a run takes no lock, and weights are in memory once."""
    session = Session(model, SessionOptions((CPU,), 1))

    def run(feeds: dict[str, Array], count: int) -> tuple[float, float, float]:
        shares = [count // core_count() + (k < count % core_count()) for k in range(core_count())]
        threads = [threading.Thread(target=lambda n=n: [session.run(feeds) for _ in range(n)]) for n in shares]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began, 0.0, 0.0

    yield run


def measure_memory(
    model: ModelFile, staged: StagedModel, feeds: dict[str, Array], folder: Path
) -> tuple[int, int, list[int]]:
    """Peak private bytes of a worker process (without a model, with the whole one, with each stage)."""
    sessions = [get_session(staged.stage_file(k), staged.sessions[k]) for k in range(len(staged.sessions))]
    tensors = {**feeds, **tensors_of(sessions, feeds)}
    for session in sessions:
        drop_session(session)
    del sessions

    def peak(name: str, inputs: tuple[str, ...], path: str | None) -> int:
        stored = folder / f"feeds-{name}.npz"
        save_tensors(stored, {key: tensors[key] for key in inputs})
        command = [sys.executable, "-m", "benchmarks.split_worker", str(stored)]
        return peak_private_bytes(command + ([path] if path else []))

    base = peak("base", (), None)
    whole = peak("whole", tuple(feeds), model.path)
    each = [peak(str(stage.index), stage.inputs, staged.stage_file(stage.index).path) for stage in staged.plan.stages]
    return base, whole, each
