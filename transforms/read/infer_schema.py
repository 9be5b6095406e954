"""The columns of all the files together: one type for each, the same whichever file comes first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FORMATS, Format
from beamsplit.transforms.formats.interfaces import ObjectReader
from beamsplit.transforms.read.compression import DamagedFile, kind_by_name
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.read.unify import unify_types

T = TypeVar("T")

MOST_REMOTE = 64
"""Of how many files that are not local the schemas are looked at before the job starts."""

SAMPLE_BYTES = 1 << 20
"""Text looked at in a file, where there are few of them."""

TEXT_BYTES = 4 << 20
"""Text looked at in all the files together, about."""

LEAST_BYTES = 16 << 10
"""Text looked at in a file, however many there are."""

UNREADABLE = b"unreadable"
"""Metadata of a field whose values no Arrow type holds: why."""

SIDE_BY_SIDE = 16
"""Files opened at a time."""


class NoColumns(UsageError):
    """All files are of text, and empty."""


@dataclass(frozen=True)
class InferredSchema:
    """What the files have for columns."""

    schema: pa.Schema
    """Every column of every file, in the order in which they turn up."""

    wrong: dict[str, str] = field(default_factory=dict)
    """Column -> why it cannot be read: no type holds what files have."""

    missing: dict[str, str] = field(default_factory=dict)
    """Column -> which file lacks it."""

    unlike: dict[str, str] = field(default_factory=dict)
    """Column -> which files have it of which types, in words."""

    empty: frozenset[str] = frozenset()
    """Columns of CSV files that have no value in any of them; they are of type string."""

    orders: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(a file, its columns), for each order of columns that there is; nothing where there is one."""

    def explain(self, error: UsageError) -> UsageError:
        """The error, with what the files have where it names a column that is not of one type in all of them."""
        named = [name for name in {**self.unlike, **self.wrong} if repr(name) in str(error)]
        if not named:
            return error
        if named[0] in self.wrong:
            return UsageError(self.wrong[named[0]])
        return UsageError(f"{error}; {self.unlike[named[0]]}")

    def check_order(self, columns: Sequence[str], what: str) -> None:
        """Raise if files have these columns in unlike orders, and `what` takes them in that of the file.

        Raises:
            UsageError: they have.
        """
        orders: dict[tuple[str, ...], str] = {}
        for path, names in self.orders:
            orders.setdefault(tuple(name for name in names if name in columns), path)
        if len(orders) > 1:
            told = " and ".join(f"{', '.join(names)} in {path}" for names, path in list(orders.items())[:2])
            raise UsageError(f"{what} takes columns in the order of the file, {told}: name them with --columns")

    def check(self, needed: Collection[str]) -> None:
        """Raise for a column that is needed and cannot be read.

        Raises:
            UsageError: there is one.
        """
        for name in needed:
            why = self.wrong.get(name) or self.missing.get(name)
            if why:
                raise UsageError(why)

    def declared(self, types: Mapping[str, pa.DataType], format: str) -> InferredSchema:
        """The same with columns of declared types, which files that disagree on them may be cast to.

        Raises:
            UsageError: there is no such column, or what files have in it cannot be made of that type.
        """
        for name, kind in types.items():
            _check_declared(name, kind, self, format)
        fields = [pa.field(f.name, types[f.name]) if f.name in types else f for f in self.schema]
        wrong = {name: why for name, why in self.wrong.items() if name not in types}
        unlike = {name: why for name, why in self.unlike.items() if name not in types}
        empty = self.empty - set(types)
        return replace(self, schema=pa.schema(fields), wrong=wrong, unlike=unlike, empty=empty)


def input_schema(inputs: Sequence[InputFile], format: str) -> pa.Schema:
    """The columns of the data, of which each can be read.

    Raises:
        UsageError: as `infer_schema`, or files disagree on a column.
    """
    found = infer_schema(inputs, format)
    found.check(found.schema.names)
    return found.schema


