"""Columns cast to another type value by value: one that the type cannot hold is a bad row, never another value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

CANNOT_CAST = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
"""What Arrow raises for a cast."""

Positions = np.ndarray[Any, Any]

_NONE = np.empty(0, dtype=np.int64)

_FLOATS = {16: "float16", 32: "float32", 64: "float64"}


class CannotCast(ValueError):
    """No value of the one type is one of the other."""


def cast_exactly(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Positions]:
    """The column as `wanted`, and the positions (int64, ascending) of values that it cannot hold.

    What stands at those positions is unspecified. Times keep the moment, texts are parsed, numbers are written as text.

    >>> values, bad = cast_exactly(pa.array([1.0, 2.5]), pa.int64())
    >>> values[0].as_py(), bad.tolist()
    (1, [1])

    Raises:
        CannotCast: no value can.
    """
    have = column.type
    if have == wanted:
        return column, _NONE
    if pa.types.is_null(have):
        return pa.nulls(len(column), wanted), _NONE
    tensors = [kind for kind in (have, wanted) if isinstance(kind, pa.FixedShapeTensorType)]
    if len(tensors) == 2 and have.shape == wanted.shape and have.permutation is wanted.permutation is None:
        values, bad = cast_exactly(column.storage, wanted.storage_type)
        return pa.ExtensionArray.from_storage(wanted, values), bad
    if isinstance(have, pa.BaseExtensionType):
        if isinstance(have, pa.FixedShapeTensorType) and len(have.shape) != 1:
            raise CannotCast
        return cast_exactly(column.storage, wanted)
    if isinstance(wanted, pa.BaseExtensionType):
        if isinstance(wanted, pa.FixedShapeTensorType) and len(wanted.shape) != 1:
            raise CannotCast
        values, bad = cast_exactly(column, wanted.storage_type)
        return pa.ExtensionArray.from_storage(wanted, values), bad
    if pa.types.is_dictionary(have):
        return cast_exactly(column.dictionary_decode(), wanted)
    if pa.types.is_dictionary(wanted):
        values, bad = cast_exactly(column, wanted.value_type)
        return _cast(_encoded(values), wanted, bad)
    if pa.types.is_nested(have) or pa.types.is_nested(wanted):
        return _nested(column, wanted)
    if not _may(have, wanted):
        raise CannotCast
    return _plain(column, wanted)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values are UTF-8 texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _may(have: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether the one may become the other: Arrow casts more, and some of it loses the meaning."""
    if is_text(have) or is_text(wanted):
        return not (_is_binary(wanted) and not is_text(have))
    if _is_binary(have) or _is_binary(wanted):
        return _is_binary(have) and _is_binary(wanted)
    number = [_is_number(kind) or pa.types.is_boolean(kind) for kind in (have, wanted)]
    if any(number):
        return all(number)
    if pa.types.is_timestamp(have) and pa.types.is_timestamp(wanted):
        return (have.tz is None) == (wanted.tz is None)
    if pa.types.is_date(have) or pa.types.is_date(wanted):
        return all(pa.types.is_date(k) or (pa.types.is_timestamp(k) and k.tz is None) for k in (have, wanted))
    alike = (pa.types.is_time, pa.types.is_duration)
    return any(kind(have) and kind(wanted) for kind in alike)


def _plain(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Positions]:
    have = column.type
    if pa.types.is_boolean(wanted) and _is_number(have):
        values, bad = _plain(column, pa.int8())
        return values.cast(pa.bool_()), np.union1d(bad, _where(values, (pa.scalar(0), pa.scalar(1))))
    if pa.types.is_boolean(have) and pa.types.is_decimal(wanted):
        return _plain(column.cast(pa.int8()), wanted)
    if pa.types.is_integer(have) and pa.types.is_decimal(wanted):
        column = column.cast(pa.decimal128(20, 0))
    if is_text(have) and not (is_text(wanted) or _is_binary(wanted)):
        import pyarrow.compute as pc

        column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    rounds = pa.types.is_floating(have) or pa.types.is_floating(wanted) or pa.types.is_date(wanted)
    if rounds and not is_text(have) and not is_text(wanted):
        return _there_and_back(column, wanted)
    values, bad = _cast(column, wanted, _NONE)
    if is_text(have) and pa.types.is_floating(wanted):
        from beamsplit.transforms.read.wide_numbers import unheld

        bad = np.union1d(bad, np.array(sorted(unheld(values, lambda: column)), dtype=np.int64))
    return values, bad


def _where(values: pa.Array, allowed: tuple[pa.Scalar, ...]) -> Positions:
    import pyarrow.compute as pc

    known = pa.array([one.as_py() for one in allowed], values.type)
    return np.flatnonzero(~np.asarray(pc.or_kleene(pc.is_in(values, value_set=known), values.is_null())))


