"""Columns that are none of the files' own: fields of structs (`image.bytes`), and what the folders' names tell.

data/date=2026-11-01/part.parquet      image: struct<bytes, path>     ->  image.bytes, date
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.block import ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.read.inputs import InputFile, paths_with_folders
from beamsplit.transforms.read.result import NO_DERIVED, Derived, ReadFailure, ReadOptions, ReadResult, conform

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What stands in a folder's name for null."""


def with_derived(
    schema: pa.Schema, files: Sequence[InputFile], asked: Iterable[str]
) -> tuple[pa.Schema, Derived, tuple[str, ...]]:
    """The schema with the columns that are derived, which they are, and lines for the user.

    A column of the files wins over one that would be derived under its name.

    Args:
        schema: of the files.
        files: of the input.
        asked: names that the user or the model gives: fields of structs are columns only where they are asked for.

    Raises:
        UsageError: the name of a folder is no text.
    """
    asked = list(dict.fromkeys(asked))
    fields: dict[str, tuple[str, ...]] = {}
    more: list[pa.Field] = []
    for name in asked:
        found = None if name in schema.names else _find_field(list(schema), name)
        if found is not None:
            fields[name] = found[0]
            more.append(pa.field(name, found[1]))
    partitions = partition_types(paths_with_folders(files))
    clash = [name for name in partitions if name in schema.names and name in asked]
    notes = tuple(
        f"the files have a column {name!r}, which is read; that of their folders' names is not" for name in clash
    )
    new = {name: kind for name, kind in partitions.items() if name not in schema.names and name not in fields}
    more += [pa.field(name, kind) for name, kind in new.items()]
    if not more:
        return schema, NO_DERIVED, notes
    return pa.schema([*schema, *more]), Derived(tuple(fields.items()), tuple(new)), notes


def _find_field(fields: Sequence[pa.Field], name: str) -> tuple[tuple[str, ...], pa.DataType] | None:
    """The way through structs to the field that `a.b.c` names, and its type; a name with dots in it comes first."""
    for field in fields:
        if field.name == name:
            return (name,), field.type
    for field in sorted(fields, key=lambda field: -len(field.name)):
        if name.startswith(field.name + ".") and pa.types.is_struct(field.type):
            below = _find_field(list(field.type), name[len(field.name) + 1 :])
            if below is not None:
                return (field.name, *below[0]), below[1]
    return None


def declared_fields(schema: pa.Schema, types: Mapping[str, pa.DataType], format: str) -> list[str]:
    """Those of the declared columns that are fields of structs.

    Args:
        schema: of the files.
        types: as declared.
        format: of the files.

    Raises:
        UsageError: no such type can be made of what the field is.
    """
    from beamsplit.transforms.read.cast import CannotCast, cast_exactly

    found = []
    for name, kind in types.items():
        field = None if name in schema.names else _find_field(list(schema), name)
        if field is None:
            continue
        try:
            cast_exactly(pa.nulls(0, field[1]), kind)
        except CannotCast:
            raise UsageError(
                f"--types {name}:{kind}: the field is {field[1]} in the {format} files, of which no {kind} can be "
                "made; name another"
            ) from None
        found.append(name)
    return found


_KEY_VALUE = re.compile(r"([^/=]+)=([^/]*)/")


@lru_cache(maxsize=4096)
def partition_values(path: str) -> dict[str, str | None]:
    """What `name=value` folders of a path tell, by name; null where Hive writes that there is no value.

    >>> partition_values("data/day=2026-11-01/city=S%C3%A3o/part.parquet")
    {'day': '2026-11-01', 'city': 'São'}

    Raises:
        UsageError: what is escaped in a folder's name is no UTF-8.
    """
    if "=" not in path:
        return {}
    try:
        found = {
            unquote(name, errors="strict"): unquote(value, errors="strict") for name, value in _KEY_VALUE.findall(path)
        }
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the name of a folder is no UTF-8 ({error}); give it another") from error
    return {name: None if value == NO_VALUE else value for name, value in found.items()}


def partition_types(paths: Iterable[str]) -> dict[str, pa.DataType]:
    """The columns that the folders' names of all paths tell: whole numbers where all values are, else strings.

    int32 as pyarrow has it, int64 where the values are too large for that. `07` is the number 7.
    """
    return {name: _kind_of(values) for name, values in _texts_told(paths).items()}


