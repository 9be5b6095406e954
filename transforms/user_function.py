"""`module:function` as a step: the user's own code, from a record batch to a record batch."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import INTERNAL_COLUMNS, data_columns
from beamsplit.transforms.columns import describe
from beamsplit.transforms.step import StepResult


@functools.cache
def load_function(target: str) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Import `package.module:function`; modules in the current folder are found too.

    Raises:
        UsageError: no such module or function, or the import itself fails.
    """
    module_name, _, attribute = target.partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    _have_pandas()
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise anything while it is imported
        raise UsageError(
            f"{target}: module {module_name!r} does not import ({type(error).__name__}: {error}); "
            "it must be installed or lie in the current folder"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(found) if not name.startswith("_") and callable(getattr(found, name))]
            raise UsageError(f"{target}: no {part!r} in {module_name}; it has {', '.join(public) or 'no functions'}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{target}: is no function but a {type(found).__name__}")
    return found


def _have_pandas() -> None:
    """Let PyArrow know pandas, where it is installed: a worker of ours may have left it out."""
    if importlib.util.find_spec("pandas") is not None:
        from pyarrow.pandas_compat import _pandas_api

        # An installation that is broken is for the user's own import to tell.
        with contextlib.suppress(ImportError):
            _pandas_api.pd  # noqa: B018 what makes PyArrow look once more


@dataclass(frozen=True)
class UserFunction:
    """Calls a function with the user's columns of each block; it must give as many rows, in the same order.

    The types of its columns are found at construction: by calling it with no rows and, if it raises then, with
    one row of zeros and empty strings. What it raises on a real block fails the job.
    """

    target: str
    """`package.module:function`."""

    def __post_init__(self) -> None:
        """Import it once, so that a wrong name is found before the job starts."""
        load_function(self.target)

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that the function gives, and the origin columns.

        Raises:
            UsageError: the function raises, or gives no record batch or another number of rows.
        """
        return _output_schema(self.target, schema)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Call the function.

        Raises:
            ValueError: it gave another number of rows or other columns than for the rows it was tried with.
        """
        expected = _output_schema(self.target, block.schema)
        given = block.select(data_columns(block.schema))
        made = _call(self.target, given)
        riding = [name for name in block.schema.names if name in INTERNAL_COLUMNS]
        wanted = [field for field in expected if field.name not in riding]
        if made.schema.names != [field.name for field in wanted]:
            raise ValueError(f"{self.target} gave columns {describe(made.schema)}, and on a trial {describe(expected)}")
        try:
            columns = [
                made.column(i) if made.column(i).type == field.type else made.column(i).cast(field.type)
                for i, field in enumerate(wanted)
            ]
        except pa.ArrowException as error:
            raise ValueError(
                f"{self.target} gave columns {describe(made.schema)}, and on a trial {describe(expected)}: {error}"
            ) from error
        columns += [block.column(name) for name in riding]
        return StepResult(pa.RecordBatch.from_arrays(columns, schema=expected))


def _call(target: str, given: pa.RecordBatch) -> pa.RecordBatch:
    made = load_function(target)(given)
    if not isinstance(made, pa.RecordBatch):
        raise ValueError(f"{target} must return a pyarrow.RecordBatch, and returned a {type(made).__name__}")
    if made.num_rows != given.num_rows:
        raise ValueError(f"{target} was given {given.num_rows} rows and returned {made.num_rows}: it must keep all")
    taken = INTERNAL_COLUMNS & set(made.schema.names)
    if taken:
        raise ValueError(f"{target} returned a column {min(taken)!r}, a name that is taken; give it another")
    if len(set(made.schema.names)) != len(made.schema.names):
        raise ValueError(f"{target} returned columns of the same name: {describe(made.schema, made.schema.names)}")
    return made


@functools.lru_cache(maxsize=64)
def _output_schema(target: str, schema: pa.Schema) -> pa.Schema:
    fields = [schema.field(name) for name in data_columns(schema)]
    empty = pa.RecordBatch.from_arrays([_zeros(field.type, 0) for field in fields], schema=pa.schema(fields))
    try:
        made = _call(target, empty)
    except Exception as empty_error:  # the user's function may raise anything
        try:
            made = _call(target, _one_row(fields))
        except Exception as error:
            raise UsageError(
                f"{target} fails when tried with no rows ({type(empty_error).__name__}: {empty_error}) and with one "
                f"row of zeros ({type(error).__name__}: {error}); the columns are {describe(schema)}"
            ) from error
    else:
        made = _with_types(target, made, fields)
    riding = [field for field in schema if field.name in INTERNAL_COLUMNS]
    return pa.schema([*made.schema, *riding]).remove_metadata()


def _with_types(target: str, made: pa.RecordBatch, fields: list[pa.Field]) -> pa.RecordBatch:
    """What the function gave of no rows, or of one where a column made of a list of no values has no type."""
    if not any(_untyped(field.type) and field not in fields for field in made.schema):
        return made
    try:
        return _call(target, _one_row(fields))
    except Exception:  # the user's function may raise anything; it takes no rows, and that is what is known
        return made


def _untyped(kind: pa.DataType) -> bool:
    return _untyped(kind.value_type) if pa.types.is_list(kind) else pa.types.is_null(kind)


def _one_row(fields: list[pa.Field]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([_zeros(field.type, 1) for field in fields], schema=pa.schema(fields))


def _zeros(data_type: pa.DataType, rows: int) -> pa.Array:
    """Rows of zeros, empty strings and lists; nulls where a type has no such value."""
    if isinstance(data_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(data_type, _zeros(data_type.storage_type, rows))
    if pa.types.is_fixed_size_list(data_type):
        items = _zeros(data_type.value_type, rows * data_type.list_size)
        return pa.Array.from_buffers(data_type, rows, [None], children=[items])
    if pa.types.is_dictionary(data_type):
        return _zeros(data_type.value_type, rows).dictionary_encode().cast(data_type)
    if pa.types.is_boolean(data_type):
        return pa.array(np.zeros(rows, dtype=bool))
    if pa.types.is_integer(data_type) or pa.types.is_floating(data_type):
        return pa.array(np.zeros(rows)).cast(data_type)
    value: object = None
    if pa.types.is_string(data_type) or pa.types.is_large_string(data_type):
        value = ""
    elif pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type):
        value = b""
    elif pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        value = []
    return pa.array([value] * rows, type=data_type)
