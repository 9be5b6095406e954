from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from beamsplit.models.cost.cluster import ClusterWorker, limit_memory, read_cluster
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.feeds import make_feeds
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.models.split.balance import evaluate
from beamsplit.models.split.chain import check_chain, open_chain
from beamsplit.models.split.cuts import SplitGraph
from beamsplit.models.split.micro_batch import find_micro_batch
from beamsplit.models.split.planner import draw_stages, make_plan
from beamsplit.models.split.problem import activation_bytes, make_problem, unit_seconds
from beamsplit.models.split.profiled import threads_of_worker
from beamsplit.models.split.stage import save_stages
from beamsplit.models.split.stage_times import time_together
from beamsplit.models.split.verdict import EVEN
from beamsplit.models.values.tensors import Array
from tests import onnx_models
from tests.models.split.cutting import file_of, graph_of

FLOAT = TensorProto.FLOAT


def chain(width: int = 4, length: int = 6):
    """x -> l0 -> l1 -> ..., each a product with a matrix of its own."""
    rng = np.random.default_rng(0)
    nodes, weights = [], {}
    for i in range(length):
        weights[f"w{i}"] = rng.standard_normal((width, width)).astype(np.float32)
        source, made = ("x" if i == 0 else f"h{i - 1}"), ("y" if i == length - 1 else f"h{i}")
        nodes.append(helper.make_node("MatMul", [source, f"w{i}"], [made], name=f"l{i}"))
    return onnx_models.build(nodes, [("x", FLOAT, ["n", width])], [("y", FLOAT, ["n", width])], weights)


def diamond(width: int = 4):
    """x -> a -> (b, c) -> d -> e, and a skip from a to e."""
    rng = np.random.default_rng(0)
    weights = {f"w{name}": rng.standard_normal((width, width)).astype(np.float32) for name in "abce"}
    nodes = [
        helper.make_node("MatMul", ["x", "wa"], ["ta"], name="a"),
        helper.make_node("MatMul", ["ta", "wb"], ["tb"], name="b"),
        helper.make_node("MatMul", ["ta", "wc"], ["tc"], name="c"),
        helper.make_node("Gemm", ["tb", "tc"], ["td"], name="d", transA=1),
        helper.make_node("MatMul", ["ta", "td"], ["te"], name="e"),
        helper.make_node("MatMul", ["te", "we"], ["y"], name="f"),
    ]
    return onnx_models.build(nodes, [("x", FLOAT, ["n", width])], [("y", FLOAT, ["n", width])], weights)


def profile_of(graph: SplitGraph, seconds: dict[str, float], nbytes: float = 64.0) -> Profile:
    names = [str(node.name) for node in graph.model.graph]
    tensors = [*graph.inputs, *(made for part in graph.parts.values() for made in part.makes)]
    found = {name: seconds.get(name, 0.0) for name in names}
    return Profile(4, found, dict.fromkeys(tensors, nbytes), sum(found.values()))


def least_period(graph: SplitGraph, seconds: dict[str, float], stages: int) -> float:
    """The least busiest stage over all ways to deal nodes to stages that no edge goes back in."""
    names = [str(node.name) for node in graph.model.graph]
    maker = {made: name for name, part in graph.parts.items() for made in part.makes}
    before = [(maker[r], name) for name, part in graph.parts.items() for r in part.reads if r in maker]
    best = float("inf")
    for choice in itertools.product(range(stages), repeat=len(names)):
        of = dict(zip(names, choice, strict=True))
        if len(set(choice)) == stages and all(of[a] <= of[b] for a, b in before):
            best = min(best, max(sum(seconds[n] for n in names if of[n] == s) for s in range(stages)))
    return best


@pytest.mark.parametrize("build", [chain, diamond])
@pytest.mark.parametrize("stages", [2, 3])
def test_the_plan_is_the_best_of_all(tmp_path: Path, build, stages: int):
    graph = graph_of(build(), tmp_path)
    rng = np.random.default_rng(stages)
    for _ in range(3):
        names = [str(node.name) for node in graph.model.graph]
        seconds = {name: float(value) for name, value in zip(names, rng.integers(1, 9, len(names)), strict=True)}
        drawn = draw_stages(graph, profile_of(graph, seconds), stages, read_cluster(str(stages)))
        assert drawn.balance.period == pytest.approx(least_period(graph, seconds, stages))
        assert [sum(seconds[name] for name in stage.nodes) for stage in drawn.stages] == pytest.approx(
            [stage.seconds for stage in drawn.stages]
        )
        assert max(stage.seconds for stage in drawn.stages) == pytest.approx(drawn.balance.period)
        assert {name for stage in drawn.stages for name in stage.nodes} == set(names)


