from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.models.split.coarse import INPUTS, OUTPUTS
from tests.models.split.plans import residual_plan


@given(stages=st.integers(1, 9), blocks=st.integers(2, 12))
def test_every_node_is_in_one_box_and_every_crossing_tensor_on_an_edge(stages: int, blocks: int):
    plan, graph = residual_plan(stages, blocks)
    for stage in plan.stages:
        boxes = [box for box in graph.boxes if box.stage == stage.index]
        assert tuple(name for box in boxes for name in box.nodes) == stage.nodes
        assert 1 <= len(boxes) <= 5
    between = {
        tensor
        for edge in graph.edges
        if edge.source >= 0 and edge.target >= 0 and graph.boxes[edge.source].stage != graph.boxes[edge.target].stage
        for tensor in edge.tensors
    }
    read = {name for stage in plan.stages[1:] for name in stage.inputs} - {"image"}
    assert between == read
    assert all(edge.target == OUTPUTS or edge.source < edge.target for edge in graph.edges)


def test_operators_and_weights_are_counted():
    _, graph = residual_plan(1, 5)
    assert [box.operators for box in graph.boxes] == [(("Conv", 2), ("Mul", 2), ("Relu", 2), ("Add", 1))] * 5
    assert [box.weight_bytes for box in graph.boxes] == [500_000] * 5
    assert [(edge.source, edge.target) for edge in graph.edges] == [
        (INPUTS, 0),
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (4, OUTPUTS),
    ]


def test_cut_where_few_tensors_cross():
    # 12 blocks in 5 boxes: every box begins with a whole block, where one tensor crosses and not two.
    _, graph = residual_plan(1, 12)
    assert all(box.nodes[0].endswith("Conv_0") for box in graph.boxes)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_boxes_than_asked_for(most: int):
    from beamsplit.models.split.coarse import coarsen
    from tests.models.split.plans import residual_nodes

    plan, _ = residual_plan(1, 4)
    nodes = residual_nodes(4)
    assert len(coarsen(plan, nodes, {}, ["image"], ["t3.6"], most).boxes) == most
