"""Values that their type does not allow, as a damaged file or a careless program leaves them.

Arrow trusts what it reads: a text that is not UTF-8 or an index behind the end of its dictionary ends a job much later,
or gives another row's value. Whole columns are checked at once, and searched only where one is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

CHARACTERS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def offset_dtype(kind: pa.DataType) -> np.dtype[Any]:
    """Of the offsets of a type of characters or lists, as Arrow lays them out."""
    large = (pa.types.is_large_list, pa.types.is_large_string, pa.types.is_large_binary)
    return np.dtype("<i8" if any(is_large(kind) for is_large in large) else "<i4")


def without_damage(batch: pa.RecordBatch, names: list[str]) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The columns of these names with the rows that can be read, and position in `batch` -> reason of the others.

    Raises:
        pa.ArrowInvalid: a column has not as many bytes as its length says.
    """
    bad: dict[int, str] = {}
    columns = {name: batch.column(name) for name in dict.fromkeys(names) if name in batch.schema.names}
    for name, column in columns.items():
        if not _has_parts(column.type):
            column.validate()
            continue
        wrong = damaged(column)
        if wrong is None:
            continue
        for at in np.flatnonzero(wrong).tolist():
            bad.setdefault(at, f"column {name!r}: {_reason(column.type)}")
    if not bad:
        return batch, bad
    keep = np.ones(batch.num_rows, dtype=bool)
    keep[list(bad)] = False
    kept = pa.RecordBatch.from_arrays([*columns.values()], names=[*columns]).filter(pa.array(keep))
    mended = [_with_sound_dictionary(column) for column in kept.columns]
    fields = [batch.schema.field(name) for name in columns]
    return pa.RecordBatch.from_arrays(mended, schema=pa.schema(fields)), bad


@lru_cache(maxsize=1024)
def _has_parts(kind: pa.DataType) -> bool:
    """Whether values may be wrong: they have offsets, indices or characters."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has_parts(kind.storage_type)
    if pa.types.is_fixed_size_list(kind):
        return _has_parts(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_has_parts(field.type) for field in kind)
    return not (pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind))


def _reason(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return "its index is not in the dictionary, or what it stands for is not UTF-8"
    if any(is_text(kind) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return "not UTF-8"
    return f"no valid {kind}"


def damaged(array: pa.Array) -> np.ndarray | None:
    """bool[elements], true where an element is not valid; None where all are."""
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _damaged_indices(array)
    try:
        array.validate(full=True)
        return None
    except pa.ArrowInvalid:
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return _damaged_lists(array, array.values)
        if pa.types.is_map(kind):  # To look at a slice would look at all keys and values.
            return _damaged_lists(array, array.keys, array.items)
        if pa.types.is_struct(kind):
            return _any(len(array), [damaged(array.field(at)) for at in range(kind.num_fields)])
        if pa.types.is_fixed_size_list(kind):
            size = kind.list_size
            inner = damaged(array.values.slice(array.offset * size, len(array) * size))
            return None if inner is None else np.any(inner.reshape(len(array), size), axis=1)
    wrong = np.zeros(len(array), dtype=bool)
    if any(has_offsets(kind) for has_offsets in CHARACTERS):
        characters = array.buffers()[2]
        wrong, _ = _damaged_offsets(array, 0 if characters is None else characters.size)
    _search(array, 0, wrong)
    return wrong


def _any(length: int, masks: list[np.ndarray | None]) -> np.ndarray | None:
    found = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(np.stack(found), axis=0) if found else np.zeros(length, dtype=bool)


def _damaged_indices(array: pa.DictionaryArray) -> np.ndarray | None:
    array.indices.validate()
    indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
    size = len(array.dictionary)
    there = array.indices.is_valid().to_numpy(zero_copy_only=False) if array.indices.null_count else True
    wrong = ((indices < 0) | (indices >= size)) & there
    values = damaged(array.dictionary)
    if values is not None and size:
        wrong |= values[np.clip(indices, 0, size - 1)] & there
    return wrong if wrong.any() else None


def _damaged_lists(array: pa.Array, *values: pa.Array) -> np.ndarray:
    """Of lists by their values; of maps by keys and values."""
    wrong, offsets = _damaged_offsets(array, len(values[0]))
    for inner in map(damaged, values):
        if inner is not None:
            before = np.concatenate(([0], np.cumsum(inner)))
            ends = np.clip(offsets, 0, len(inner))
            wrong |= before[ends[1:]] > before[ends[:-1]]
    return wrong


def _damaged_offsets(array: pa.Array, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(bool[elements], true where an element has an offset that is wrong, or may be; the offsets)."""
    dtype = offset_dtype(array.type)
    buffer = array.buffers()[1]
    if buffer is None or buffer.size < (array.offset + len(array) + 1) * dtype.itemsize:
        raise pa.ArrowInvalid(f"{len(array)} values of {array.type} have fewer offsets")
    offsets: np.ndarray = np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array) + 1]
    wrong = (offsets < 0) | (offsets > length)
    # Of two that fall, either may be the wrong one.
    falls = (offsets[1:] < offsets[:-1]) & ~wrong[1:] & ~wrong[:-1]
    wrong[1:] |= falls
    wrong[:-1] |= falls
    return wrong[1:] | wrong[:-1], offsets


def _search(array: pa.Array, begin: int, wrong: np.ndarray) -> None:
    """Halve what is wrong until the elements at fault are alone."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        if len(array) == 1:
            wrong[begin] = True
            return
        half = len(array) // 2
        _search(array.slice(0, half), begin, wrong)
        _search(array.slice(half), begin + half, wrong)


def _with_sound_dictionary(column: pa.Array) -> pa.Array:
    """A column of which some rows were dropped, without the values that only they had."""
    if not pa.types.is_dictionary(column.type):
        return column
    wrong = damaged(column.dictionary)
    if wrong is None:
        return column
    sound = column.dictionary.take(pa.array(np.arange(len(wrong)), mask=wrong))
    return pa.DictionaryArray.from_arrays(column.indices, sound, ordered=column.type.ordered)
