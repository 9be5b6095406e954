"""One type for a column of which files have several: the same whichever file comes first."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

MOST_DIGITS = 38
"""Of a decimal128."""

_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
"""Most decimal digits of an integer of so many bits."""

_MANTISSA = ((11, pa.float16()), (24, pa.float32()), (53, pa.float64()))
"""Bits of whole numbers that each floating-point type holds."""


def unify_types(types: Iterable[pa.DataType], text: bool = False) -> pa.DataType | None:
    """The narrowest type that holds what all the types hold; None where there is none.

    It depends on which types there are only, not on their order. A null type says nothing. Whole numbers beside floats
    become float64 at most (a value that it does not hold fails its row where it is read), as do decimals beside floats.

    Args:
        types: of one column, in several files.
        text: the types were told from the cells of text files, which can be read as strings whatever they look like.

    >>> unify_types([pa.int64(), pa.float64()])
    DataType(double)
    >>> unify_types([pa.string(), pa.int64()], text=True)
    DataType(string)
    """
    kinds = set(types)
    if len(kinds) > 1:
        kinds.discard(pa.null())
    if len(kinds) == 1:
        return next(iter(kinds))
    if text:
        return _unify_cells(kinds)
    shapes = {
        tuple(k.shape) if isinstance(k, pa.FixedShapeTensorType) and k.permutation is None else None for k in kinds
    }
    if len(shapes) == 1 and None not in shapes:
        inner = unify_types(kind.value_type for kind in kinds)
        return None if inner is None else pa.fixed_shape_tensor(inner, next(iter(shapes)))
    plain = {_unwrapped(kind) for kind in kinds}
    if None in plain:
        return None
    found = {kind for kind in plain if kind is not None and not pa.types.is_null(kind)}
    if len(found) <= 1:
        return next(iter(found), pa.null())
    for unify in (_numbers, _texts, _times, _lists, _structs):
        one = unify(found)
        if one is not None:
            return one
    return None


def _unify_cells(kinds: set[pa.DataType]) -> pa.DataType:
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return _numbers(kinds) or pa.string()
    return pa.binary() if any(map(pa.types.is_binary, kinds)) else pa.string()


def _unwrapped(kind: pa.DataType) -> pa.DataType | None:
    """The type of the values; None for a tensor, whose shape its storage does not tell."""
    while True:
        if isinstance(kind, pa.FixedShapeTensorType) and len(kind.shape) != 1:
            return None
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind):
            kind = kind.value_type
        else:
            return kind


def _numbers(kinds: set[pa.DataType]) -> pa.DataType | None:
    whole = {kind for kind in kinds if pa.types.is_integer(kind) or pa.types.is_boolean(kind)}
    floats = {kind for kind in kinds if pa.types.is_floating(kind)}
    decimals = {kind for kind in kinds if pa.types.is_decimal(kind)}
    if whole | floats | decimals != kinds:
        return None
    if decimals and floats:
        return pa.float64()
    if decimals:
        digits = [kind.precision - kind.scale for kind in decimals]
        digits += [_DIGITS.get(kind.bit_width, 1) for kind in whole]
        scale = max(kind.scale for kind in decimals)
        precision = max(digits) + scale
        if precision <= MOST_DIGITS:
            return pa.decimal128(precision, scale)
        return pa.decimal256(precision, scale) if precision <= 2 * MOST_DIGITS else None
    if floats:
        held = {floating: bits for bits, floating in _MANTISSA}
        bits = max([held[kind] for kind in floats] + [_value_bits(kind) for kind in whole])
        return next((floating for most, floating in _MANTISSA if bits <= most), pa.float64())
    return _integer(whole)


def _value_bits(kind: pa.DataType) -> int:
    return int(kind.bit_width) - (1 if pa.types.is_signed_integer(kind) else 0)


def _integer(kinds: set[pa.DataType]) -> pa.DataType:
    signed = any(map(pa.types.is_signed_integer, kinds))
    bits = max(map(_value_bits, kinds)) + (1 if signed else 0)
    width = next((width for width in (8, 16, 32, 64) if bits <= width), 64)
    return getattr(pa, f"int{width}" if signed else f"uint{width}")()


def _texts(kinds: set[pa.DataType]) -> pa.DataType | None:
    large = any(pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) for kind in kinds)
    if all(pa.types.is_string(k) or pa.types.is_large_string(k) or pa.types.is_string_view(k) for k in kinds):
        return pa.large_string() if large else pa.string()
    fixed = pa.types.is_fixed_size_binary
    if all(
        pa.types.is_binary(k) or pa.types.is_large_binary(k) or pa.types.is_binary_view(k) or fixed(k) for k in kinds
    ):
        return pa.large_binary() if large else pa.binary()
    return None


_UNITS = ("s", "ms", "us", "ns")


def _finest(kinds: Iterable[pa.DataType]) -> str:
    return max((kind.unit for kind in kinds), key=_UNITS.index)


def _times(kinds: set[pa.DataType]) -> pa.DataType | None:
    if all(map(pa.types.is_duration, kinds)):
        return pa.duration(_finest(kinds))
    if all(map(pa.types.is_time, kinds)):
        unit = _finest(kinds)
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if all(map(pa.types.is_date, kinds)):
        return pa.date64()
    stamps = {kind for kind in kinds if pa.types.is_timestamp(kind)}
    if not stamps or not all(map(pa.types.is_date, kinds - stamps)):
        return None
    zones = {kind.tz for kind in stamps}
    if (None in zones and len(zones) > 1) or (None not in zones and kinds != stamps):
        return None  # what is a local time somewhere is no moment
    return pa.timestamp(_finest(stamps), next(iter(zones)) if len(zones) == 1 else "UTC")


def _lists(kinds: set[pa.DataType]) -> pa.DataType | None:
    if not all(_is_list(kind) or pa.types.is_fixed_size_list(kind) for kind in kinds):
        return None
    inner = unify_types(kind.value_type for kind in kinds)
    if inner is None:
        return None
    sizes = {kind.list_size if pa.types.is_fixed_size_list(kind) else None for kind in kinds}
    if len(sizes) == 1 and None not in sizes:
        return pa.list_(inner, next(iter(sizes)))
    large = any(pa.types.is_large_list(kind) or isinstance(kind, pa.LargeListViewType) for kind in kinds)
    return pa.large_list(inner) if large else pa.list_(inner)


def _is_list(kind: pa.DataType) -> bool:
    return isinstance(kind, (pa.ListType, pa.LargeListType, pa.ListViewType, pa.LargeListViewType))


def _structs(kinds: set[pa.DataType]) -> pa.DataType | None:
    if not all(map(pa.types.is_struct, kinds)):
        return None
    fields = []
    for name in sorted({field.name for kind in kinds for field in kind}):
        inner = unify_types(field.type for kind in kinds for field in kind if field.name == name)
        if inner is None:
            return None
        fields.append(pa.field(name, inner))
    return pa.struct(fields)
