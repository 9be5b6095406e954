"""Models in stages beside the whole, and blocks of rows for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa

from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.split.staged import StagedSession, boundary_layouts
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin
from beamsplit.transforms.infer.model_steps import ModelSteps, StepContext, stage_steps
from beamsplit.transforms.infer.step import InferStep
from tests.models.split import chains


def split(
    model: tuple[onnx.ModelProto, list[int]], folder: Path, sample: pa.RecordBatch, micro_batch: int = 4
) -> tuple[ModelSteps, InferStep]:
    """(a step a stage, the whole model as one step)."""
    staged = chains.staged(*model, folder)
    made: Fit = fit(
        str(folder / "model.onnx"), chains.CPU, sample.schema, sample, DataFacts(ignore={*INTERNAL_COLUMNS, "id"})
    )
    plan = replace(made.plan, batch_size=micro_batch)
    bound = plan.binding.open(made.sample, reuse=False)
    layouts = boundary_layouts(
        StagedSession(staged).sessions,
        staged.outputs,
        lambda rows: bound.take(rows % made.sample.num_rows),
        fixed=all(None not in one.row_shape for one in plan.binding.inputs),
    )
    return stage_steps(staged, layouts, StepContext(plan, sample.schema, ("id",))), InferStep(
        plan, chains.CPU, keep=("id",)
    )


def block(x: np.ndarray, name: str = "x") -> pa.RecordBatch:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(x) if x.ndim > 1 else pa.array(x)
    rows = with_origin(pa.record_batch({name: column, "id": [f"row {k}" for k in range(len(x))]}), "a.parquet", 10)
    return rows
