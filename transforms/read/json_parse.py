"""Lines of JSON as columns of a schema, parsed by pyarrow; bad lines apart."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from beamsplit.transforms.read import lines
from beamsplit.transforms.read.json_alike import read_alike
from beamsplit.transforms.read.json_depth import Depths, to_depth
from beamsplit.transforms.read.result import Parsed, conform

if TYPE_CHECKING:
    from beamsplit.transforms.read.json_faults import Faults
    from beamsplit.transforms.read.wide_numbers import Fed

CANNOT_PARSE = (pa.ArrowInvalid, UnicodeDecodeError)

LOOKED_AT = 1024
"""Lines, one of which is bad, that are looked at one by one: fewer where one is rare, as halves are found faster."""


@dataclass(frozen=True)
class Rules:
    """What values may be beside what their columns are."""

    declared: Collection[str] = ()
    """Columns whose values may be texts or numbers."""

    narrow: bool = True
    """Whether float32 and float16 round whole numbers."""

    depths: Mapping[str, Depths] = field(default_factory=dict)
    """Fields whose values may be in more or fewer lists than the columns' are."""

    fed: Mapping[str, Fed] = field(default_factory=dict)
    """Columns of float64 that narrower floats are made of which do not round whole numbers."""


PLAIN = Rules()


def parse(run: bytes, schema: pa.Schema, rules: Rules = PLAIN) -> Parsed:
    """Lines of text as columns of `schema`; bad lines apart."""
    rows = lines.count_json(run)
    if not rows:
        return Parsed(_empty(schema), 0)
    try:
        return _attempt(run, rows, schema, rules)
    except CANNOT_PARSE:
        pass  # some line is bad: look for it below
    return parse_texts([line for line in run.split(b"\n") if line.strip()], schema, rules)


def parse_texts(texts: list[bytes], schema: pa.Schema, rules: Rules = PLAIN) -> Parsed:
    """JSON objects, none with a line feed in it, as columns of `schema`; bad ones apart.

    They are parsed together, and by halves where one is bad; a few lines, of which some are bad, are looked at in
    Python, so that the others are parsed together.
    """
    if not texts:
        return Parsed(_empty(schema), 0)
    lot = _Lot(texts, schema, rules)
    lot.parse(np.arange(len(texts)))
    if not lot.batches:
        return Parsed(_empty(schema), len(texts), lot.bad)
    batch = pa.concat_batches(lot.batches)
    places = np.concatenate(lot.places)
    if (np.diff(places) < 0).any():
        batch = batch.take(pa.array(np.argsort(places)))
    return Parsed(batch, len(texts), lot.bad)


class _Lot:
    """Lines that are parsed together as far as possible, and what came of them.

    Args: as of `parse_texts`.
    """

    def __init__(self, texts: list[bytes], schema: pa.Schema, rules: Rules) -> None:
        self._texts, self._schema, self._rules = texts, schema, rules
        self._faults: Faults | None = None
        self.batches: list[pa.RecordBatch] = []
        self.places: list[np.ndarray] = []
        """Of the rows of the batches, among the texts."""
        self.bad: dict[int, str] = {}

    def parse(self, places: np.ndarray, looked_at: bool = False) -> None:
        """Parse the texts at these places.

        Args:
            places: where they stand.
            looked_at: whether their bad lines were looked for in Python.
        """
        texts = [self._texts[at] for at in places.tolist()]
        try:
            text = b"\n".join(texts)
            parsed = _attempt(text, len(texts), self._schema, self._rules)
        except CANNOT_PARSE as error:
            if len(texts) == 1:
                self.bad[int(places[0])] = self._fault(texts[0]) or _told(_reason(error))
            elif looked_at or len(texts) > LOOKED_AT:
                half = len(places) // 2
                self.parse(places[:half], looked_at)
                self.parse(places[half:], looked_at)
            else:
                self._look_at(places, texts)
            return
        self.batches.append(parsed.batch)
        self.places.append(places[parsed.positions()] if parsed.bad else places)
        self.bad.update({int(places[at]): why for at, why in parsed.bad.items()})

    def _look_at(self, places: np.ndarray, texts: list[bytes]) -> None:
        faults = [self._fault(text) for text in texts]
        good = [at for at, fault in enumerate(faults) if fault is None]
        if good:
            self.parse(places[good], True)
        for at, fault in enumerate(faults):
            if fault:
                self.bad[int(places[at])] = fault
            elif fault is not None:
                self.parse(places[at : at + 1], True)

    def _fault(self, text: bytes) -> str | None:
        if self._faults is None:
            from beamsplit.transforms.read.json_faults import Faults

            self._faults = Faults(self._schema, self._rules.declared, self._rules.depths)
        why = self._faults.of(text)
        return _told(why) if why else why


def _told(why: str) -> str:
    return f"no such JSON object: {why}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    text = text.removeprefix("JSON parse error: ").removesuffix(" in row 0")
    return _OTHER_KIND.sub(r"field '\1' holds a value of kind \3, and is of kind \2", text)


