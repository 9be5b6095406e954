"""Nulls in columns that steps before the model read, filled as `--nulls` says; the model's own inputs fill theirs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from beamsplit.models.binding.nulls import Fill, Nulls, quoted
from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import column_type
from beamsplit.transforms.block import data_columns
from beamsplit.transforms.columns import drop_rows
from beamsplit.transforms.spec import SpecStep, did_you_mean
from beamsplit.transforms.step import Step, StepResult


def fill_nulls(steps: Sequence[Step], schema: pa.Schema, nulls: Nulls) -> tuple[Step, ...]:
    """The steps, of which those that read columns with a value for nulls are given it.

    A user's own function is given the nulls.

    Args:
        steps: of `--prepare`.
        schema: of the blocks that the first one is given.
        nulls: `--nulls`.

    Raises:
        UsageError: a value is not of its column's type, or a step cannot take the schema.
    """
    made: list[Step] = []
    for step in steps:
        fills = _fills(step, schema, nulls) if isinstance(step, SpecStep) else ()
        schema = step.output_schema(schema)
        made.append(FillNulls(step, fills) if fills else step)
    return tuple(made)


def check_nulls(nulls: Nulls, steps: Sequence[Step], inputs: Collection[str], schema: pa.Schema) -> None:
    """Raise for a column of `--nulls` that nothing reads.

    Args:
        nulls: `--nulls`.
        steps: what `fill_nulls` gave.
        inputs: columns that fill the model's inputs.
        schema: of the blocks that reach the model.

    Raises:
        UsageError: there is one.
    """
    read = {*inputs, *(name for step in steps if isinstance(step, FillNulls) for name, _ in step.fills)}
    for name, given in nulls.columns.items():
        if name in read or given.error:
            continue
        known = data_columns(schema)
        why = "feeds no input of the model: what is kept is never filled" if name in known else "is not in the data"
        raise UsageError(
            f"--nulls {quoted(name)}={given}: the column {name!r} {why}{did_you_mean(name, read)}; name one of those "
            f"that feed the model: {', '.join(sorted(read))}"
        )


def _fills(step: SpecStep, schema: pa.Schema, nulls: Nulls) -> tuple[tuple[str, Fill], ...]:
    fills = []
    for name in step.reads(schema):
        if name not in schema.names or nulls.columns.get(name, nulls.default).error:
            continue
        kind = column_type(schema.field(name).type)
        if kind is None:
            raise UsageError(
                f"--nulls: the column {name!r} that {step.NAME} reads is {schema.field(name).type}, of which no value "
                f"can be typed; add {quoted(name)}=error, which lets rows with a null fail"
            )
        value = nulls.fill(name, kind.dtype, f"the step {step.NAME}")
        assert value is not None
        fills.append((name, value))
    return tuple(fills)


@dataclass(frozen=True)
class FillNulls:
    """A step that is given columns without nulls; a column that it keeps comes out as it was."""

    step: Step
    fills: tuple[tuple[str, Fill], ...]
    """Columns and what stands for a null in each."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """That of the step."""
        return self.step.output_schema(schema)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Fill the columns and apply the step."""
        columns = list(block.columns)
        changed = []
        for name, value in self.fills:
            at = block.schema.get_field_index(name)
            full = filled(columns[at], value)
            if full is not columns[at]:
                columns[at] = full
                changed.append(name)
        if not changed:
            return self.step(block)
        result = self.step(pa.RecordBatch.from_arrays(columns, schema=block.schema))
        if not getattr(self.step, "keep", False):
            return result
        kept = drop_rows(block, [failure.row for failure in result.failures])
        columns = [
            kept.column(name) if name in changed and field.type == block.schema.field(name).type else column
            for name, field, column in zip(
                result.block.schema.names, result.block.schema, result.block.columns, strict=True
            )
        ]
        whole = pa.RecordBatch.from_arrays(columns, schema=result.block.schema)
        return StepResult(whole, result.failures, result.parts)


def filled(column: pa.Array, value: Fill) -> pa.Array:
    """The column with a value for every single value that is null; the same one where there is none.

    A list that is null stays so.
    """
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        storage = column.storage
        inner = filled(storage, value)
        return column if inner is storage else pa.ExtensionArray.from_storage(kind, inner)
    if pa.types.is_dictionary(kind):
        plain = column.dictionary_decode()
        return filled(plain, value).dictionary_encode().cast(kind) if plain.null_count else column
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        items = column.values
        inner = filled(items, value)
        if inner is items:
            return column
        own = column.buffers()[: 1 if pa.types.is_fixed_size_list(kind) else 2]
        return pa.Array.from_buffers(kind, len(column), own, offset=column.offset, children=[inner])
    if not column.null_count:
        return column
    return column.fill_null(pa.scalar(value).cast(kind))
