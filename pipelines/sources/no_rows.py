"""Inputs without rows: the outputs are empty, whatever way the model was to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature
from beamsplit.pipelines.options.division import Parallelism
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.pipelines.sources.source import Source
from beamsplit.transforms.block import with_origin_schema
from beamsplit.transforms.kafka.schema import message_schema, wanted_fields
from beamsplit.transforms.spec import SpecStep
from beamsplit.transforms.step import Step


def leave_undivided(asked: Parallelism, source: Source) -> tuple[Parallelism, tuple[str, ...]]:
    """(the model run whole where there is no row to plan or to check a split with, a line that says so).

    Args:
        asked: how the model is to be divided.
        source: of the rows.
    """
    ways = ("stages", "shards", "strategy", "plan")
    given = [name for name in ways if getattr(asked, name) is not None]
    if not (given or asked.shard_source) or not source.empty:
        return asked, ()
    # What sizes the runs of a model that is divided says the same of the whole one.
    whole = replace(asked, stages=None, shards=None, strategy=None, cluster=None, plan=None, replan=None)
    return replace(whole, shard_source=None), (
        "the input has no rows: the model is not divided, and the outputs are empty",
    )


def columns_of_nothing(binding: BindingOptions, steps: Sequence[Step], signature: Signature) -> pa.Schema:
    """The columns that JSON Lines without a row would have: what the model and the steps take.

    Args:
        binding: with `columns`, `set` and `keep`.
        steps: of `--prepare`.
        signature: the model's.

    Raises:
        UsageError: a step's columns cannot be told.
    """
    made: set[str] = set()
    schema = with_origin_schema(pa.schema([]))
    first: list[pa.Field] = []
    for step in steps:
        if not isinstance(step, SpecStep):
            raise UsageError("a function of --prepare may read any column")
        column = getattr(step, "column", None) or ()
        fitting = _fitting(step, schema, (column,) if isinstance(column, str) else column)
        first += fitting
        schema = pa.schema([*schema, *fitting])
        before = set(schema.names)
        schema = step.output_schema(schema)
        made |= set(schema.names) - before
    wanted = message_schema("json", wanted_fields(signature, binding.columns, binding.set))
    first += [field for field in wanted if field.name not in schema.names]
    named = {field.name for field in first} | made
    return pa.schema([*first, *(pa.field(name, pa.string()) for name in binding.keep if name not in named)])


def _fitting(step: Any, schema: pa.Schema, names: Sequence[str]) -> list[pa.Field]:
    """Those of the step's columns that the schema lacks, of a type that the step takes."""
    missing = [name for name in names if name not in schema.names]
    for kind in (pa.string(), pa.binary(), pa.float32(), pa.int64(), pa.list_(pa.float32())):
        fields = [pa.field(name, kind) for name in missing]
        try:
            step.output_schema(pa.schema([*schema, *fields]))
        except UsageError:
            continue
        return fields
    raise UsageError(f"what {step.NAME} wants for columns cannot be told")
