"""Inputs without rows: the outputs are empty, whatever way the model was to run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature
from beamsplit.transforms.block import with_origin_schema
from beamsplit.transforms.kafka.schema import message_schema, wanted_fields
from beamsplit.transforms.read import InputFile, format_of, has_rows
from beamsplit.transforms.spec import SpecStep
from beamsplit.transforms.step import Step


def leave_undivided(options: argparse.Namespace, files: Sequence[InputFile]) -> tuple[str, ...]:
    """Run the model whole where there is no row to plan or to check a split with; a line that says so.

    Args:
        options: of the job; changed.
        files: of the input.
    """
    ways = ("stages", "shards", "strategy", "plan")
    asked = [name for name in ways if getattr(options, name) is not None]
    if not (asked or options.shard_source) or has_rows(files, format_of(files, options.input_format)):
        return ()
    for name in (*ways, "shard_source", "replan"):
        setattr(options, name, None)
    if isinstance(options.workers, str):
        options.workers = None
    return ("the input has no rows: the model is not divided, and the outputs are empty",)


def columns_of_nothing(options: argparse.Namespace, steps: Sequence[Step], signature: Signature) -> pa.Schema:
    """The columns that JSON Lines without a row would have: what the model and the steps take.

    Args:
        options: `columns`, `set` and `keep` as the user gave them.
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
    wanted = message_schema("json", wanted_fields(signature, options.columns, options.set))
    first += [field for field in wanted if field.name not in schema.names]
    named = {field.name for field in first} | made
    return pa.schema([*first, *(pa.field(name, pa.string()) for name in options.keep if name not in named)])


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