def test_left_over_workers_run_a_stage_side_by_side(tmp_path: Path):
    graph = graph_of(chain(length=2), tmp_path)
    drawn = draw_stages(graph, profile_of(graph, {"l0": 1.0, "l1": 2.0}), 2, read_cluster("3"))
    assert [stage.replicas for stage in drawn.stages] == [1, 2]
    assert sorted(name for stage in drawn.stages for name in stage.workers) == ["worker-0", "worker-1", "worker-2"]
    assert drawn.balance.period == pytest.approx(1.0)


def test_a_faster_worker_gets_more(tmp_path: Path):
    graph = graph_of(chain(length=4), tmp_path)
    workers = [ClusterWorker("slow", 1.0), ClusterWorker("fast", 3.0)]
    drawn = draw_stages(graph, profile_of(graph, {f"l{i}": 1.0 for i in range(4)}), 2, workers)
    by_name = {stage.workers: len(stage.nodes) for stage in drawn.stages}
    assert by_name == {("slow",): 1, ("fast",): 3}


def test_no_split_where_it_does_not_help(tmp_path: Path):
    graph = graph_of(chain(length=5), tmp_path)
    drawn = draw_stages(graph, profile_of(graph, {f"l{i}": 1.0 for i in range(5)}), None, read_cluster("2"))
    # Two workers with the whole model are never uneven.
    assert len(drawn.stages) == 1 and drawn.stages[0].replicas == 2
    assert drawn.balance.period == pytest.approx(2.5)


def test_memory_is_respected(tmp_path: Path):
    graph = graph_of(chain(width=64, length=6), tmp_path)
    # Alone, the first node would be a stage of its own; but five matrices of 16 kB are too much for a worker.
    profile = profile_of(graph, {"l0": 5.0, **{f"l{i}": 1.0 for i in range(1, 6)}})
    free = draw_stages(graph, profile, 2, read_cluster("2"))
    assert [len(stage.nodes) for stage in free.stages] == [1, 5]
    tight = draw_stages(graph, profile, 2, read_cluster("2", memory_bytes=4 * 16_384 + 500))
    assert [len(stage.nodes) for stage in tight.stages] == [2, 4]
    assert all(stage.weight_bytes <= 4 * 16_384 for stage in tight.stages)
    with pytest.raises(UsageError, match=r"--stages? 2|a split into 2 stages over 2 workers needs .* in each"):
        draw_stages(graph, profile, 2, read_cluster("2", memory_bytes=2 * 16_384))
    # Memory alone makes a model be split.
    assert len(draw_stages(graph, profile, None, read_cluster("3", memory_bytes=4 * 16_384 + 500)).stages) > 1


def test_activations_count_as_memory(tmp_path: Path):
    graph = graph_of(diamond(), tmp_path)
    held = dict(zip([unit.nodes[0] for unit in graph.units], activation_bytes(graph, {"ta": 100.0}), strict=True))
    # ta lives from a to e; an arena comes to hold twice what lies there at once.
    assert held["a"] == held["b"] == held["c"] == held["d"] == held["e"] == 200
    assert held["f"] == 0


def test_stages_are_corrected_by_what_they_take(tmp_path: Path):
    graph = graph_of(chain(length=6), tmp_path)
    profile = profile_of(graph, {f"l{i}": 1.0 for i in range(6)})
    # What the profile does not know: the last two nodes take four times as long.
    real = {f"l{i}": 4.0 if i > 3 else 1.0 for i in range(6)}
    asked = []

    def timer(stages):
        asked.append([stage.nodes for stage in stages])
        return [sum(real[name] for name in stage.nodes) for stage in stages]

    drawn = draw_stages(graph, profile, 2, read_cluster("2"), timer=timer)
    assert 2 <= len(asked) <= 3
    assert [len(stages[0]) for stages in asked][:2] == [3, 5] or len(asked[0][0]) == 3
    measured = [sum(real[name] for name in stage.nodes) for stage in drawn.stages]
    assert [stage.seconds for stage in drawn.stages] == pytest.approx(measured)
    assert drawn.balance.period == pytest.approx(max(measured))
    assert drawn.balance.period == pytest.approx(least_period(graph, real, 2))
    assert drawn.balance.lower_bound <= drawn.balance.period * (1 + 1e-9)


