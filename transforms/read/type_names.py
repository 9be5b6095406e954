"""Arrow types by their names, as they are typed: `int64`, `decimal128(12,2)`, `timestamp[us, UTC]`, `list<int8>`."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa

from beamsplit.models.errors import UsageError

_PLAIN: dict[str, Callable[[], pa.DataType]] = {
    "bool": pa.bool_,
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": getattr(pa, f"float{bits}") for bits in (16, 32, 64)},
    "halffloat": pa.float16,
    "float": pa.float32,
    "double": pa.float64,
    "string": pa.string,
    "utf8": pa.string,
    "large_string": pa.large_string,
    "binary": pa.binary,
    "large_binary": pa.large_binary,
    "date32": pa.date32,
    "date64": pa.date64,
}

_UNITS = {"timestamp": "s ms us ns", "duration": "s ms us ns", "time32": "s ms", "time64": "us ns"}

_ITEM = re.compile(r'\s*(?P<name>"(?:[^"]|"")*"|[^",:][^,:]*?)\s*:\s*(?P<kind>[^,(\[<]+(?:[(\[<].*)?)', re.DOTALL)

KNOWN = (
    "bool, int8 to int64, uint8 to uint64, float16, float32, float64, string, binary, date32, timestamp[us], "
    "timestamp[us, UTC], time32[s], time64[us], duration[ms], decimal128(12,2), list<float32>, list<float32>[3]"
)


def parse_types(text: str) -> dict[str, pa.DataType]:
    """The types of `column:type,...`; a name with a comma or colon is in double quotes.

    >>> parse_types("id:string,amount:decimal128(12,2)")
    {'id': DataType(string), 'amount': Decimal128Type(decimal128(12, 2))}

    Raises:
        UsageError: it is not of that form, there is no such type, or a column is named twice.
    """
    if not text.strip():
        raise UsageError("--types is given the empty text ''; give it a value, or leave it out")
    types: dict[str, pa.DataType] = {}
    for part in _parts(text):
        match = _ITEM.fullmatch(part)
        if match is None:
            raise UsageError(f"--types {text}: {part.strip()!r} is not of the form COLUMN:TYPE, e.g. --types id:string")
        name = match["name"]
        if name.startswith('"'):
            name = name[1:-1].replace('""', '"')
        if name in types:
            raise UsageError(f"--types names the column {name!r} twice; name it once")
        kind = type_of(match["kind"])
        if kind is None:
            raise UsageError(f"--types {part.strip()}: {match['kind'].strip()!r} is no type; the types are {KNOWN}")
        types[name] = kind
    return types


def _parts(text: str) -> list[str]:
    """The parts between commas that stand in no brackets and no quotes."""
    parts, depth, quoted = [""], 0, False
    for mark in text:
        quoted ^= mark == '"'
        depth += 0 if quoted else (mark in "([<") - (mark in ")]>")
        if mark == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += mark
    return parts


def type_of(text: str) -> pa.DataType | None:
    """The type of this name; None where there is none.

    >>> type_of("list<item: float>")
    ListType(list<item: float>)
    """
    name = text.strip()
    lower = name.lower()
    if lower in _PLAIN:
        return _PLAIN[lower]()
    if match := re.fullmatch(r"decimal(128|256)?\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", lower):
        precision, scale = int(match[2]), int(match[3])
        most = 76 if match[1] == "256" else 38
        if not 0 < precision <= most or scale > precision:
            return None
        return pa.decimal256(precision, scale) if match[1] == "256" else pa.decimal128(precision, scale)
    if match := re.fullmatch(r"(date32|date64)\[\w+\]", lower):
        return _PLAIN[match[1]]()
    if match := re.fullmatch(
        r"(timestamp|duration|time32|time64)\s*\[\s*(\w+)\s*(?:,\s*(?:tz=)?([^\]\s]+)\s*)?\]", name
    ):
        return _time(match[1], match[2], match[3])
    if match := re.fullmatch(r"(?:(large_)|fixed_size_)?list<(?:\s*\w+\s*:)?(.+)>\s*(?:\[(\d+)\])?", name, re.DOTALL):
        inner = type_of(match[2])
        if inner is None or (match[1] and match[3]):
            return None
        return pa.large_list(inner) if match[1] else pa.list_(inner, int(match[3]) if match[3] else -1)
    return None


def _time(name: str, unit: str, zone: str | None) -> pa.DataType | None:
    if unit not in _UNITS[name].split() or (zone is not None and name != "timestamp"):
        return None
    if name != "timestamp":
        made: pa.DataType = getattr(pa, name)(unit)
        return made
    try:
        pa.array([0], pa.timestamp(unit, zone)).cast(pa.string())
    except pa.ArrowInvalid:  # There is no such zone.
        return None
    return pa.timestamp(unit, zone)