_OTHER_KIND = re.compile(r"Column\(/([^)]*?)(?:/\[\])*\) changed from (\w+) to (\w+)")
"""How Arrow says that a field holds another kind of value (boolean, number, string, array, object) than it should."""


def _attempt(text: bytes, rows: int, schema: pa.Schema, rules: Rules) -> Parsed:
    """All lines together; where they do not parse, with values as deep in lists as their columns are.

    Raises:
        pa.ArrowInvalid: a line is bad.
        UnicodeDecodeError: one is not UTF-8.
    """
    try:
        return _parse_rows(text, rows, schema, rules)
    except pa.ArrowInvalid:
        if not rules.depths or lines.count_objects(text) != rows:
            raise
        read_text(text, pa.schema([]))  # only where all is JSON can places in it be found
        deep = to_depth(text, rules.depths)
        if deep is None:
            raise
    return _parse_rows(deep, rows, schema, rules)


def _parse_rows(text: bytes, rows: int, schema: pa.Schema, rules: Rules = PLAIN) -> Parsed:
    # pyarrow takes a line `null` for a row, and crashes where there is no other: every line must be an object.
    if lines.count_objects(text) != rows:
        raise pa.ArrowInvalid("a line must be one JSON object, {...}")
    text.decode("utf-8")
    raw = [f.name for f in schema if isinstance(f.type, pa.JsonType)]
    parsed_here = pa.schema([f for f in schema if f.name not in raw]) if raw else schema
    try:
        table = read_alike(text, rows, _as_read(parsed_here), read_text)
    except pa.ArrowInvalid:
        texts = [f.name for f in schema if f.name in rules.declared and not pa.types.is_nested(f.type)]
        if not texts:
            raise
        from beamsplit.transforms.read.json_types import as_texts

        table = read_text(text, pa.schema([f for f in parsed_here if f.name not in texts]))
        found = as_texts(text, texts)
        for name in texts:
            table = table.append_column(name, found[name]) if table.num_columns else pa.table({name: found[name]})
    if table.num_rows != rows:
        raise pa.ArrowInvalid("a line must be one JSON object, {...}")
    if not len(schema):
        return Parsed(pa.RecordBatch.from_struct_array(pa.array([{}] * rows, type=pa.struct([]))), rows)
    if raw:
        from beamsplit.transforms.read.json_slices import value_texts

        values = value_texts(text, rows, raw)
        as_json = [pa.ExtensionArray.from_storage(pa.json_(), values[name]) for name in raw]
        table = pa.table([*table.columns, *as_json], [*table.column_names, *raw])
    wide = _wide_numbers(text, rows, table, schema, rules)
    for at, name in enumerate(table.column_names):
        if name in schema.names and schema.field(name).type == pa.float16():
            table = table.set_column(at, name, table.column(at).cast(pa.float16()))
    parsed = conform(table.combine_chunks().to_batches()[0], schema)
    return parsed.without(wide) if wide else parsed


def _wide_numbers(text: bytes, rows: int, table: pa.Table, schema: pa.Schema, rules: Rules) -> dict[int, str]:
    """Rows with a number that its column does not hold, and why."""
    from beamsplit.transforms.read.json_slices import value_texts
    from beamsplit.transforms.read.wide_numbers import unheld

    found: dict[int, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type) or pa.types.is_nested(column.type):
            whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            written = lambda name=name: value_texts(text, rows, [name])[name]  # noqa: E731
            wrong = unheld(whole, written, schema.field(name).type, rules.narrow, rules.fed.get(name))
            for row, why in wrong.items():
                found.setdefault(row, f"column {name!r}: {why}")
    return found


def read_text(text: bytes, schema: pa.Schema | None) -> pa.Table:
    """Lines, each an object, as columns: those of a schema, or all that there are.

    Raises:
        pa.ArrowInvalid: a line is no JSON, or a value of another type.
    """
    from pyarrow import json

    parse_options = (
        json.ParseOptions()
        if schema is None
        else json.ParseOptions(explicit_schema=_as_read(schema), unexpected_field_behavior="ignore")
    )
    return json.read_json(
        pa.BufferReader(text),
        read_options=json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=parse_options,
    )


def _as_read(schema: pa.Schema) -> pa.Schema:
    """The types to parse as, where the JSON reader has none for the type that is wanted."""
    return pa.schema([pa.field(f.name, _readable(f.type)) for f in schema])


def _readable(kind: pa.DataType) -> pa.DataType:
    if kind == pa.float16():
        return pa.float32()
    if isinstance(kind, pa.BaseExtensionType):
        return _readable(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _readable(kind.value_type)
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _readable(f.type)) for f in kind])
    if pa.types.is_nested(kind) and not pa.types.is_map(kind):
        return pa.list_(_readable(kind.value_type))
    return kind


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=schema)
