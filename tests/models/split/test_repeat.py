from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.profile import Profile
from beamsplit.models.running.session import get_session
from beamsplit.models.split.chain import check_chain
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.planner import draw_stages
from beamsplit.models.split.problem import unit_seconds
from beamsplit.models.split.repeat import cheap_to_repeat, repeat_where_cheaper
from tests import onnx_models
from tests.models.split.cutting import ONE_THREAD, chain_of, file_of, graph_of

FLOAT = TensorProto.FLOAT
WIDE = 64


def widened():
    """x -> a -> tile -> neg -> (b, e): what crosses is `a`, a 64th, where later stages tile it again; e reads b too."""
    rng = np.random.default_rng(0)
    weights = {
        "wa": rng.standard_normal((4, 4)).astype(np.float32),
        "wb": rng.standard_normal((4 * WIDE, 4)).astype(np.float32),
        "wc": rng.standard_normal((4, 4 * WIDE)).astype(np.float32),
        "wd": rng.standard_normal((4 * WIDE, 4)).astype(np.float32),
        "times": np.array([1, WIDE], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "wa"], ["a"], name="a"),
        helper.make_node("Tile", ["a", "times"], ["t"], name="tile"),
        helper.make_node("Neg", ["t"], ["m"], name="neg"),
        helper.make_node("MatMul", ["m", "wb"], ["b"], name="b"),
        helper.make_node("MatMul", ["b", "wc"], ["c"], name="c"),
        helper.make_node("Add", ["c", "m"], ["d"], name="d"),
        helper.make_node("MatMul", ["d", "wd"], ["y"], name="e"),
    ]
    return onnx_models.build(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], weights)


def profile_of(graph: SplitGraph, seconds: dict[str, float]) -> Profile:
    sizes = {"x": 16.0, "a": 16.0, "t": 1024.0, "m": 1024.0, "b": 16.0, "c": 1024.0, "d": 1024.0, "y": 16.0}
    found = {str(node.name): seconds.get(str(node.name), 1e-9) for node in graph.model.graph}
    return Profile(1, found, sizes, sum(found.values()))


def test_a_chain_of_light_nodes_is_computed_again_instead_of_sent(tmp_path: Path):
    graph = graph_of(widened(), tmp_path)
    profile = profile_of(graph, {"a": 1.0})
    assert cheap_to_repeat(graph, profile, bandwidth=1e6) == {"tile", "neg"}


@pytest.mark.parametrize("seconds", [{"tile": 0.002}, {"neg": 0.002}, {"a": 0.0, "tile": 0.0011}])
def test_not_where_it_takes_longer_than_sending(tmp_path: Path, seconds: dict[str, float]):
    graph = graph_of(widened(), tmp_path)
    assert cheap_to_repeat(graph, profile_of(graph, {"a": 1.0} | seconds), bandwidth=1e6) == frozenset()


def test_what_is_sent_as_far_anyway_costs_nothing(tmp_path: Path):
    """relu(x) of an x that is read after it: x alone crosses."""
    weights = {name: np.eye(4, dtype=np.float32) for name in ("w0", "w1")}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"], name="h"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w1"], ["s"], name="s"),
        helper.make_node("Add", ["s", "r"], ["u"], name="u"),
        helper.make_node("Mul", ["u", "h"], ["y"], name="y"),
    ]
    model = onnx_models.build(nodes, [("x", FLOAT, ["n", 4])], [("y", FLOAT, ["n", 4])], weights)
    graph = graph_of(model, tmp_path)
    sizes = dict.fromkeys(["x", "h", "r", "s", "u", "y"], 64.0)
    found = {str(node.name): 1e-9 for node in graph.model.graph} | {"h": 1.0}
    assert cheap_to_repeat(graph, Profile(1, found, sizes, 1.0), bandwidth=1e6) == {"relu"}


def test_the_period_is_shorter_and_the_chain_equals_the_whole(tmp_path: Path):
    graph = graph_of(widened(), tmp_path)
    profile = profile_of(graph, {"b": 1e-3, "e": 1e-3})
    workers = [ClusterWorker(f"w{i}", bandwidth=1e6) for i in range(2)]

    def period(one: SplitGraph) -> float:
        return draw_stages(one, profile, 2, workers).balance.period

    other = repeat_where_cheaper(graph, profile, workers, period)
    assert other.repeated == {"tile", "neg"} and period(other) < 0.7 * period(graph)
    assert any("computed again" in note for note in other.notes)
    drawn = draw_stages(other, profile, 2, workers)
    assert "neg" in drawn.stages[1].nodes and set(drawn.stages[1].inputs) == {"a", "b"}
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)}
    whole = get_session(file_of(widened(), tmp_path), ONE_THREAD)
    check_chain(whole, chain_of(other, drawn.balance.stage_of, tmp_path / "stages"), feeds)


def test_where_all_share_memory_nothing_is_computed_twice(tmp_path: Path):
    graph = graph_of(widened(), tmp_path)
    profile = profile_of(graph, {"a": 1.0})
    workers = [ClusterWorker(f"w{i}", bandwidth=math.inf) for i in range(2)]
    assert repeat_where_cheaper(graph, profile, workers, lambda one: 1.0) is graph


def test_the_time_of_a_repeated_node_counts_in_every_unit_that_needs_it(tmp_path: Path):
    graph = split_graph(graph_of(widened(), tmp_path).model, {"tile", "neg"})
    profile = profile_of(graph, {"tile": 3.0, "neg": 0.5})
    of = {unit.nodes[0]: seconds for unit, seconds in zip(graph.units, unit_seconds(graph, profile), strict=True)}
    assert of["b"] == pytest.approx(3.5, abs=1e-6) and of["d"] == pytest.approx(3.5, abs=1e-6)
    cheap = dataclasses.replace(graph, repeated=frozenset())
    assert sum(unit_seconds(cheap, profile)) == pytest.approx(3.5, abs=1e-6)
