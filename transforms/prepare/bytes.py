"""The first, middle and last bytes of a file as numbers: what byte-level models such as Magika's read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from beamsplit.models.values.tensors import output_field, to_arrow
from beamsplit.transforms.columns import (
    check_column,
    drop_rows,
    null_failures,
    replace_columns,
    replace_fields,
    survivors,
)
from beamsplit.transforms.spec import SpecStep, boolean, one_of, option, text, whole
from beamsplit.transforms.step import RowFailure, StepResult

_SPACE = b" \t\n\r\x0b\x0c"


@dataclass(frozen=True)
class Bytes(SpecStep):
    """Binary column -> `[begin + mid + end]` integers a row.

    What a short row lacks is filled with `pad`: after the first bytes, round the middle, before the last.
    With `strip`, whitespace is taken off the beginning and off the end, each within `block_size` bytes; this and
    `bytes:begin=1024,end=1024,pad=256,strip,block_size=4096` are what Magika does.
    """

    NAME: ClassVar[str] = "bytes"
    SUMMARY: ClassVar[str] = "first, middle and last bytes of a binary column, as numbers"
    EXAMPLE: ClassVar[str] = "bytes:begin=512,end=512,pad=256"

    begin: int = option(whole(0), 0)
    """Bytes from the beginning."""

    mid: int = option(whole(0), 0)
    """Bytes from the middle."""

    end: int = option(whole(0), 0)
    """Bytes from the end."""

    pad: int = option(whole(-(2**31)), 0)
    """Stands where there is no byte."""

    strip: bool = option(boolean, False)
    """Whether whitespace at the beginning and at the end is skipped."""

    block_size: int = option(whole(0), 0)
    """Bytes at either end that begin and end are taken from; 0 is all of them."""

    min: int = option(whole(0), 0)
    """Rows with fewer bytes (after strip, within the block) go to the errors output."""

    dtype: str = option(one_of("int32", "int64", "uint8", "int16", "float32"), "int32")
    """Type of the numbers."""

    column: str = option(text, "bytes")
    """The binary column."""

    output: str = option(text, "bytes")
    """The column it makes."""

    keep: bool = option(boolean, False)
    """Whether the input column stays, where the output has another name."""

    def __post_init__(self) -> None:
        """Check the options against each other."""
        if self.begin + self.mid + self.end == 0:
            raise ValueError("begin, mid and end are all 0, which leaves no bytes")
        if self.block_size and max(self.begin, self.end) > self.block_size:
            raise ValueError(f"begin and end may not be more than block_size={self.block_size}")
        if self.dtype != "float32":
            limits = np.iinfo(self.dtype)
            if not limits.min <= self.pad <= limits.max:
                raise ValueError(f"pad={self.pad} does not fit dtype={self.dtype}")

    def _field(self) -> pa.Field:
        return output_field(self.output, self.dtype, (self.begin + self.mid + self.end,))

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """Replace the binary column by a tensor column.

        Raises:
            UsageError: the column is missing or not binary.
        """
        check_column(self.NAME, schema, self.column, is_binary, "binary data")
        return replace_fields(self.NAME, schema, self.column, [self._field()], self.keep)

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        """Cut the bytes of each row; nulls and rows shorter than `min` fail."""
        failures = null_failures(block.column(self.column), self.column)
        rows = drop_rows(block, [failure.row for failure in failures])
        data, offsets = binary_view(rows.column(self.column))
        first, stop = offsets[:-1], offsets[1:]
        reach = np.minimum(stop - first, self.block_size) if self.block_size else stop - first
        # Beginning and end are stripped within their own blocks, which overlap where the row is short.
        head_start, head_stop = first.copy(), first + reach
        tail_start, tail_stop = stop - reach, stop.copy()
        if self.strip:
            for row in np.flatnonzero(_starts_with_space(data, first, stop)).tolist():
                head = data[head_start[row] : head_stop[row]].tobytes()
                head_start[row] += len(head) - len(head.lstrip(_SPACE))
            for row in np.flatnonzero(_ends_with_space(data, first, stop)).tolist():
                tail = data[tail_start[row] : tail_stop[row]].tobytes()
                tail_stop[row] -= len(tail) - len(tail.rstrip(_SPACE))
        if self.min:
            sizes = head_stop - head_start
            if self.strip:
                whole_row = reach == stop - first
                sizes = np.where(whole_row, np.maximum(tail_stop - head_start, 0), sizes)
            short = np.flatnonzero(sizes < self.min)
            if short.size:
                kept = survivors(block.num_rows, failures)
                failures += [
                    RowFailure(int(kept[row]), f"{sizes[row]} bytes in column {self.column!r}, min={self.min}")
                    for row in short.tolist()
                ]
                failures.sort()
                rows = drop_rows(rows, short.tolist())
                head_start, head_stop, tail_start, tail_stop, first, stop = (
                    np.delete(bound, short) for bound in (head_start, head_stop, tail_start, tail_stop, first, stop)
                )
        values = np.full((rows.num_rows, self.begin + self.mid + self.end), self.pad, dtype=self.dtype)
        if self.begin:
            taken = np.minimum(head_stop - head_start, self.begin)
            for row, (start, count) in enumerate(zip(head_start.tolist(), taken.tolist(), strict=True)):
                values[row, :count] = data[start : start + count]
        if self.mid:
            taken = np.minimum(stop - first, self.mid)
            starts = first + (stop - first - taken) // 2
            for row, (start, count) in enumerate(zip(starts.tolist(), taken.tolist(), strict=True)):
                left = self.begin + (self.mid - count) // 2
                values[row, left : left + count] = data[start : start + count]
        if self.end:
            taken = np.minimum(tail_stop - tail_start, self.end)
            width = values.shape[1]
            for row, (last, count) in enumerate(zip(tail_stop.tolist(), taken.tolist(), strict=True)):
                values[row, width - count :] = data[last - count : last]
        field = self._field()
        made = replace_columns(self.NAME, rows, self.column, [field], [to_arrow(values, field)], self.keep)
        return StepResult(made, failures)


def is_binary(data_type: pa.DataType) -> bool:
    """Whether a column holds bytes of any length."""
    return bool(pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type))


def binary_view(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all rows as uint8, and int64[rows + 1] with where each row begins in them; copies nothing."""
    _, offsets, data = column.buffers()
    rows = len(column)
    if not rows:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    width = np.dtype(np.int64 if pa.types.is_large_binary(column.type) else np.int32)
    begins = np.frombuffer(offsets, width, count=rows + 1, offset=column.offset * width.itemsize).astype(np.int64)
    return np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8), begins


_IS_SPACE = np.isin(np.arange(256), list(_SPACE))


def _starts_with_space(data: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    found = stop > first
    found[found] = _IS_SPACE[data[first[found]]]
    return found


def _ends_with_space(data: np.ndarray, first: np.ndarray, stop: np.ndarray) -> np.ndarray:
    found = stop > first
    found[found] = _IS_SPACE[data[stop[found] - 1]]
    return found
