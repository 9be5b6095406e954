from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.errors import UsageError
from beamsplit.models.planning_budget import PlanningBudget
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.split.alternatives import core_count
from beamsplit.models.split.balance import Problem, Value, Weight
from beamsplit.models.strategy.candidate import Candidate, Pod, candidates
from beamsplit.models.strategy.choose import PROCESS_BYTES, LeftOut, choose
from beamsplit.models.strategy.local_timings import LocalTimings
from beamsplit.models.strategy.planner import Limits, from_json, plan_strategy, to_json
from beamsplit.models.strategy.teams import APART, Links, alike, shard_counts, teams_of
from beamsplit.models.strategy.width import UnitParts, Width, make_widths
from tests import onnx_models
from tests.models.split.cutting import file_of, graph_of

WIDTH = 256
LAYERS = 4


def mlp():
    """x -> 4 x (Gemm -> Relu): pairs of layers divide by columns and rows."""
    from onnx import TensorProto, helper

    rng = np.random.default_rng(0)
    nodes, weights = [], {}
    for i in range(LAYERS):
        weights[f"w{i}"] = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 16
        made = "y" if i == LAYERS - 1 else f"r{i}"
        nodes.append(helper.make_node("MatMul", ["x" if i == 0 else f"r{i - 1}", f"w{i}"], [f"h{i}"], name=f"l{i}"))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [made], name=f"a{i}"))
    end = [("y", TensorProto.FLOAT, ["n", WIDTH])]
    return onnx_models.build(nodes, [("x", TensorProto.FLOAT, ["n", WIDTH])], end, weights)


FEEDS = {"x": np.ones((4, WIDTH), np.float32)}
LAYER_BYTES = WIDTH * WIDTH * 4


@pytest.fixture
def widths(tmp_path: Path) -> list[Width]:
    """Whole, and over 2 and 4 shards; a layer takes a second, an activation none."""
    graph = graph_of(mlp(), tmp_path)
    seconds = {f"l{i}": 1.0 for i in range(LAYERS)} | {f"a{i}": 0.0 for i in range(LAYERS)}
    sizes = dict.fromkeys(["x", "y", *(f"{kind}{i}" for kind in "hr" for i in range(LAYERS))], 4096.0)
    profile = Profile(4, seconds, sizes, float(LAYERS))
    found, notes = make_widths(file_of(mlp(), tmp_path), FEEDS, graph, profile, (2, 4))
    assert not notes and [one.shards for one in found] == [1, 2, 4]
    return found


def workers(count: int, **given: float) -> list[ClusterWorker]:
    return [ClusterWorker(f"w{i}", **given) for i in range(count)]


def of(every: list[Candidate], stages: int, shards: int) -> Candidate:
    return next(one for one in every if (one.stages, one.shards) == (stages, shards))


def test_a_shard_has_its_share_of_seconds_and_weights(widths: list[Width]):
    for width in widths:
        assert sum(width.profile.node_seconds.values()) == pytest.approx(LAYERS / width.shards)
        assert sum(width.graph.weight_bytes.values()) == pytest.approx(LAYERS * LAYER_BYTES / width.shards)
    # Two pairs of columns and rows: what the first layer of each reads goes out, and the terms of a sum come in.
    assert sum(widths[1].exchanged.nbytes.values()) == 2 * (4096 + 4096)


