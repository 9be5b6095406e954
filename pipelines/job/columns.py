"""Which columns of the input a job reads, and as what."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa

from beamsplit.models.binding.binding import Binding
from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import output_field
from beamsplit.transforms.block import INTERNAL_COLUMNS, with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.read import InputFile, NoColumns, infer_schema, partition_types
from beamsplit.transforms.read.inputs import paths_with_folders
from beamsplit.transforms.step import Step
from beamsplit.transforms.user_function import UserFunction

DEEPEST = 100
"""Lists in lists with which blocks travel: limits of Arrow's messages and of pickle are not far above."""


def check_keep(keep: Sequence[str], schema: pa.Schema) -> None:
    """Raise unless every `--keep` column is there, after `--prepare`."""
    missing = [name for name in keep if name not in schema.names]
    if missing:
        names = [name for name in schema.names if name not in INTERNAL_COLUMNS]
        raise UsageError(
            f"--keep names {', '.join(missing)}, and the data has the columns {', '.join(names[:20])}"
            f"{', ...' if len(names) > 20 else ''}; name columns of the data"
        )


def all_columns(files: Sequence[InputFile], format: str) -> tuple[str, ...]:
    """The columns of files, and those that the names of their folders tell: `--keep '*'`.

    Raises:
        UsageError: the files cannot be read.
    """
    folders = partition_types(paths_with_folders(files))
    try:
        own = infer_schema(files, format).schema.names
    except NoColumns:
        return ()
    return (*own, *(name for name in folders if name not in own))


def check_names(schema: pa.Schema) -> None:
    """Raise if a column of the data has a name that beamsplit gives to its own."""
    taken = sorted(set(schema.names) & INTERNAL_COLUMNS)
    if taken:
        raise UsageError(
            f"the data has a column {taken[0]!r}, a name that beamsplit needs for its own; rename the data's column"
        )


def check_depths(schema: pa.Schema, as_text: bool) -> None:
    """Raise if a column has lists or structs in one another deeper than blocks can travel.

    Args:
        schema: of the data.
        as_text: whether a column can be read as text instead.
    """
    for column in schema:
        if _is_deeper(column.type, DEEPEST):
            fix = f"read it as text with --types {column.name}:string" if as_text else "leave it out of the data"
            raise UsageError(
                f"column {column.name!r} has lists or structs in one another, more than {DEEPEST} deep; {fix}"
            )


def _is_deeper(kind: pa.DataType, levels: int) -> bool:
    """Whether types lie in one another on more levels; found level by level, however many there are."""
    level = [kind]
    for _ in range(levels + 1):
        level = [one.field(at).type for one in level for at in range(one.num_fields)]
        if not level:
            return False
    return True


def mostly_numbers(schema: pa.Schema, sample: pa.RecordBatch | None, leave: Collection[str] = ()) -> pa.Schema:
    """The schema of a text file with columns of strings made numbers where most rows of the sample have numbers.

    A column without any value is a number too. Cells that are none then fail their rows. Columns of `leave` stay.
    """
    fields = []
    for column in schema:
        if column.name in leave or not (pa.types.is_string(column.type) or pa.types.is_null(column.type)):
            fields.append(column)
            continue
        cells = [] if sample is None else [str(cell) for cell in sample.column(column.name).to_pylist() if cell]
        floats = [cell for cell in cells if _parses(float, cell)]
        if 2 * len(floats) < len(cells):
            fields.append(column)
            continue
        whole = bool(floats) and all(_parses(int, cell) for cell in floats)
        fields.append(pa.field(column.name, pa.int64() if whole else pa.float64()))
    return pa.schema(fields)


def _parses(kind: type[int] | type[float], cell: str) -> bool:
    try:
        kind(cell)
    except ValueError:
        return False
    return True


def check_outputs(keep: Sequence[str], outputs: Collection[str]) -> None:
    """Raise if a kept column and an output of the model would have one name."""
    twice = sorted(set(keep) & set(outputs))
    if twice:
        raise UsageError(
            f"--keep and the model's outputs both name {', '.join(twice)}; rename the column, or leave it out of --keep"
        )


def needed_columns(schema: pa.Schema, prepare: Sequence[Step], wanted: Sequence[str]) -> tuple[str, ...]:
    """The columns of `schema` that the steps and `wanted` (what is there after the steps) cannot do without.

    A column is needed if without it the steps refuse the schema or do not give what is wanted. A user's own
    function is given every column: what it looks at cannot be told.
    """
    if not prepare:
        return tuple(dict.fromkeys(wanted))
    if any(isinstance(step, UserFunction) for step in prepare):
        return tuple(schema.names)
    needed = list(schema.names)
    for name in schema.names:
        fewer = [other for other in needed if other != name]
        if fewer and _suffices(pa.schema([schema.field(other) for other in fewer]), prepare, wanted):
            needed = fewer
    return tuple(needed)


def _suffices(schema: pa.Schema, prepare: Sequence[Step], wanted: Sequence[str]) -> bool:
    try:
        prepared = chain_schema(prepare, with_origin_schema(schema))
    except UsageError:
        return False
    return set(wanted) <= set(prepared.names)


def as_the_model_wants(schema: pa.Schema, binding: Binding, leave: Collection[str], narrow: bool = False) -> pa.Schema:
    """Read numbers of text formats as floats where they only feed float inputs, and columns without values as wanted.

    The types come from the first rows; a column of whole numbers there may well have fractions further down. They are
    read as float64, so that whole numbers that the input would round can be told; with `narrow` as the input is.
    """
    wanted: dict[str, set[str]] = {}
    for bound in binding.inputs:
        for name in bound.columns:
            wanted.setdefault(name, set()).add(bound.dtype)
    return pa.schema([pa.field(f.name, _wanted(f, wanted.get(f.name, set()), f.name in leave, narrow)) for f in schema])


def _wanted(column: pa.Field, dtypes: set[str], kept: bool, narrow: bool) -> pa.DataType:
    if pa.types.is_null(column.type):
        return output_field("", min(dtypes), ()).type if dtypes else pa.string()
    numeric = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if kept or not numeric or not dtypes or not all(dtype.startswith("float") for dtype in dtypes):
        return column.type
    return pa.float32() if narrow and dtypes == {"float32"} else pa.float64()


def without_values(
    schema: pa.Schema, rows: pa.RecordBatch | None, names: Collection[str]
) -> tuple[pa.Schema, pa.RecordBatch | None]:
    """Schema and rows with these columns of type null, which any input takes, where the rows have no value in them."""
    empty = {name for name in names if rows is None or rows.column(name).null_count == rows.num_rows}
    if not empty:
        return schema, rows
    schema = pa.schema([pa.field(f.name, pa.null()) if f.name in empty else f for f in schema])
    if rows is None:
        return schema, None
    columns = [pa.nulls(rows.num_rows) if f.name in empty else rows.column(f.name) for f in schema]
    return schema, pa.RecordBatch.from_arrays(columns, schema=schema)
