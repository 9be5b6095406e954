"""What is done behind a model, wherever its rows come from: new models taken over, outputs finished, versions told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from beamsplit.models.fitting.replacement import CHECK_ROWS
from beamsplit.models.values.packed_rows import pack_rows
from beamsplit.pipelines.job.finishing import finish_steps
from beamsplit.pipelines.job.golden import golden_rows
from beamsplit.pipelines.job.versions import updating_step, version_steps
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.infer.live_model import ModelUpdates
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.step import Step


@dataclass(frozen=True)
class ModelAndFinish:
    """The model's step and those behind it."""

    model: Step
    """`infer`, or what takes over new models."""

    finish: tuple[Step, ...]
    """Of `--finish`, and the column with the model's version where that is the same for all rows."""

    schema: pa.Schema
    """Of what comes out."""


def around_model(infer: InferStep, options: ScoreOptions, bound: Bound) -> ModelAndFinish:
    """The step of a model and those behind it.

    Raises:
        UsageError: a step cannot work on what the model gives.
    """
    binding, updates, fit = options.binding, options.stream.model_updates, bound.fit
    model: Step = infer
    if updates:
        first = replace(infer, source=binding.model)
        new = ModelUpdates(updates, pack_rows(fit.sample, CHECK_ROWS), golden_rows(options.stream, bound))
        model = updating_step(new, binding.model_version, first, bound.prepared)
    after = model.output_schema(bound.prepared)
    finish = finish_steps(binding, after, fit)
    if not updates:
        finish += version_steps(binding.model_version, fit.plan.model.path, chain_schema(finish, after))
    return ModelAndFinish(model, finish, chain_schema(finish, after))