def _there_and_back(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Positions]:
    """Cast, and find the values that are not the same when they are cast back."""
    import pyarrow.compute as pc

    if pa.types.is_integer(column.type) and pa.types.is_floating(wanted):
        from beamsplit.models.values.exact import inexact

        values = pc.cast(column, wanted, safe=False)
        plain = column if not column.null_count else pc.fill_null(column, 0)
        return values, inexact(plain.to_numpy(zero_copy_only=False), _FLOATS[wanted.bit_width])
    if pa.types.is_floating(column.type) and pa.types.is_integer(wanted):
        from beamsplit.models.values.exact import inexact

        plain = column if not column.null_count else pc.fill_null(column, pa.scalar(0, column.type))
        bad = inexact(plain.to_numpy(zero_copy_only=False), str(wanted))
        if bad.size:
            mask = np.zeros(len(column), dtype=bool)
            mask[bad] = True
            column = pc.if_else(pa.array(mask), pa.scalar(None, column.type), column)
        return pc.cast(column, wanted), bad
    values, bad = _cast(column, wanted, _NONE)
    back, more = _cast(values, column.type, _NONE)
    if pa.types.is_float16(column.type):
        # Arrow compares no halves; all of them are float32 too.
        back, column = back.cast(pa.float32()), column.cast(pa.float32())
    same = pc.or_kleene(pc.equal(back, column), column.is_null())
    if pa.types.is_floating(column.type):
        same = pc.or_kleene(same, pc.is_nan(column))
    wrong = np.flatnonzero(~np.asarray(pc.fill_null(same, False)))
    return values, np.union1d(np.union1d(bad, more), wrong)


def _encoded(values: pa.Array) -> pa.Array:
    """As a dictionary; of values that Arrow cannot compare, one entry each."""
    try:
        return values.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return pa.DictionaryArray.from_arrays(
            pa.array(np.arange(len(values), dtype=np.int32), mask=np.asarray(values.is_null())), values
        )


def _cast(column: pa.Array, wanted: pa.DataType, bad: Positions) -> tuple[pa.Array, Positions]:
    try:
        values, wrong = _by_halves(column, wanted, 0)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise CannotCast from error
    return values, np.union1d(bad, np.array(wrong, dtype=np.int64)) if wrong else bad


def _by_halves(column: pa.Array, wanted: pa.DataType, offset: int) -> tuple[pa.Array, list[int]]:
    """Cast by halves until the values that do not convert are found."""
    try:
        return column.cast(wanted), []
    except pa.ArrowInvalid:
        if len(column) <= 1:
            return pa.nulls(len(column), wanted), [offset]
    half = len(column) // 2
    left, wrong = _by_halves(column.slice(0, half), wanted, offset)
    right, more = _by_halves(column.slice(half), wanted, offset + half)
    return pa.concat_arrays([left, right]), wrong + more


def _nested(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Positions]:
    have = column.type
    if pa.types.is_struct(have) and pa.types.is_struct(wanted):
        return _struct(column, wanted)
    lists = (pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType)
    if not (isinstance(have, lists) and isinstance(wanted, lists)):
        try:  # Maps and unions, which Arrow knows.
            return column.cast(wanted), _NONE
        except CANNOT_CAST as error:
            raise CannotCast from error
    nothing = np.asarray(column.is_null())
    import pyarrow.compute as pc

    # What a null row hides is no part of `flatten`.
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
    ends = np.cumsum(lengths)
    items, bad_items = cast_exactly(column.flatten(), wanted.value_type)
    bad = np.unique(np.searchsorted(ends, bad_items, side="right")).astype(np.int64)
    if isinstance(wanted, pa.FixedSizeListType):
        size = wanted.list_size
        unfit = (lengths != size) & ~nothing
        bad = np.union1d(bad, np.flatnonzero(unfit))
        filler = len(items)
        items = pa.concat_arrays([items, pa.nulls(1, items.type)])
        starts = (ends - lengths)[:, None] + np.arange(size)[None, :]
        starts[unfit | nothing] = filler
        values = pa.FixedSizeListArray.from_arrays(
            items.take(pa.array(starts.reshape(-1))), type=wanted, mask=pa.array(nothing)
        )
        return values, bad
    offsets = np.concatenate([[0], ends])
    if offsets[-1] > np.iinfo(np.int32).max or isinstance(wanted, (pa.LargeListType, pa.LargeListViewType)):
        made = pa.LargeListArray.from_arrays(pa.array(offsets), items, mask=pa.array(nothing))
    else:
        made = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), items, mask=pa.array(nothing))
    if made.type == wanted:
        return made, bad
    try:
        return made.cast(wanted), bad
    except pa.ArrowNotImplementedError:
        views = pa.LargeListViewArray if isinstance(made, pa.LargeListArray) else pa.ListViewArray
        return views.from_arrays(
            made.offsets.slice(0, len(made)),
            pc.fill_null(pc.list_value_length(made), 0),
            items,
            type=wanted,
            mask=pa.array(nothing),
        ), bad


def _struct(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, Positions]:
    bad = _NONE
    parts = []
    names = [field.name for field in column.type]
    for field in wanted:
        if field.name not in names:
            parts.append(pa.nulls(len(column), field.type))
            continue
        part, wrong = cast_exactly(column.field(names.index(field.name)), field.type)
        parts.append(part)
        bad = np.union1d(bad, wrong)
    if not set(names) <= {field.name for field in wanted}:
        raise CannotCast  # A field would be lost.
    return pa.StructArray.from_arrays(parts, fields=list(wanted), mask=column.is_null()), bad
