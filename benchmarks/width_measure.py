"""Measures one model divided over 1, 2 and 4 shards on the same cores, and predicts the same from its parts."""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from beamsplit.models.cost.cluster import read_cluster
from beamsplit.models.cost.estimate import bind_shapes
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.cost.trace import time_runs
from beamsplit.models.graph.feeds import find_id_limits, make_feeds
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.saving import save_models
from beamsplit.models.graph.signature import Signature
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import Session, SessionOptions, drop_session, get_session
from beamsplit.models.shard.memory import arena_bytes
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.shard.timing import time_steps
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.chain import check_same
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.profiled import profile_model
from beamsplit.models.split.stage_times import time_together
from beamsplit.models.split.verdict import EVEN
from beamsplit.models.strategy.candidate import candidates
from beamsplit.models.strategy.choose import LeftOut
from beamsplit.models.strategy.local_timings import time_locally
from beamsplit.models.strategy.measure import Machine
from beamsplit.models.strategy.planner import HERE_SECONDS
from beamsplit.models.strategy.teams import shard_counts
from beamsplit.models.strategy.width import make_widths
from beamsplit.models.values.tensors import Array
from benchmarks.measure import peak_private_bytes, save_tensors
from benchmarks.split_measure import TOO_LARGE_FOR_TMP
from benchmarks.split_models import SplitCase

BASE, WHOLE = "base", "whole model"
"""Worker processes: without a model, and with the whole one."""

Feeds = dict[str, Array]

Way = Callable[[int], AbstractContextManager[Session | ShardedSession]]
"""Opens the model, whole or as shards, with so many threads."""


@dataclass(frozen=True)
class WidthResult:
    """What was measured of one model; by number of shards where a dict has such keys, of which 1 is the whole model."""

    model: str
    rows: int
    """In a block."""

    block_seconds: dict[int, list[float]]
    """From a block to its outputs, alone on all cores, in each run."""

    predicted_block: dict[int, float]
    """The same from the times of its steps, each by itself; median of the runs."""

    rows_per_second: dict[int, list[float]]
    """With as many workers side by side as `score` takes, in each run."""

    predicted_rows: dict[int, float]
    """From the steps' times too."""

    planned_rows: dict[int, float]
    """As the planner predicts them from the profile of the whole model alone; for as many shards as there are cores."""

    chosen: int
    """What the planner takes: the most rows a second as planned, or as it measures them."""

    memory: dict[str, int]
    """Peak private bytes of a worker process, by what it holds: `BASE`, `WHOLE`, and of N shards all (`N inline`), the
    largest (`N shard`) and what stays whole (`N steps`)."""

    predicted_memory: dict[str, float]
    meetings: dict[int, int]
    """How often in one pass the shards' results are brought together."""

    differences: dict[int, float]
    """Between the shards' outputs and the whole model's, as a share of the largest magnitude."""

    @property
    def fastest(self) -> int:
        """The number of shards with the most rows a second, by the median of the runs."""
        return max(self.rows_per_second, key=self.rate)

    def rate(self, shards: int) -> float:
        """Rows a second, by the median of the runs."""
        return statistics.median(self.rows_per_second[shards])

    def latency(self, shards: int) -> float:
        """Seconds of a block, by the median of the runs."""
        return statistics.median(self.block_seconds[shards])


