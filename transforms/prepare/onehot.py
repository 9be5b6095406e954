"""Categories as vectors with a single one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.nulls import null_reason
from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import output_field, to_arrow
from beamsplit.transforms.columns import check_column, drop_rows, only_column, replace_columns, replace_fields
from beamsplit.transforms.spec import SpecStep, one_of, option, text, whole, words
from beamsplit.transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class OneHot(SpecStep):
    """Column of categories -> `[categories]` numbers a row, 1 at the row's category and 0 elsewhere."""

    NAME: ClassVar[str] = "onehot"
    SUMMARY: ClassVar[str] = "a 0/1 vector for each category"
    EXAMPLE: ClassVar[str] = "onehot:column=color,values=red/green/blue"

    column: str = option(text, None)
    """The column, which it replaces; by default the only one of strings or integers."""

    values: tuple[str, ...] = option(words, ())
    """The categories in the order the model knows them, with / between them."""

    size: int = option(whole(1), None)
    """Instead of `values`: the categories are 0 to size - 1."""

    unknown: str = option(one_of("error", "zeros"), "error")
    """What a null or another value becomes: a row for the errors output, or zeros."""

    dtype: str = option(one_of("float32", "float64", "float16", "int64", "int32", "uint8"), "float32")
    """Type of the numbers."""

    def __post_init__(self) -> None:
        """Check the options against each other."""
        if bool(self.values) == (self.size is not None):
            raise ValueError("give either values or size")
        if len(set(self.values)) != len(self.values):
            raise ValueError("a value is given twice")

    def _column(self, schema: pa.Schema) -> str:
        if self.column is None:
            return only_column(self.NAME, schema, _is_category, "categories (strings or integers)")
        check_column(self.NAME, schema, self.column, _is_category, "categories (strings, integers or bools)")
        return self.column

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        """The column that it replaces."""
        return (self._column(schema),)

    def _categories(self, name: str, data_type: pa.DataType) -> pa.Array:
        """The categories in the column's own type.

        Raises:
            UsageError: a value cannot be of that type.
        """
        if self.size is not None:
            if not pa.types.is_integer(data_type):
                raise UsageError(
                    f"onehot with size={self.size} wants integers in column {name!r}, which is of type "
                    f"{data_type}; type onehot:...,values=a/b/c"
                )
            return pa.array(np.arange(self.size)).cast(pa.int64())
        try:
            return pa.array(self.values, type=pa.string()).cast(pa.int64() if _is_whole(data_type) else data_type)
        except pa.ArrowInvalid as error:
            raise UsageError(
                f"onehot wants column {name!r} to hold {'/'.join(self.values)}, and it is of type {data_type}; "
                "type values=... as they stand in the data"
            ) from error

    def _field(self, name: str) -> pa.Field:
        return output_field(name, self.dtype, (self.size if self.size is not None else len(self.values),))

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The column as a tensor column.

        Raises:
            UsageError: the column is missing, of another type, or cannot hold the values.
        """
        name = self._column(schema)
        self._categories(name, _plain_type(schema.field(name).type))
        return replace_fields(self.NAME, schema, name, [self._field(name)], False)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Look up the whole column at once; unknown values and nulls fail unless they become zeros."""
        import pyarrow.compute as pc

        name = self._column(block.schema)
        column = block.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        categories = self._categories(name, column.type)
        looked_up = (
            column.cast(categories.type) if column.type != pa.uint64() else column.cast(categories.type, safe=False)
        )
        index = pc.index_in(looked_up, value_set=categories).fill_null(-1).to_numpy(zero_copy_only=False)
        failures = []
        if self.unknown == "error":
            for row in np.flatnonzero(index < 0).tolist():
                value = column[row].as_py()
                what = f"{value!r} is none of the {len(categories)} categories in column {name!r}"
                failures.append(RowFailure(row, null_reason(name) if value is None else what))
            block = drop_rows(block, [failure.row for failure in failures])
            index = index[index >= 0]
        values = np.zeros((len(index), len(categories)), dtype=self.dtype)
        known = index >= 0
        values[np.flatnonzero(known), index[known]] = 1
        field = self._field(name)
        return StepResult(replace_columns(self.NAME, block, name, [field], [to_arrow(values, field)], False), failures)


def _plain_type(data_type: pa.DataType) -> pa.DataType:
    return data_type.value_type if pa.types.is_dictionary(data_type) else data_type


def _is_whole(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(data_type))


def _is_category(data_type: pa.DataType) -> bool:
    plain = _plain_type(data_type)
    return bool(
        pa.types.is_string(plain)
        or pa.types.is_large_string(plain)
        or pa.types.is_integer(plain)
        or pa.types.is_boolean(plain)
    )
