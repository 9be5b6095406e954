from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from beamsplit.models.cost.cluster import read_cluster, worker_counts
from beamsplit.models.cost.profile import Profile
from beamsplit.models.errors import UsageError
from beamsplit.models.split.frontier import fastest, find_frontier, leanest, with_plan
from beamsplit.models.split.plan import FrontierPoint, Plan, StagePlan
from tests import onnx_models
from tests.models.split.cutting import graph_of


def points():
    return (
        FrontierPoint(1, 1, "whole", 10.0, 60.0),
        FrontierPoint(2, 1, "2 replicas", 20.0, 60.0),
        FrontierPoint(2, 2, "2 stages", 20.0, 30.0),
        FrontierPoint(3, 1, "3 replicas", 19.0, 60.0),
        FrontierPoint(3, 2, "2 stages on 3", 18.0, 30.0),
        FrontierPoint(3, 3, "3 stages", 18.5, 40.0),
    )


def test_the_fastest_of_each_number_never_loses_by_one_worker_more():
    assert [one.name for one in fastest(points())] == ["whole", "2 replicas", "2 replicas"]
    assert fastest(()) == ()


def test_the_leanest_of_the_most_workers():
    assert [one.name for one in leanest(points())] == ["2 stages on 3", "3 stages", "3 replicas"]
    nearly = (*points(), FrontierPoint(3, 4, "4 stages", 18.9, 59.9))
    assert [one.name for one in leanest(nearly)] == ["2 stages on 3", "3 stages", "3 replicas"]
    assert leanest(()) == ()


@pytest.mark.parametrize(("stages", "period"), [(3, 0.01), (3, 1.0), (5, 0.01)])
def test_the_frontier_is_never_below_the_plan(stages, period):
    plan = Plan("m", "", 1, tuple(StagePlan(at, (), (), ()) for at in range(stages)), (), period=period)
    found = with_plan(points(), plan, 3)
    assert fastest(found)[-1].rows_per_second == max(20.0, plan.rows_per_second)
    assert [one for one in found if one.name != plan.name] == [one for one in points() if one.name != plan.name]
    assert len([one for one in found if one.name == plan.name]) == 1


def test_ways_are_predicted_from_one_profile(tmp_path: Path):
    graph = graph_of(onnx_models.mlp(), tmp_path)
    names = [str(node.name) for node in graph.model.graph]
    tensors = [*graph.inputs, *(made for part in graph.parts.values() for made in part.makes)]
    profile = Profile(4, dict.fromkeys(names, 1.0), dict.fromkeys(tensors, 8.0), float(len(names)))
    found = find_frontier(graph, profile, read_cluster("3"), (1, 2, 3))
    assert {(one.workers, one.stages) for one in found} == {(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)}
    whole = 4 / len(names)
    assert [one.rows_per_second for one in found if one.stages == 1] == pytest.approx([whole, 2 * whole, 3 * whole])
    again = find_frontier(graph, profile, read_cluster("3"), (1, 2, 3), 2.0 * len(names))
    assert [one.rows_per_second for one in again] == pytest.approx([one.rows_per_second / 2 for one in found])
    none = [replace(one, memory_bytes=1.0) for one in read_cluster("3")]
    assert find_frontier(graph, profile, none, (1, 2, 3)) == ()


def test_ranges():
    assert worker_counts("2..4") == (2, 3, 4)
    assert worker_counts(" 1 .. 1 ") == (1,)
    assert worker_counts("4") is worker_counts("cluster.json") is worker_counts("1...4") is None
    for text in ("0..3", "3..2", "1..1000"):
        with pytest.raises(UsageError, match=r"from 1 up to at most 64 is wanted: e.g. --workers 1..16"):
            worker_counts(text)