def infer_schema(inputs: Sequence[InputFile], format: str) -> InferredSchema:
    """The columns of a sample of the files: of Parquet and Arrow by their schemas, of text by the heads of files.

    Raises:
        NoColumns: no file has columns.
        UsageError: a file is not of the format.
    """
    kind = FORMATS[format]
    if kind.files:
        return InferredSchema(cast(pa.Schema, kind.reader.schema(InputFile("", 0), 0)))
    if inputs and inputs[0].table is not None:
        schema = inputs[0].table.schema
        return InferredSchema(_plain_fields(schema), wrong=_unreadable(inputs[0], schema))
    _check_not_empty(inputs, format)
    seen = sampled(inputs, format)
    head = max(LEAST_BYTES, min(SAMPLE_BYTES, TEXT_BYTES // max(1, len(seen))))
    if kind.objects:
        schema = _of_objects(seen, kind, head)
        return InferredSchema(_named(inputs, schema))
    found = [
        (file, schema)
        for file, schema in zip(seen, _each(lambda file: _schema(file, format, head), seen), strict=True)
        if schema is not None
    ]
    if not found:
        given = next((file.header for file in inputs if isinstance(file.header, tuple)), None)
        schema = None if given is None else pa.schema([pa.field(name, pa.null()) for name in given])
        return _filled(InferredSchema(_named(inputs, schema)))
    unreadable = {name: why for file, schema in found for name, why in _unreadable(file, schema).items()}
    together = _together([(file, _plain_fields(schema)) for file, schema in found], kind.text)
    return replace(together, wrong={**unreadable, **together.wrong}) if unreadable else together


def _unreadable(file: InputFile, schema: pa.Schema) -> dict[str, str]:
    """The columns of which the file's values have no type of Arrow, and why."""
    return {
        field.name: f"column {field.name!r} of {file.path} is {field.metadata[UNREADABLE].decode()}"
        for field in schema
        if UNREADABLE in (field.metadata or {})
    }


def _plain_fields(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, field.type) for field in schema])


def _check_declared(name: str, kind: pa.DataType, inferred: InferredSchema, format: str) -> None:
    from beamsplit.transforms.read.cast import CannotCast, cast_exactly

    names = inferred.schema.names
    if FORMATS[format].files:
        raise UsageError(f"--types names {name!r}, and each file is a row of path and bytes; leave --types out")
    if name not in names:
        more = ", ..." if len(names) > 20 else ""
        raise UsageError(
            f"--types names {name!r}, and the data has the columns {', '.join(names[:20])}{more}; name one of them"
        )
    if FORMATS[format].cells and pa.types.is_nested(kind):
        raise UsageError(f"--types {name}:{kind}: a cell of CSV is no list; give it a type of single values")
    if FORMATS[format].text or name in inferred.wrong:
        return  # Texts may hold anything.
    have = inferred.schema.field(name).type
    try:
        cast_exactly(pa.nulls(0, have), kind)
    except CannotCast:
        raise UsageError(
            f"--types {name}:{kind}: the column is {have} in the files, of which no {kind} can be made; name another"
        ) from None


def _check_not_empty(inputs: Sequence[InputFile], format: str) -> None:
    """A text file may well be empty; others are not even then."""
    for file in inputs:
        kind = kind_by_name(file.path) or (None if FORMATS[format].text else format)
        if not file.size and kind:
            raise UsageError(
                f"{file.path} has 0 bytes, and a {kind} file has some even without rows, so it was not written to its "
                "end: write it again, or leave it out"
            )