def test_a_worse_round_is_not_taken(tmp_path: Path):
    graph = graph_of(chain(length=4), tmp_path)
    times = iter([[3.0, 1.0], [9.0, 9.0], [9.0, 9.0]])
    drawn = draw_stages(
        graph, profile_of(graph, {f"l{i}": 1.0 for i in range(4)}), 2, read_cluster("2"), timer=lambda _: next(times)
    )
    assert drawn.balance.period == pytest.approx(3.0)
    assert [stage.seconds for stage in drawn.stages] == pytest.approx([3.0, 1.0])


def sample_run(file: ModelFile, feeds: dict[str, Array], rows: int) -> SampleRun:
    return SampleRun(file, feeds, SessionOptions(threads=1), rows, cache_folder=None)


def test_a_whole_plan_runs_as_the_model_does(tmp_path: Path):
    file = file_of(chain(width=32), tmp_path)
    session = get_session(file, SessionOptions(threads=1))
    feeds = make_feeds(session.signature, 8)
    plan = make_plan(sample_run(file, feeds, 8), 3, read_cluster("3"))
    assert len(plan.stages) == 3 and plan.micro_batch == 8
    assert plan.inputs == ("x",) and plan.outputs == ("y",)
    assert plan.source == "measured" and plan.threads == 1 and plan.verdict
    # [8, 32] float32 everywhere.
    assert [(stage.bytes_in, stage.bytes_out) for stage in plan.stages] == [(1024, 1024)] * 3
    assert len(plan.boundaries) == 2 and all(tensor.nbytes == 1024 for tensor in plan.boundaries)
    assert plan.boundary(0) == plan.stages[0].outputs
    assert plan.period >= plan.lower_bound > 0
    names = {one.name for one in plan.alternatives}
    assert "3 stages" in names and any(name.startswith("3 replicas of the whole model") for name in names)
    saved = save_stages(graph_of(file.path, tmp_path).model, plan, str(tmp_path / "stages"))
    check_chain(session, open_chain(saved, str(tmp_path / "stages"), SessionOptions(threads=1)), feeds)


def test_alternatives_are_timed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # However many cores there are: two, for two workers.
    monkeypatch.setattr("beamsplit.models.split.planner.core_count", lambda: 2)
    monkeypatch.setattr("beamsplit.models.split.profiled.core_count", lambda: 2)
    monkeypatch.setattr("beamsplit.models.split.alternatives.core_count", lambda: 2)
    file = file_of(chain(width=32), tmp_path)
    feeds = {"x": np.ones((8, 32), np.float32)}
    for stages in (2, 1):
        plan = make_plan(sample_run(file, feeds, 8), stages, read_cluster("2"))
        measured = {one.name for one in plan.alternatives if one.measured}
        others = {"2 replicas of the whole model (1 thread each)", "the whole model with 2 threads"}
        # All stand on the same basis.
        assert measured == others | ({"2 stages"} if stages == 2 else set()) == {one.name for one in plan.alternatives}
        best = max(plan.alternatives, key=lambda one: one.rows_per_second)
        first = plan.alternatives[0]
        # A split that is as fast comes after what does without it.
        assert first == best or (best.name == "2 stages" and first.rows_per_second * EVEN > best.rows_per_second)
        assert best.name.lower() in plan.verdict.lower()
        assert (
            plan.lower_bound
            <= plan.period
            == pytest.approx(max(stage.seconds / stage.replicas for stage in plan.stages))
        )


def test_a_model_that_cannot_run_here_is_planned_by_estimate(tmp_path: Path):
    file = file_of(chain(), tmp_path)
    wrong = {"x": np.zeros((2, 5), np.float32)}
    plan = make_plan(sample_run(file, wrong, 2), 2, read_cluster("2"))
    assert plan.source == "estimate"
    assert any("estimated" in note for note in plan.notes)
    assert not any(one.measured for one in plan.alternatives)


def test_a_model_larger_than_memory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beamsplit.models.split.profiled.free_memory", lambda: 100.0)
    run = sample_run(file_of(chain(), tmp_path), {"x": np.zeros((2, 4), np.float32)}, 2)
    plan = make_plan(run, 2, read_cluster("2"))
    assert plan.source == "estimate"
    assert any("its weights take 384 bytes, and this machine has 100 bytes free" in note for note in plan.notes)


def test_memory_decides_the_verdict(tmp_path: Path):
    run = sample_run(file_of(chain(width=64), tmp_path), {"x": np.zeros((1, 64), np.float32)}, 1)
    plan = make_plan(run, None, limit_memory(read_cluster("2"), 4 * 16_384))
    assert len(plan.stages) == 2
    assert plan.verdict.startswith("No worker holds the whole model (99.3 kB): splitting is what makes it possible")
    assert [one.fits for one in plan.alternatives] == [True, False]


