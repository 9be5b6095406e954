"""Models over shards beside the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.shard.crossing import shard_layouts
from beamsplit.models.shard.planner import divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.transforms.block import INTERNAL_COLUMNS
from beamsplit.transforms.infer.model_steps import ModelSteps, StepContext, shard_steps
from beamsplit.transforms.infer.step import InferStep
from tests import onnx_models

CPU = SessionOptions(threads=1)


def divided(
    model: onnx.ModelProto, folder: Path, sample: pa.RecordBatch, shards: int = 2, micro_batch: int = 4
) -> tuple[ModelSteps, InferStep]:
    """(the steps of the divided model, the whole model as one step)."""
    path = onnx_models.save(model, folder / "model.onnx")
    made = fit(path, CPU, sample.schema, sample, DataFacts(ignore={*INTERNAL_COLUMNS, "id"}))
    plan = replace(made.plan, batch_size=micro_batch)
    bound = plan.binding.open(made.sample, reuse=False)
    division = divide(ModelFile(path), bound.take(np.arange(3)), shards, str(folder / "shards"), least_bytes=1)
    sharded = ShardedModel(division, str(folder / "shards"), (CPU,) * shards, CPU, made.session.signature)
    layouts = shard_layouts(
        ShardedSession(sharded), lambda rows: bound.take(rows % made.sample.num_rows), fixed=True, unlike=True
    )
    return shard_steps(sharded, layouts, StepContext(plan, sample.schema, ("id",))), InferStep(plan, CPU, keep=("id",))
