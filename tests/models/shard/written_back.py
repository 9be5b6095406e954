"""Annotations that are written into a model and followed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.shard.annotate import save_annotated
from beamsplit.models.shard.plan import ShardPlan
from beamsplit.models.shard.planner import make_division
from tests.models.shard.annotated import Feeds, followed_file


def comes_back(path: str, make: Callable[[int], Feeds], shards: int, folder: Path, *rows: int) -> ShardPlan:
    """Annotate a division, read it, and divide by what was read: the same stages and joins."""
    model = ModelFile(path)
    planned = make_division(model, make(rows[0]), shards)
    annotated = str(folder / "annotated.onnx")
    save_annotated(load_graph(model), planned.sharding, annotated)
    plan = followed_file(annotated, make, folder / "shards", *rows)
    assert plan.steps == planned.plan.steps
    assert plan.joins == planned.plan.joins and plan.layers == planned.plan.layers
    assert plan.configuration == "beamsplit" and plan.devices == tuple(f"shard-{k}" for k in range(shards))
    return plan
