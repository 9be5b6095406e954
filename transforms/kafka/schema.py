"""What a message holds: declared with `--schema`, or taken from what the model wants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Dim, Signature, TensorSpec
from beamsplit.models.independence.rows_axis import input_axes_candidates
from beamsplit.models.values.tensors import column_type, element_types, output_field

RAW_COLUMN = "bytes"
"""The column of `--format raw`, named as in an input whose rows are files."""

JSON = "json"
"""The type of `--schema` that holds any value of JSON, as its text."""

UNKNOWN_SIZE = 8
"""Items that sample rows have where a size may vary."""

SAMPLE_ROWS = 256
"""Sample rows to bind and to measure with."""

SAMPLE_BYTES = 16 << 20
"""Most bytes of sample rows."""

_FIELD = re.compile(r"\s*(?P<name>[^:,\s]+):(?P<dtype>\w+)(?:\[(?P<shape>[^\]]*)\])?\s*(?:,|$)")


def parse_schema(text: str) -> dict[str, TensorSpec]:
    """The fields of `name:type[shape],...`, each a row without its rows axis; `?` is a size that may vary.

    Types are those of tensors, `bytes`, and `json`: anything at all, kept as its text.

    >>> parse_schema("x:float32[3,?],id:int64")["x"].shape
    (3, None)

    Raises:
        UsageError: it is not of that form.
    """
    fields: dict[str, TensorSpec] = {}
    at = 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None:
            raise UsageError(f"--schema {text}: {text[at:]!r} is no field; write NAME:TYPE or NAME:TYPE[SIZE,...]")
        sizes = [part.strip() for part in (match["shape"] or "").split(",") if part.strip()]
        if not all(size == "?" or size.isdigit() for size in sizes):
            raise UsageError(f"--schema {text}: the sizes of {match['name']} are whole numbers, or ? where they vary")
        if match["dtype"] == JSON and (match["shape"] or "").strip():
            raise UsageError(
                f"--schema {text}: {match['name']}:{JSON} is any value of JSON and has no sizes; leave them out"
            )
        known = (*element_types(), "bytes", JSON)
        if match["dtype"] not in known:
            raise UsageError(f"--schema {text}: {match['dtype']!r} is no type; the types are {', '.join(known)}")
        if match["name"] in fields:
            raise UsageError(f"--schema {text} declares {match['name']} twice; leave one out")
        shape = tuple(None if size == "?" else int(size) for size in sizes)
        fields[match["name"]] = TensorSpec(match["name"], match["dtype"], shape)
        at = match.end()
    if not fields:
        raise UsageError("--schema is empty; write NAME:TYPE[SIZE,...],..., e.g. --schema x:float32[784],id:int64")
    return fields


def declared(spec: TensorSpec) -> str:
    """A field as `parse_schema` reads it.

    >>> declared(TensorSpec("x", "float32", (3, None)))
    'x:float32[3,?]'
    """
    sizes = ",".join("?" if size is None else str(size) for size in spec.shape or ())
    return f"{spec.name}:{spec.dtype}[{sizes}]" if sizes else f"{spec.name}:{spec.dtype}"


def wanted_fields(
    signature: Signature, columns: Mapping[str, Sequence[str]], sets: Mapping[str, str]
) -> dict[str, TensorSpec]:
    """The fields that fill the model's inputs: those of `columns`, else one of the input's name; a row each."""
    constants = frozenset(sets)
    candidates = input_axes_candidates(signature, constants)
    axes = candidates[0] if candidates else {}
    fields: dict[str, TensorSpec] = {}
    for spec in signature.inputs:
        if spec.name in constants:
            continue
        axis = axes.get(spec.name) or 0
        shape: tuple[Dim, ...] = () if spec.shape is None else (*spec.shape[:axis], *spec.shape[axis + 1 :])
        names = columns.get(spec.name, (spec.name,))
        row = shape if len(names) == 1 else ()
        sized = tuple(dim if isinstance(dim, int) else None for dim in row)
        fields.update({name: TensorSpec(name, spec.dtype, sized) for name in names})
    return fields


def message_schema(format: str, fields: Mapping[str, TensorSpec]) -> pa.Schema:
    """The columns that messages of a format become.

    Raises:
        UsageError: the format cannot hold such fields.
    """
    texts = [name for name, spec in fields.items() if spec.dtype == JSON]
    if texts and format != "json":
        raise UsageError(
            f"--schema {texts[0]}:{JSON} is a value of JSON, and --format {format} has none; "
            "declare its own type, or use --format json"
        )
    if format == "raw" and (len(fields) != 1 or next(iter(fields.values())).dtype not in ("bytes", "string")):
        raise UsageError(
            f"--format raw gives one column of bytes, {', '.join(map(str, fields.values()))} is wanted; "
            f"declare --schema {RAW_COLUMN}:bytes and make the model's inputs of it with --prepare, "
            "or use --format tensor for a tensor's bytes"
        )
    if format == "tensor":
        return pa.schema([_tensor_field(spec, fields) for spec in fields.values()])
    return pa.schema([_field(spec) for spec in fields.values()])


def _field(spec: TensorSpec) -> pa.Field:
    """Lists of any length: what a message holds is compared with the model when it is bound."""
    if spec.dtype == "bytes":
        if spec.shape:
            raise UsageError(f"--schema: {spec} cannot be a tensor of bytes; write {spec.name}:uint8[...]")
        return pa.field(spec.name, pa.binary())
    if spec.dtype == JSON:
        return pa.field(spec.name, pa.json_())
    if not spec.shape:
        return output_field(spec.name, spec.dtype, ())
    return output_field(spec.name, spec.dtype, None, len(spec.shape))


def _tensor_field(spec: TensorSpec, fields: Mapping[str, TensorSpec]) -> pa.Field:
    sizes = tuple(size for size in spec.shape or () if isinstance(size, int))
    if spec.dtype in ("bytes", "string"):
        raise UsageError(f"--format tensor holds numbers, {spec} is none; use --format json, arrow or raw")
    if len(sizes) == len(spec.shape or ()):
        return output_field(spec.name, spec.dtype, sizes)
    if len(fields) == 1 and len(spec.shape or ()) == 1 and spec.dtype != "bool":
        return output_field(spec.name, spec.dtype, None, 1)
    sized = [
        replace(one, shape=tuple(8 if size is None else size for size in one.shape or ())) for one in fields.values()
    ]
    raise UsageError(
        f"--format tensor wants the size of every axis (or one list of numbers and nothing else), and {spec} has none; "
        f"declare it, e.g. --schema {','.join(map(declared, sized))}"
    )


def sample_of(schema: pa.Schema, fields: Mapping[str, TensorSpec], seed: int = 0) -> pa.RecordBatch:
    """Made-up rows of the schema, to bind and to measure with: normal floats, integers 0 and 1, short strings."""
    sizes = {
        name: tuple(size if isinstance(size, int) else UNKNOWN_SIZE for size in spec.shape or ())
        for name, spec in fields.items()
    }
    rows = rows_to_draw(sizes)
    rng = np.random.default_rng(seed)
    arrays = [_made_up(field, (rows, *sizes[field.name]), rng) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def rows_to_draw(sizes: Mapping[str, tuple[int, ...]]) -> int:
    """How many rows are made up whose columns have these sizes a row: as many as fit into `SAMPLE_BYTES`."""
    row_bytes = sum(8 * int(np.prod(shape)) for shape in sizes.values())
    return max(4, min(SAMPLE_ROWS, SAMPLE_BYTES // max(1, row_bytes)))


def draw_values(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Made-up values of a type, as `TensorSpec` names it: normal floats, integers 0 and 1, short strings."""
    if dtype == "string":
        return np.array(["a", "b"], dtype=object)[rng.integers(0, 2, shape)]
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _made_up(field: pa.Field, shape: tuple[int, ...], rng: np.random.Generator) -> pa.Array:
    from beamsplit.models.values.tensors import ragged_to_arrow, to_arrow

    kind = column_type(field.type)
    if isinstance(field.type, pa.JsonType):
        return pa.ExtensionArray.from_storage(field.type, pa.array(["{}"] * shape[0], pa.string()))
    if kind is None:
        return pa.array([rng.bytes(16) for _ in range(shape[0])], field.type)
    values = draw_values(kind.dtype, shape, rng)
    return ragged_to_arrow(list(values), field) if None in kind.shape else to_arrow(values, field)