def partition_codes(paths: Iterable[str]) -> set[str]:
    """The columns of whole numbers of which the folders' names tell more than the number: `07`.

    >>> partition_codes(["zip=01234/k=1/a.csv", "zip=99999/k=2/b.csv"])
    {'zip'}
    """
    told = _texts_told(paths)
    return {name for name, values in told.items() if any(_CODE.fullmatch(value) for value in values)}


_CODE = re.compile(r"-?0[0-9]+|-0")


def _texts_told(paths: Iterable[str]) -> dict[str, set[str]]:
    """Column -> what the folders' names of all paths tell, but for null."""
    texts: dict[str, set[str]] = {}
    for path in paths:
        if "=" not in path:
            continue
        for name, value in partition_values(path).items():
            texts.setdefault(name, set()).update(() if value is None else (value,))
    return texts


def _kind_of(values: set[str]) -> pa.DataType:
    if not values or not all(re.fullmatch(r"-?[0-9]{1,19}", value) for value in values):
        return pa.string()
    numbers = [int(value) for value in values]
    for kind, bits in ((pa.int32(), 31), (pa.int64(), 63)):
        if -(2**bits) <= min(numbers) and max(numbers) < 2**bits:
            return kind
    return pa.string()


def of_files(options: ReadOptions) -> ReadOptions:
    """What the files are asked for, so that `options.derived` can be made of it."""
    derived = options.derived
    if derived == NO_DERIVED:
        return options
    names = derived.of_files(options.schema.names if options.columns is None else options.columns)
    own = [field for field in options.schema if field.name not in derived.names]
    fed: dict[str, Any] = {name: kind for name, kind in options.fed if name not in derived.names}
    for name, way in derived.fields:
        if name in dict(options.fed):
            _put(fed, way, dict(options.fed)[name])
    return replace(options, schema=pa.schema(own), columns=names, derived=NO_DERIVED, fed=tuple(fed.items()))


def _put(fed: dict[str, Any], way: Sequence[str], kind: Any) -> None:
    """Say of the field at the end of a way through structs which float it is fed as."""
    for name in way[:-1]:
        fed = fed.setdefault(name, {})
    fed[way[-1]] = kind


def derive_all(results: Iterator[ReadResult], options: ReadOptions) -> Iterator[ReadResult]:
    """The results of reading `of_files(options)`, with the derived columns."""
    with closing(results):  # type: ignore[type-var]
        for result in results:
            yield result if result.block is None else derive(result.block, result.failures, options)


def derive(block: pa.RecordBatch, failures: list[ReadFailure], options: ReadOptions) -> ReadResult:
    """A block with the columns that are asked for, derived ones too; rows whose value has another type fail."""
    fields = dict(options.derived.fields)
    wanted = options.data_schema
    columns = []
    for field in wanted:
        if field.name in fields:
            columns.append(_field_of(block, fields[field.name]))
        elif field.name in options.derived.partitions:
            columns.append(_told(block, field))
        else:
            columns.append(block.column(field.name))
    parsed = conform(pa.RecordBatch.from_arrays(columns, names=wanted.names), wanted)
    origin = [block.column(ORIGIN_FILE), block.column(ORIGIN_ROW)]
    for at, reason in sorted(parsed.bad.items()):
        failures = [*failures, ReadFailure(origin[0][at].as_py(), origin[1][at].as_py(), reason)]
    if parsed.bad:
        keep = np.ones(block.num_rows, dtype=bool)
        keep[list(parsed.bad)] = False
        origin = [column.filter(pa.array(keep)) for column in origin]
    made = pa.RecordBatch.from_arrays([*parsed.batch.columns, *origin], schema=options.block_schema)
    return ReadResult(made if made.num_rows else None, failures)


def _field_of(block: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array:
    """The field at the end of a way through structs; null where a struct on the way is."""
    column = block.column(path[0])
    for name in path[1:]:
        column = column.flatten()[column.type.get_field_index(name)]
    return column


def _told(block: pa.RecordBatch, field: pa.Field) -> pa.Array:
    """What the folders' names tell of each row, in the type wanted where it has one."""
    from beamsplit.transforms.split import parse_origin_file

    origins = block.column(ORIGIN_FILE)
    texts = [partition_values(parse_origin_file(path)[0]).get(field.name) for path in origins.dictionary.to_pylist()]
    values = conform(pa.record_batch([pa.array(texts, pa.string())], names=[field.name]), pa.schema([field]))
    told = pa.array(texts, pa.string()) if values.bad else values.batch.column(0)
    return told.take(origins.indices)