def sampled(inputs: Sequence[InputFile], format: str) -> list[InputFile]:
    """The files that are looked at: all, or as many as are allowed, spread evenly."""
    full = [file for file in inputs if file.size]
    most = FORMATS[format].most_files if all(is_local(file.path) for file in full) else MOST_REMOTE
    if len(full) <= most:
        return full
    return [full[at * (len(full) - 1) // (most - 1)] for at in range(most)]


def _each(look: Callable[[InputFile], T], seen: Sequence[InputFile]) -> list[T]:
    """What each file gives, a few files at a time."""
    if len(seen) < SIDE_BY_SIDE:
        return [look(file) for file in seen]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return list(pool.map(look, seen))


def _named(inputs: Sequence[InputFile], schema: pa.Schema | None) -> pa.Schema:
    if schema is not None:
        return schema
    names = ", ".join(file.path for file in inputs[:3]) + (", ..." if len(inputs) > 3 else "")
    raise NoColumns(f"the inputs ({names}) are all empty, so their columns are not known: give files with data")


def _schema(file: InputFile, format: str, head: int) -> pa.Schema | None:
    schema: pa.Schema | None = _opened(file, format, lambda: FORMATS[format].reader.schema(file, head))
    if schema is None:
        return None
    twice = (
        [name for name in schema.names if schema.names.count(name) > 1] if len(set(schema.names)) < len(schema) else []
    )
    if twice:
        raise UsageError(f"{file.path} has several columns named {twice[0]!r}: give each its own name")
    return schema


def _opened(file: InputFile, format: str, look: Callable[[], T]) -> T:
    try:
        return look()
    except DamagedFile:
        raise
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        if isinstance(error, (FileNotFoundError, PermissionError)):
            raise UsageError(f"{file.path} cannot be opened: {error.strerror}") from error
        raise UsageError(
            f"{file.path} cannot be read as {format}: {' '.join(str(error).split())}; is it another --input_format?"
        ) from error


def _of_objects(seen: Sequence[InputFile], kind: Format, head: int) -> pa.Schema | None:
    """The fields of the objects of all the files together: what most of them have in a field is its type."""
    look = cast(ObjectReader, kind.reader)
    objects = _each(lambda file: _opened(file, kind.name, lambda: look.objects(file, head)), seen)
    return look.schema_of([one for some in objects for one in some])


def _together(found: Sequence[tuple[InputFile, pa.Schema]], text: bool) -> InferredSchema:
    first = found[0][1]
    others = [(file, schema) for file, schema in found if schema != first]
    wrong: dict[str, str] = {}
    missing: dict[str, str] = {}
    unlike: dict[str, str] = {}
    if not others:
        return _filled(InferredSchema(first)) if text else InferredSchema(first)
    # Files of one schema are many, schemas few.
    kinds: dict[pa.Schema, InputFile] = {}
    for file, schema in found:
        kinds.setdefault(schema, file)
    fields = []
    for name in dict.fromkeys(name for schema in kinds for name in schema.names):
        types = {schema.field(name).type: file for schema, file in kinds.items() if name in schema.names}
        lacking = [(file, schema) for schema, file in kinds.items() if name not in schema.names]
        one = unify_types(types, text)
        if len(types) > 1:
            unlike[name] = _which(name, list(types)[:2], types)
        if one is None:
            wrong[name] = _disagree(name, types)
            one = _any_of(types)
        if lacking:
            file, schema = lacking[0]
            missing[name] = (
                f"column {name!r} of {next(iter(types.values())).path} is missing in {file.path} (it has "
                f"{', '.join(schema.names)}): read files of one schema together"
            )
        fields.append(pa.field(name, one))
    schema = pa.schema(fields)
    orders = tuple((file.path, tuple(schema.names)) for schema, file in kinds.items())
    inferred = InferredSchema(schema, wrong, missing, unlike, orders=orders)
    return _filled(inferred) if text else inferred


def _which(name: str, kinds: Sequence[pa.DataType], types: dict[pa.DataType, InputFile]) -> str:
    one, other = sorted(kinds, key=lambda kind: types[kind].path)
    return f"column {name!r} is {one} in {types[one].path}, but {other} in {types[other].path}"


def _disagree(name: str, types: dict[pa.DataType, InputFile]) -> str:
    pairs = [(a, b) for a in types for b in types if a != b and unify_types([a, b]) is None]
    return (
        f"{_which(name, pairs[0] if pairs else list(types)[:2], types)}, and no type holds both: say which it should "
        f"be with --types '{name}:TYPE' (other values then go to --errors), or read files of one schema together"
    )


def _any_of(types: Iterable[pa.DataType]) -> pa.DataType:
    """One of the types, whatever their order: numbers before others, so that it can be bound and then refused."""
    return min(types, key=lambda kind: (not pa.types.is_primitive(kind), str(kind)))


def _filled(inferred: InferredSchema) -> InferredSchema:
    """Columns of text files without any value yet are taken for strings."""
    empty = frozenset(f.name for f in inferred.schema if pa.types.is_null(f.type))
    schema = pa.schema([pa.field(f.name, pa.string()) if f.name in empty else f for f in inferred.schema])
    return replace(inferred, schema=schema, empty=empty)