def measure_case(case: SplitCase, counts: Sequence[int], runs: int, window: float) -> WidthResult:
    """Divide, check, predict and run one model.

    Args:
        case: the model and the rows of a block.
        counts: numbers of shards, 1 among them.
        runs: of each, in turn.
        window: seconds of each measurement, about; two blocks at least.
    """
    model = ModelFile(str(case.model))
    graph = load_graph(model)
    signature = Session(model, SessionOptions((CPU,), core_count())).signature
    feeds = make_feeds(signature, case.rows, id_limits=find_id_limits(graph))
    weights = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value)
    beside = case.model.parent if weights > TOO_LARGE_FOR_TMP else None
    with tempfile.TemporaryDirectory(prefix="shards-", dir=beside) as at:
        divided = {n: _divide(model, signature, feeds, n, Path(at) / str(n)) for n in counts if n > 1}
        planned, chosen = _plan(model, feeds, case.rows, counts)
        ways: dict[int, Way] = {n: partial(_whole, model) if n == 1 else partial(_shards, divided[n]) for n in counts}
        seconds: dict[int, list[float]] = {n: [] for n in counts}
        rows: dict[int, list[float]] = {n: [] for n in counts}
        predicted_block: dict[int, list[float]] = {n: [] for n in counts}
        predicted_rows: dict[int, list[float]] = {n: [] for n in counts}
        for _ in range(runs):
            for n, way in ways.items():
                workers = max(1, core_count() // n)
                with way(core_count()) as session:
                    predicted_block[n].append(_predict(session, feeds, 1, window))
                    seconds[n].append(time_runs(partial(session.run, feeds), window, least=2))
                with way(max(1, core_count() // workers)) as session:
                    predicted_rows[n].append(workers * case.rows / _predict(session, feeds, workers, window))
                    rows[n].append(_throughput(partial(session.run, feeds), workers, window) * case.rows)
        differences = {n: _difference(model, one, feeds) for n, one in divided.items()}
        memory, predicted_memory = measure_memory(model, divided, feeds, Path(at))
    meetings = {n: one.plan.meetings for n, one in divided.items()}
    return WidthResult(
        case.name, case.rows, seconds, _medians(predicted_block), rows, _medians(predicted_rows), planned, chosen,
        memory, predicted_memory, meetings, differences,
    )  # fmt: skip


def _medians(found: dict[int, list[float]]) -> dict[int, float]:
    return {n: statistics.median(each) for n, each in found.items()}


def _divide(model: ModelFile, signature: Signature, feeds: Feeds, shards: int, folder: Path) -> ShardedModel:
    plan = divide(model, feeds, shards, str(folder))
    return ShardedModel(plan, str(folder), (SessionOptions((CPU,), 1),) * shards, SessionOptions((CPU,)), signature)


def _plan(model: ModelFile, feeds: Feeds, rows: int, counts: Sequence[int]) -> tuple[dict[int, float], int]:
    """(rows a second by number of shards, what is taken): how `plan --strategy` sees replicas and shards here.

    What is as fast within 3 % and has fewer shards comes first. It may take `counts` only, which are measured too:
    with many cores it would try more.
    """
    one = SessionOptions((CPU,), 1)
    workers = read_cluster(str(core_count()))
    graph = split_graph(load_graph(model))
    run = SampleRun(model, feeds, one, rows, None)
    profile = profile_model(graph, run)
    here = time_locally(model, feeds, one, HERE_SECONDS)
    among = [shards for shards in shard_counts(len(workers)) if shards in counts]
    widths, _ = make_widths(model, feeds, graph, here.profile(profile), among)
    found = candidates(widths, workers, rows, 1, here.links)
    machine = Machine(run, workers, graph, profile)
    ran = machine.measure_all(found)
    rates = {
        way.shards: rate or way.rows_per_second
        for way, rate in zip(found, ran, strict=True)
        if not isinstance(rate, LeftOut)
    }
    chosen = min(shards for shards, rate in rates.items() if rate * EVEN >= max(rates.values()))
    return {way.shards: way.rows_per_second for way in found}, chosen


def _predict(session: Session | ShardedSession, feeds: Feeds, workers: int, window: float) -> float:
    """Seconds of a block: of a divided model from its steps, each timed by itself; of the whole one as so many run."""
    if isinstance(session, ShardedSession):
        return sum(time_steps(session, feeds, window))
    run = partial(session.run, feeds)
    return float(np.mean(time_together([run] * workers, window))) if workers > 1 else time_runs(run, window)


@contextmanager
def _whole(model: ModelFile, threads: int) -> Iterator[Session]:
    yield Session(model, SessionOptions((CPU,), threads))


@contextmanager
def _shards(model: ShardedModel, threads: int) -> Iterator[ShardedSession]:
    """All shards in this process, on so many cores, as an inline worker runs them."""
    each = SessionOptions((CPU,), max(1, threads // model.plan.shards))
    placed = ShardedModel(
        model.plan, model.folder, (each,) * model.plan.shards, SessionOptions((CPU,), threads), model.signature
    )
    sharded = ShardedSession(placed)
    try:
        yield sharded
    finally:
        sharded.drop()


def _throughput(run: Callable[[], object], workers: int, window: float) -> float:
    """Blocks a second of so many threads that call over and over, each at least twice."""
    run()
    done: list[int] = []
    began = time.perf_counter()

    def work() -> None:
        count = 0
        while count < 2 or time.perf_counter() - began < window:
            run()
            count += 1
        done.append(count)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def _difference(model: ModelFile, sharded: ShardedModel, feeds: Feeds) -> float:
    whole = get_session(model, SessionOptions((CPU,), core_count()))
    parts = ShardedSession(sharded)
    try:
        return max(check_same(whole, parts, feeds, of="the shards do", fix="").differences.values())
    finally:
        drop_session(whole)
        parts.drop()


def measure_memory(
    model: ModelFile, divided: dict[int, ShardedModel], feeds: Feeds, folder: Path
) -> tuple[dict[str, int], dict[str, float]]:
    """(peak private bytes of each kind of worker process, the same predicted).

    What the whole model, saved as its parts are, takes for a byte of its weights is expected of them too, and for each
    session what the sizes of its tensors say that its arena comes to hold. What stays whole is mostly that.
    """
    found: dict[str, int] = {}
    save_tensors(folder / "base.npz", feeds)
    found[BASE] = peak_private_bytes([*_WORKER, str(folder / "base.npz")])
    found[WHOLE] = peak_private_bytes([*_WORKER, str(folder / "base.npz"), model.path])
    saved = load_graph(model)
    save_models([("model.onnx", lambda: saved)], lambda: "{}", str(folder / "1"))
    held = peak_private_bytes([*_WORKER, str(folder / "base.npz"), str(folder / "1" / "model.onnx")]) - found[BASE]
    each = held - _arena(str(folder / "1" / "model.onnx"), feeds)[0]
    predicted: dict[str, float] = {}
    for n, sharded in divided.items():
        session = ShardedSession(sharded)
        tensors = session.tensors(feeds)
        session.drop()
        stored = folder / f"feeds-{n}.npz"
        save_tensors(stored, tensors)
        for name, part in (("inline", "all"), ("shard", "0"), ("steps", "whole")):
            found[f"{n} {name}"] = peak_private_bytes([*_WORKER, str(stored), sharded.folder, part])
        for name, (share, files) in _held(sharded.plan).items():
            arenas, read = zip(*(_arena(str(Path(sharded.folder) / file), tensors) for file in files), strict=True)
            # One session's inputs are in memory at a time.
            predicted[f"{n} {name}"] = found[BASE] + each * share + sum(arenas) + max(read)
        del tensors, session
    return found, predicted


def _arena(path: str, tensors: Feeds) -> tuple[float, int]:
    """(what the arena of a session comes to hold, by the sizes of its tensors; bytes of its inputs)."""
    model = load_graph(ModelFile(path))
    given = {str(value.name): tensors[str(value.name)] for value in model.graph.inputs}
    rows = next((one.shape[0] for one in given.values() if one.ndim), 1)
    shapes = bind_shapes(model, {name: one.shape for name, one in given.items()}, rows)
    return arena_bytes(model.graph, shapes), sum(one.nbytes for one in given.values())


_WORKER = (sys.executable, "-m", "benchmarks.width_worker")


def _held(plan: ShardPlan) -> dict[str, tuple[float, list[str]]]:
    """Of a worker of all shards, of one of a shard, of one of the whole steps: its share of the weights, its models."""
    shards = [plan.shard_bytes(shard) for shard in range(plan.shards)]
    sharded = [stage.files for stage in plan.steps if stage.sharded]
    whole = [file for stage in plan.steps if not stage.sharded for file in stage.files]
    every = [file for stage in plan.steps for file in stage.files]
    return {
        "inline": ((sum(shards) + plan.whole_bytes) / plan.weight_bytes, every),
        "shard": (shards[0] / plan.weight_bytes, [files[0] for files in sharded]),
        "steps": (plan.whole_bytes / plan.weight_bytes, whole),
    }
