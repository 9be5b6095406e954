"""Kept columns that nothing reads: they come out as they went in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.transforms.block import with_origin_schema
from beamsplit.transforms.chain import chain_schema
from beamsplit.transforms.read.json_rows import MIXED, WIDE
from beamsplit.transforms.step import Step
from beamsplit.transforms.user_function import UserFunction


def only_kept(
    binding: BindingOptions, signature: Signature, schema: pa.Schema, prepare: Sequence[Step]
) -> tuple[str, ...]:
    """The `--keep` columns that neither an input of the model nor a step of `--prepare` reads, in their order.

    A function of the user's own in `--prepare` is taken to read every column.
    """
    if any(isinstance(step, UserFunction) for step in prepare):
        return ()
    read = read_by_name(signature, binding.columns, binding.set)
    kept = [name for name in binding.keep if name in schema.names and name not in read]
    return tuple(name for name in kept if not prepare or _passes(name, schema, prepare))


def read_by_name(
    signature: Signature, columns: Mapping[str, Sequence[str]], sets: Collection[str] | Mapping[str, str]
) -> set[str]:
    """The columns that inputs take by name, also where they are kept."""
    read = {name for names in columns.values() for name in names}
    return read | {spec.name for spec in signature.inputs if spec.name not in columns and spec.name not in sets}


def _passes(name: str, schema: pa.Schema, prepare: Sequence[Step]) -> bool:
    """Whether the steps do the same without the column."""
    prepared = chain_schema(prepare, with_origin_schema(schema))
    try:
        without = chain_schema(prepare, with_origin_schema(schema.remove(schema.get_field_index(name))))
    except UsageError:
        return False
    return list(without) == [field for field in prepared if field.name != name]


def as_json(schema: pa.Schema, names: Collection[str], text: bool) -> pa.Schema:
    """The schema of JSON Lines with these columns as types that hold every value as it is, or as JSON text.

    Texts, whole numbers and bools have such types, and lists of them. Objects have none: a key may be missing or null,
    or come late. Numbers with fractions have none but in JSON and CSV, which are text themselves (`text`): elsewhere
    they are float64, unless there are whole ones that it does not hold.
    """
    return pa.schema([pa.field(f.name, _kept_json(f, text) if f.name in names else f.type) for f in schema])


def _kept_json(field: pa.Field, text: bool) -> pa.DataType:
    marks = field.metadata or {}
    return pa.json_() if MIXED in marks or WIDE in marks else _json_type(field.type, text)


def _json_type(kind: pa.DataType, text: bool) -> pa.DataType:
    if pa.types.is_list(kind):
        inner = _json_type(kind.value_type, text)
        return inner if isinstance(inner, pa.JsonType) else pa.list_(inner)
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_string(kind) or pa.types.is_int64(kind) or pa.types.is_boolean(kind):
        return kind
    return pa.float64() if pa.types.is_float64(kind) and not text else pa.json_()


def as_texts(schema: pa.Schema, names: Collection[str]) -> pa.Schema:
    """The schema with these columns as text."""
    return pa.schema([pa.field(f.name, pa.string()) if f.name in names else f for f in schema])