def test_more_stages_than_the_model_or_the_workers_have(tmp_path: Path):
    run = sample_run(file_of(chain(length=2), tmp_path), {"x": np.zeros((2, 4), np.float32)}, 2)
    with pytest.raises(UsageError, match="--stages 3 are wanted, but there are only 2 workers: use --workers 3"):
        make_plan(run, 3, read_cluster("2"))
    with pytest.raises(UsageError, match="--stages 3: the model can be cut into at most 2 stages"):
        make_plan(run, 3, read_cluster("3"))


def test_seconds_and_weights_reach_the_solver(tmp_path: Path):
    graph = graph_of(diamond(), tmp_path)
    profile = profile_of(graph, {"a": 1.0, "b": 2.0})
    problem = make_problem(graph, profile, unit_seconds(graph, profile))
    assert sum(problem.seconds) == pytest.approx(3.0)
    assert sum(weight.nbytes for weight in problem.weights) == 4 * 4 * 4 * 4
    skip = problem.values[1 + [unit.nodes[0] for unit in graph.units].index("a")]
    assert len(skip.consumers) == 3
    assert [value.is_output for value in problem.values].count(True) == 1


def test_threads_are_shared_among_this_machines_workers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("beamsplit.models.split.profiled.core_count", lambda: 8)
    assert threads_of_worker(read_cluster("4")) == 2
    assert threads_of_worker(read_cluster("16")) == 1
    assert threads_of_worker([ClusterWorker("far", local=False)]) == 8


def test_calls_are_timed_while_the_others_run():
    beside = threading.Barrier(2, timeout=300)
    calls = [0, 0]

    def run(at: int):
        calls[at] += 1
        if calls[at] == 2:
            # Both are in their second call at once.
            beside.wait()

    assert len(time_together([lambda: run(0), lambda: run(1)], 0.0)) == 2
    assert min(calls) >= 5


def test_short_calls_do_not_spend_the_whole_budget():
    ticks = itertools.count()
    calls: list[float] = []
    # Each look at the clock is a second later: a fifth of the budget is over long before it is spent.
    time_together([lambda: calls.append(0.0)], 400.0, clock=lambda: float(next(ticks)))
    assert 30 <= len(calls) < 100


def test_an_error_of_one_ends_all():
    def fail():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        time_together([lambda: None, fail], 0.0)


class Costs:
    """A clock that runs on by what a run of so many rows costs."""

    def __init__(self, fixed: float, each: float):
        self.now, self.fixed, self.each = 0.0, fixed, each

    def run(self, rows: int) -> None:
        self.now += self.fixed + self.each * rows

    def clock(self) -> float:
        return self.now


def test_the_smallest_efficient_micro_batch():
    costs = Costs(fixed=1.0, each=1.0)
    found = find_micro_batch(costs.run, bytes_per_row=1, budget_seconds=1e9, clock=costs.clock)
    # 16 of 17 seconds are rows: above nine tenths of the best; 8 of 9 are not.
    assert found.batch_size == 16


def test_micro_batches_leave_room_for_overlap():
    costs = Costs(fixed=1.0, each=1e-3)
    found = find_micro_batch(
        costs.run, bytes_per_row=1, stages=4, block_rows=256, budget_seconds=1e9, clock=costs.clock
    )
    assert found.batch_size == 16
    alone = find_micro_batch(costs.run, bytes_per_row=1, block_rows=1, budget_seconds=1e9, clock=costs.clock)
    assert alone.batch_size == 1


def test_a_better_split_of_the_longer_search_is_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("scipy")
    graph = graph_of(diamond(), tmp_path)
    profile = profile_of(graph, dict(zip("abcdef", (1.0, 2.0, 2.0, 1.0, 1.0, 3.0), strict=True)))
    best = draw_stages(graph, profile, 2, read_cluster("2")).balance

    def poor(problem, workers, stages, **more):
        stage_of = [0] * (len(problem.seconds) - 1) + [1]
        return evaluate(problem, stage_of, [[0], [1]], workers, lower_bound=0.1, method="orders")

    monkeypatch.setattr("beamsplit.models.split.certified.balance", poor)
    monkeypatch.setattr("beamsplit.models.split.planner.balance", poor)
    drawn = draw_stages(graph, profile, 2, read_cluster("2"), seconds=30.0)
    assert (drawn.balance.period, drawn.balance.gap < 1e-3) == (pytest.approx(best.period, rel=1e-4), True)
    assert draw_stages(graph, profile, 2, read_cluster("2")).balance.period > best.period
