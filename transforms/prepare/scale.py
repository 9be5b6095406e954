"""Numbers brought to the range that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.values.tensors import Array, TensorColumn, column_type, unpack
from beamsplit.transforms.columns import (
    check_column,
    drop_rows,
    failures_of,
    only_column,
    pack,
    replace_columns,
    replace_fields,
    survivors,
    tensor_field,
)
from beamsplit.transforms.spec import SpecStep, numbers, one_of, option, words
from beamsplit.transforms.step import RowFailure, StepResult


@dataclass(frozen=True)
class Scale(SpecStep):
    """`(x - mean) / std`, `(x - min) / (max - min)` or `x * factor` of numeric columns or tensors, in place.

    Several numbers go along the last axis of a tensor column, or one to each of several columns. The result is
    float64 for float64, else float32.
    """

    NAME: ClassVar[str] = "scale"
    SUMMARY: ClassVar[str] = "standardise, bring to 0..1, or multiply numbers"
    EXAMPLE: ClassVar[str] = "scale:column=age/height,mean=40/170,std=12/9"

    column: tuple[str, ...] = option(words, ())
    """Columns of numbers or tensors, with / between them; by default the only numeric one."""

    mean: tuple[float, ...] = option(numbers, ())
    """Taken off."""

    std: tuple[float, ...] = option(numbers, ())
    """Divided by, after `mean`."""

    min: tuple[float, ...] = option(numbers, ())
    """Becomes 0."""

    max: tuple[float, ...] = option(numbers, ())
    """Becomes 1."""

    factor: tuple[float, ...] = option(numbers, ())
    """Multiplied with."""

    dtype: str = option(one_of("float16", "float32", "float64"), None)
    """Type of the result."""

    def __post_init__(self) -> None:
        """Check that the options name one way of scaling, and that nothing is divided by zero."""
        ways = [bool(self.mean or self.std), bool(self.min or self.max), bool(self.factor)]
        if sum(ways) != 1:
            raise ValueError("give one of mean and std, min and max, or factor")
        if bool(self.min) != bool(self.max):
            raise ValueError("min and max go together")
        sizes = {len(values) for values in (self.mean, self.std, self.min, self.max, self.factor) if len(values) > 1}
        if len(sizes) > 1:
            raise ValueError(f"the lists have unlike lengths: {', '.join(map(str, sorted(sizes)))}")
        factor, _ = self._factor_and_shift()
        if not np.isfinite(factor).all():
            raise ValueError("std is 0 or min equals max: nothing can be divided by it")
        if len(set(self.column)) != len(self.column):
            raise ValueError(f"a column is given twice: {'/'.join(self.column)}")

    def _factor_and_shift(self) -> tuple[np.ndarray, np.ndarray]:
        """The scaled value is (x - shift) * factor; both of one length, 1 where one number is for all."""
        with np.errstate(divide="ignore"):
            if self.factor:
                factor, shift = np.array(self.factor), np.zeros(1)
            elif self.max:
                factor, shift = 1 / (np.array(self.max) - np.array(self.min)), np.array(self.min)
            else:
                factor, shift = 1 / np.array(self.std or (1.0,)), np.array(self.mean or (0.0,))
        factor, shift = np.broadcast_arrays(factor, shift)
        return factor, shift

    def _columns(self, schema: pa.Schema) -> list[tuple[str, str, tuple[int | None, ...], slice]]:
        """(column, dtype of the result, shape of a row, which of the numbers are its own)."""
        names = self.column or (only_column(self.NAME, schema, _is_numeric, "numbers"),)
        count = len(self._factor_and_shift()[0])
        plan = []
        for number_of, name in enumerate(names):
            check_column(self.NAME, schema, name, _is_numeric, "numbers or tensors of numbers")
            kind = column_type(schema.field(name).type)
            assert kind is not None
            own = slice(None)
            if count > 1 and len(names) > 1:
                if count != len(names):
                    raise UsageError(f"scale has {count} numbers for {len(names)} columns ({', '.join(names)}); {_ONE}")
                own = slice(number_of, number_of + 1)
            elif count > 1 and (not kind.shape or kind.shape[-1] != count):
                last = "one number" if not kind.shape else f"lists of {kind.shape[-1] or 'unlike lengths'}"
                raise UsageError(f"scale has {count} numbers for column {name!r}, which holds {last} a row; {_ONE}")
            plan.append((name, self.dtype or ("float64" if kind.dtype == "float64" else "float32"), kind.shape, own))
        return plan

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns that are scaled."""
        return tuple(name for name, *_ in self._columns(schema))

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns as floats.

        Raises:
            UsageError: a column is missing or not numeric, or there are more numbers than columns or elements.
        """
        for name, dtype, shape, _ in self._columns(schema):
            schema = replace_fields(self.NAME, schema, name, [tensor_field(name, dtype, shape)], False)
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Scale whole columns at once; rows with a null in one of them fail."""
        plan = self._columns(block.schema)
        reasons: dict[int, str] = {}
        rows = block.num_rows
        for name, *_ in plan:
            for row, reason in failures_of(unpack(block.column(name)), name, can_fill=True):
                reasons.setdefault(row, reason)
        failures = [RowFailure(row, reasons[row]) for row in sorted(reasons)]
        block = drop_rows(block, [failure.row for failure in failures])
        factor, shift = self._factor_and_shift()
        at = survivors(rows, failures)
        beyond: dict[int, str] = {}
        for name, dtype, shape, own in plan:
            column = unpack(block.column(name))
            # In float64 for integers that float32 does not hold, too; the copy is one column's.
            wide = np.result_type(column.values.dtype, np.float32)
            values: np.ndarray = column.values.astype(wide)
            last = values.reshape(-1, shape[-1]) if len(shape) > 1 and shape[-1] else values
            with np.errstate(over="ignore", invalid="ignore"):
                np.subtract(last, shift[own].astype(wide), out=last)
                np.multiply(last, factor[own].astype(wide), out=last)
                values = values.astype(dtype, copy=False)
            for row in _beyond(column, values):
                beyond.setdefault(int(at[row]), f"column {name!r} scaled is beyond what {dtype} holds{_WIDER[dtype]}")
            field = tensor_field(name, dtype, shape)
            block = replace_columns(self.NAME, block, name, [field], [pack(column, values, field)], False)
        if beyond:
            block = drop_rows(block, np.searchsorted(at, sorted(beyond)).tolist())
            failures = sorted([*failures, *(RowFailure(row, reason) for row, reason in beyond.items())])
        return StepResult(block, failures)


def _beyond(column: TensorColumn, scaled: Array) -> list[int]:
    """The rows in which a number of the column became infinite or none."""
    sound = np.isfinite(scaled)
    if sound.all():
        return []
    with np.errstate(over="ignore"):
        lost = np.flatnonzero(~sound.reshape(-1) & np.isfinite(column.values).reshape(-1))
    if column.offsets is not None:
        found = np.searchsorted(column.offsets, lost, side="right") - 1
    else:
        found = lost // column.values[0].size
    return np.unique(found).tolist()


_WIDER = {"float16": "; dtype=float32 holds more", "float32": "; dtype=float64 holds more", "float64": ""}
_ONE = "type one number for all, or as many as there are"


def _is_numeric(data_type: pa.DataType) -> bool:
    kind = column_type(data_type)
    return kind is not None and kind.dtype not in ("string", "bool")