def test_all_ways_with_four_workers(widths: list[Width]):
    every = candidates(widths, workers(4), 4, 8)
    assert [(one.stages, one.shards) for one in every] == [(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (1, 4)]
    rates = {(one.stages, one.shards): one.rows_per_second for one in every}
    # Without links to wait for all but three stages (one with two layers) keep all workers busy.
    for way in ((1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (1, 4)):
        assert rates[way] == pytest.approx(4.0, rel=1e-3), way
    assert of(every, 2, 2).name == "2 stages x 2 shards" and of(every, 1, 2).name == "2 pods of 2 shards"
    assert of(every, 1, 1).name == "4 replicas of the whole model"


def test_workers_that_are_all_unlike_are_too_many_to_pair_and_need_no_memory_for_it(widths: list[Width]):
    unlike = [ClusterWorker(f"w{i}", speed=1.0 + i) for i in range(9)]
    one, two = candidates(widths[:1], unlike, 4, 2)
    assert one.fits and one.workers == 9
    assert not two.fits and (two.needs_bytes, two.rows_per_second, two.workers, two.pods) == (0.0, 0.0, 0, ())


def test_as_fast_is_decided_for_the_simplest(widths: list[Width]):
    strategy = choose(widths, workers(4))
    assert strategy.chosen.kind == "replicas" and strategy.gap == pytest.approx(0.0, abs=1e-9)
    assert "as fast as, and simpler than," in strategy.verdict


@pytest.mark.parametrize(
    ("layers", "ways", "chosen"),
    [
        (4.5, {(1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (1, 4)}, (1, 1)),
        (2.5, {(2, 1), (3, 1), (4, 1), (1, 2), (2, 2), (1, 4)}, (2, 1)),
        (1.5, {(4, 1), (2, 2), (1, 4)}, (4, 1)),
    ],
)
def test_memory_decides(widths: list[Width], layers: float, ways: set[tuple[int, int]], chosen: tuple[int, int]):
    strategy = choose(widths, workers(4, memory_bytes=layers * LAYER_BYTES, bandwidth=1e6))
    assert {(one.stages, one.shards) for one in strategy.candidates if one.fits} == ways
    assert (strategy.chosen.stages, strategy.chosen.shards) == chosen
    assert strategy.chosen.worker_bytes <= layers * LAYER_BYTES
    assert ("no worker holds the whole model" in strategy.verdict) == (layers < 4)


def test_slow_links_are_for_stages_rather_than_shards(widths: list[Width]):
    every = candidates(widths, workers(2, bandwidth=1e4), 4, 8)
    assert of(every, 2, 1).rows_per_second > of(every, 1, 2).rows_per_second
    assert of(every, 1, 1).rows_per_second > of(every, 2, 1).rows_per_second


def test_where_nothing_fits_the_least_memory_is_told(widths: list[Width]):
    with pytest.raises(UsageError, match=r"the least is .* in each of 4 workers \(4 stages\)|\(.*4 shards\)") as told:
        choose(widths, workers(4, memory_bytes=0.5 * LAYER_BYTES))
    assert "--stage_memory" in str(told.value)
    need = min(one.needs_bytes for one in candidates(widths, workers(4, memory_bytes=1.0), 4, 8) if one.needs_bytes)
    assert choose(widths, workers(4, memory_bytes=need)).chosen.worker_bytes <= need


@pytest.mark.parametrize("kind", ["replicas", "stages", "shards"])
def test_one_kind_may_be_asked_for(widths: list[Width], kind: str):
    strategy = choose(widths, workers(4), kind=kind)
    assert kind in strategy.chosen.kind and all(kind in one.kind for one in strategy.candidates)


def test_what_the_choice_is_compared_with(widths: list[Width]):
    only = choose(widths, workers(2), kind="shards")
    assert len(only.candidates) == 1 and only.verdict.endswith("; there is no other way.")


def test_unlike_workers(widths: list[Width]):
    mixed = [ClusterWorker("fast", speed=3.0), *workers(2)]
    every = candidates(widths, mixed, 4, 8)
    # 3 + 1 + 1 times a row a second.
    assert of(every, 1, 1).rows_per_second == pytest.approx(5.0)
    # Three layers on the fast one, the fourth on one other; the last worker would change nothing.
    assert of(every, 2, 1).rows_per_second == pytest.approx(4.0)
    assert of(every, 2, 1).name == "2 stages"
    # The team of the fast worker and one other is as good as that one.
    assert of(every, 1, 2).rows_per_second == pytest.approx(2.0, rel=1e-3)
    assert of(every, 1, 2).workers == 2


def test_a_thousand_workers(widths: list[Width]):
    strategy = choose(widths, workers(1000, memory_bytes=2.5 * LAYER_BYTES))
    assert strategy.chosen.rows_per_second == pytest.approx(1000, rel=0.01) and strategy.chosen.workers == 1000


def test_what_was_measured_decides(widths: list[Width]):
    def measure(found: Sequence[Candidate]) -> list[float | None]:
        return [{"replicas": 1.0, "stages": 9.0, "shards": 2.0}.get(one.kind) for one in found]

    strategy = choose(widths, workers(2), measure=measure)
    assert strategy.chosen.kind == "stages" and strategy.chosen.measured == 9.0
    assert "9 rows/s measured" in strategy.verdict


def test_what_failed_is_left_out(widths: list[Width]):
    def measure(found: Sequence[Candidate]) -> list[float | LeftOut | None]:
        by_kind = {"replicas": 1.0, "stages": LeftOut("they give other numbers"), "shards": 0.5}
        return [by_kind.get(one.kind) for one in found]

    strategy = choose(widths, workers(2), measure=measure)
    assert strategy.chosen.kind == "replicas"
    assert not [one for one in strategy.candidates if one.kind == "stages"]
    assert strategy.notes == ("2 stages left out: they give other numbers",)


def test_teams():
    assert shard_counts(1) == () and shard_counts(5) == (2, 4, 5) and max(shard_counts(1000)) == 16
    mixed = [ClusterWorker("a"), ClusterWorker("b", speed=2.0, memory_bytes=9.0), ClusterWorker("c", memory_bytes=4.0)]
    (team,) = teams_of(mixed, 2)
    assert (team.name, team.speed, team.memory_bytes) == ("b+a", 1.0, 9.0)
    assert [[one.name for one in group] for group in alike(mixed)] == [["b"], ["a"], ["c"]]
    assert math.isinf(alike(mixed)[1][0].memory_bytes)


def test_planned_from_a_model_and_kept_as_json(tmp_path: Path):
    file, graph = file_of(mlp(), tmp_path), graph_of(mlp(), tmp_path)
    strategy = plan_strategy(SampleRun(file, FEEDS, SessionOptions(threads=1), 4, None), graph, workers(2))
    assert [(one.stages, one.shards) for one in sorted(strategy.candidates, key=lambda one: one.shards)][-1] == (1, 2)
    assert all((one.measured is not None) == (core_count() >= 2) for one in strategy.candidates)
    again = from_json(to_json(strategy))
    assert again == strategy and isinstance(again.chosen.pods[0], Pod)
    with pytest.raises(UsageError, match="--strategy auto"):
        from_json("{}")
    one = dataclasses.replace(strategy, bound=math.inf)
    assert from_json(to_json(one)).bound == 0.0


@pytest.mark.parametrize(
    ("limits", "timed", "note"),
    [
        (
            Limits(planning=PlanningBudget(0.0), row_seconds=0.25),
            False,
            "the ways are predicted: to run them takes longer",
        ),
        (Limits(planning=PlanningBudget(0.4)), True, "s for timing each way, in place of 1.5 s (--plan_seconds 60"),
    ],
)
def test_a_budget_bounds_what_is_timed(tmp_path: Path, limits: Limits, timed: bool, note: str):
    file, graph = file_of(mlp(), tmp_path), graph_of(mlp(), tmp_path)
    run = SampleRun(file, FEEDS, SessionOptions(threads=1), 4, None)
    found = plan_strategy(run, graph, workers(1), limits=limits)
    assert all((one.measured is not None) is timed for one in found.candidates)
    assert [said for said in found.notes if note in said]
    if not timed:
        # The seconds of the whole model are those that it was seen to take.
        assert found.chosen.rows_per_second == pytest.approx(1 / 0.25, rel=0.01)


def test_what_stays_whole_is_the_leaders_or_all_cores(widths: list[Width]):
    two = dataclasses.replace(widths[1], on_shards=frozenset(["l0", "l1"]))
    # 1 s on the shards and 1 s that stays whole: one after the other, or of two blocks side by side.
    (alone,) = candidates([two], workers(2), 4, 1)
    (apart,) = candidates([two], workers(2), 4, 1, APART)
    assert alone.rows_per_second == pytest.approx(4 / 2, rel=1e-3)
    # The leader runs its own shard too.
    assert apart.rows_per_second == pytest.approx(4 / 2, rel=1e-3)
    (threads,) = candidates([two], workers(2), 4, 1, Links(thread_gain=1.0))
    assert threads.rows_per_second == pytest.approx(4 / 1.5, rel=1e-3)


def test_a_model_that_is_not_run_is_divided_by_inferred_shapes(tmp_path: Path):
    graph = graph_of(mlp(), tmp_path)
    profile = Profile(4, {f"l{i}": 1.0 for i in range(LAYERS)}, {}, float(LAYERS), "estimate")
    found, _ = make_widths(file_of(mlp(), tmp_path), {"x": np.ones((4, WIDTH), np.float32)}, graph, profile, (2,))
    assert sum(found[1].graph.weight_bytes.values()) == LAYERS * LAYER_BYTES // 2


def test_the_process_takes_its_part_of_a_machines_memory(tmp_path: Path):
    file, graph = file_of(mlp(), tmp_path), graph_of(mlp(), tmp_path)

    def held(memory: float, stage_memory: float | None) -> float:
        far = [ClusterWorker(f"w{i}", memory_bytes=memory, local=False) for i in range(4)]
        run = SampleRun(file, FEEDS, SessionOptions(threads=1), 4, None)
        made = plan_strategy(run, graph, far, limits=Limits(stage_memory))
        return made.chosen.worker_bytes

    assert held(PROCESS_BYTES + 10 * LAYER_BYTES, None) >= LAYERS * LAYER_BYTES
    assert held(PROCESS_BYTES + 2.5 * LAYER_BYTES, None) <= 2.5 * LAYER_BYTES
    assert held(math.inf, 1.5 * LAYER_BYTES) <= 1.5 * LAYER_BYTES
    said = r"fits workers of 0 bytes beside the 140 MB of their process: the least is .* MB with the process itself"
    with pytest.raises(UsageError, match=said):
        held(PROCESS_BYTES / 2, None)


def test_more_stages_are_tried_where_few_do_not_fit():
    units = 12
    problem = Problem((1.0,) * units, tuple(Value(1.0, at - 1, (at,)) for at in range(units)),
                      tuple(Weight(10.0, (at,)) for at in range(units)))  # fmt: skip

    class Chain(Width):
        def problem(self, bandwidth: float, links: Links) -> Problem:
            return problem

    chain = Chain(1, None, Profile(4, {}, {}, 12.0), {})  # type: ignore[arg-type]
    chain.__dict__["unit_parts"] = UnitParts(problem.seconds, (0.0,) * units, (0.0,) * units, (0.0,) * units)
    few = candidates([chain], workers(20, memory_bytes=25.0), 4, units)
    assert [one.stages for one in few] == list(range(1, 9)) and few[-1].fits
    many = candidates([chain], workers(20, memory_bytes=15.0), 4, units)
    assert [one.stages for one in many if one.fits] == [12]


def test_this_machines_cores_are_predicted_as_they_are_together():
    here = LocalTimings(cores=4, alone=1.0, together=1.5, threaded=0.4)
    profile = here.profile(Profile(8, {"a": 0.2, "b": 0.6}, {}, 0.8))
    assert profile.node_seconds == {"a": pytest.approx(0.375), "b": pytest.approx(1.125)}
    assert profile.total_seconds == 1.5
    # Four threads are 2.5 times as fast as one: each further one adds half of it.
    assert here.links.speedup(4) == pytest.approx(2.5)
    assert LocalTimings(1, 1.0, 1.0, 1.0).links == Links()
    assert LocalTimings(2, 1.0, 1.0, 1.4).links.thread_gain == 0.0
