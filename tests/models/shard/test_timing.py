"""Steps of a divided model are timed one by one, each on what those before it gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions, loaded_models
from beamsplit.models.shard import timing
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.shard.timing import time_in_turn, time_steps
from tests import onnx_models

CPU = SessionOptions(threads=1)
FEEDS = {"x": np.random.default_rng(0).standard_normal((4, 8), np.float32)}


@pytest.fixture
def model(tmp_path: Path) -> ShardedModel:
    """Over three shards, with a whole step behind each sharded one."""
    path = str(tmp_path / "m.onnx")
    onnx.save(onnx_models.mlp(8, 24, 6, layers=4), path)
    plan = divide(ModelFile(path), FEEDS, 3, str(tmp_path / "shards"), 1)
    whole = Session(ModelFile(path), CPU)
    return ShardedModel(plan, str(tmp_path / "shards"), (CPU,) * 3, CPU, whole.signature)


def test_each_part_is_timed_alone_and_a_step_takes_what_its_slowest_shard_does(
    model: ShardedModel, monkeypatch: pytest.MonkeyPatch
):
    budgets: list[float] = []
    shapes: list[int] = []
    kept: list[str] = []

    def time_runs(run, budget: float) -> float:
        budgets.append(budget)
        shapes.append(len(run()))
        kept.extend(path for path in loaded_models() if path.startswith(model.folder))
        return [5.0, 7.0, 6.0][len(budgets) % 3]

    monkeypatch.setattr(timing, "time_runs", time_runs)
    found = time_in_turn(model, FEEDS, 3.0)
    parts = [len(step.files) for step in model.plan.steps]
    assert len(found) == len(parts) and set(parts) == {1, 3} and len(budgets) == sum(parts)
    assert budgets == [pytest.approx(3.0 / sum(parts))] * sum(parts)
    expected, at = [], 0
    for count in parts:
        expected.append(max([5.0, 7.0, 6.0][number % 3] for number in range(at + 1, at + 1 + count)))
        at += count
    assert list(found) == expected
    assert not kept, "the parts of other workers take no memory here"
    # Each has given what its step gives.
    assert shapes == [len(step.outputs) for step in model.plan.steps for _ in step.files]


def test_side_by_side_each_step_has_its_part_of_the_time(model: ShardedModel, monkeypatch: pytest.MonkeyPatch):
    session = ShardedSession(model)
    assert all(seconds > 0 for seconds in time_steps(session, FEEDS, 0.01))
    budgets: list[float] = []
    monkeypatch.setattr(timing, "time_runs", lambda run, budget: budgets.append(budget) or 2.0)
    steps = len(model.plan.steps)
    assert time_steps(session, FEEDS, 3.0) == (2.0,) * steps
    assert budgets == [pytest.approx(3.0 / steps)] * steps
    session.drop()
