"""`--model_check`: rows of a file as the model gets them, on which new models are compared with the one in use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.model_check import ModelCheck
from beamsplit.models.fitting.tolerance import Tolerance, is_of_floats
from beamsplit.models.scoring.scorer import Scorer, ScoringPlan
from beamsplit.models.values.packed_rows import pack_rows
from beamsplit.pipelines.job.columns import needed_columns
from beamsplit.pipelines.options.values import StreamOptions
from beamsplit.pipelines.sources.bound import Bound
from beamsplit.transforms.block import with_origin
from beamsplit.transforms.read import ReadOptions, find_files, format_of, infer_schema, read_all, split_file
from beamsplit.transforms.read.cast import CannotCast, cast_exactly
from beamsplit.transforms.step import Step

MOST_ROWS, MOST_BYTES = 10_000, 4 << 20
"""Of the rows: they go to every worker, and two models score them whenever a new one comes."""


def golden_rows(stream: StreamOptions, bound: Bound) -> ModelCheck | None:
    """The rows of `--model_check`, with what may differ; None where none are given.

    Raises:
        UsageError: they cannot be read or prepared, the model does not take one, or an output has no such tolerance.
    """
    path, tolerance = stream.model_check, stream.model_check_tolerance
    if path is None or tolerance is None:
        return None
    _check_outputs(tolerance, bound.fit.plan)
    plan = bound.fit.plan
    needed = needed_columns(bound.schema, bound.prepare, plan.binding.columns)
    rows = _prepared(path, _read(path, pa.schema([bound.schema.field(name) for name in needed])), bound.prepare)
    rows = rows.select(list(dict.fromkeys(plan.binding.columns)))
    if rows.nbytes > MOST_BYTES:
        raise UsageError(
            f"--model_check {path} has {rows.nbytes / 1e6:.1f} MB of rows as the model gets them, and "
            f"{MOST_BYTES >> 20} MiB may be; keep about {max(1, MOST_BYTES * rows.num_rows // rows.nbytes):,} rows"
        )
    scored = Scorer(plan, bound.fit.session).score(rows)
    if scored.failures:
        row, reason = scored.failures[0]
        raise UsageError(
            f"--model_check {path}: --model cannot score {len(scored.failures)} of {rows.num_rows:,} rows, the first "
            f"{row}: {reason}; leave them out of the file"
        )
    packed = pack_rows(rows, rows.num_rows, MOST_BYTES)
    assert packed is not None
    return ModelCheck(path, packed, tolerance)


def _check_outputs(tolerance: Tolerance, plan: ScoringPlan) -> None:
    outputs = {column.field.name: column.field for column in plan.outputs}
    for name, amount in tolerance.outputs:
        if name not in outputs:
            raise UsageError(
                f"--model_check_tolerance names the output {name!r}, and the model has {', '.join(outputs)}; name one"
            )
        if not amount.share and not is_of_floats(outputs[name].type):
            raise UsageError(
                f"--model_check_tolerance {name}={amount}: {name!r} is {outputs[name].type}, of which a share of the "
                f"rows may differ; type {name}=1%"
            )


def _read(path: str, wanted: pa.Schema) -> pa.RecordBatch:
    """All rows of a file, as what is read of messages.

    Raises:
        UsageError: it cannot be read, or not as that.
    """
    files = find_files([path])
    if len(files) != 1:
        raise UsageError(f"--model_check {path} is {len(files)} files; name one")
    format = format_of(files, None)
    found = infer_schema(files, format).schema
    missing = [field for field in wanted if field.name not in found.names]
    if missing:
        raise UsageError(
            f"--model_check {path} has no column {missing[0].name!r}, only {', '.join(found.names)}; give it the "
            f"fields of messages: {', '.join(f'{field.name}: {field.type}' for field in wanted)}"
        )
    blocks = []
    count = 0
    reading = ReadOptions(pa.schema([found.field(name) for name in wanted.names]), block_rows=MOST_ROWS + 1)
    for result in read_all(split_file(files[0], 0, format, files[0].size + 1), reading):
        if result.failures:
            bad = result.failures[0]
            raise UsageError(f"--model_check {path}: row {bad.row} cannot be read: {bad.reason}; mend or remove it")
        if result.block is not None:
            blocks.append(result.block)
            count += result.block.num_rows
        if count > MOST_ROWS:
            raise UsageError(
                f"--model_check {path} has more than {MOST_ROWS:,} rows; keep fewer, which new models score"
            )
    if not count:
        raise UsageError(f"--model_check {path} has no rows; give it some as messages hold them")
    read = pa.concat_batches(blocks)
    columns = [_as_message(path, read.column(field.name), field) for field in wanted]
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _as_message(path: str, column: pa.Array, field: pa.Field) -> pa.Array:
    """A column as what a message's field is read as; floats are rounded to its width, as those of messages are."""
    try:
        values, bad = cast_exactly(column, field.type)
        if not len(bad):
            return values
        if is_of_floats(column.type) and is_of_floats(field.type):
            wide, unfit = cast_exactly(column, _of_width(field.type, pa.float64()))
            if not len(unfit):
                return _rounded(wide, field.type)
    except CannotCast:
        bad = np.zeros(1, np.int64)
    row = int(bad[0])
    raise UsageError(
        f"--model_check {path}: the column {field.name!r} is {column.type}, and messages hold {field.type}, which row "
        f"{row} is not; write it as that"
    )


def _of_width(kind: pa.DataType, leaf: pa.DataType) -> pa.DataType:
    """The type with other floats in it."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return pa.fixed_shape_tensor(leaf, kind.shape, permutation=kind.permutation)
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(_of_width(kind.value_type, leaf), kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(_of_width(kind.value_type, leaf))
    return pa.list_(_of_width(kind.value_type, leaf)) if pa.types.is_nested(kind) else leaf


def _rounded(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, column.storage.cast(kind.storage_type, safe=False))
    return column.cast(kind, safe=False)


def _prepared(path: str, rows: pa.RecordBatch, prepare: Sequence[Step]) -> pa.RecordBatch:
    """The rows as the model gets them.

    Raises:
        UsageError: a step fails on one.
    """
    block = with_origin(rows, path, 0)
    for step in prepare:
        try:
            result = step(block)
        except UsageError:
            raise
        except Exception as error:  # the user's own step may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UsageError(f"--model_check {path}: --prepare fails on its rows: {reason}; mend the step") from error
        if result.failures:
            bad = result.failures[0]
            raise UsageError(f"--model_check {path}: row {bad.row} cannot be prepared: {bad.reason}; leave it out")
        block = result.block
    return block
