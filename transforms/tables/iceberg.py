"""Iceberg tables: the data files of a snapshot, with what the catalog's metadata tell of them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read.infer_schema import UNREADABLE
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.tables.iceberg_catalog import IcebergName, plain_path, told
from beamsplit.transforms.tables.iceberg_deletes import ByValue, plain_kind, rows_by_place, snapshot_files
from beamsplit.transforms.tables.table_file import TableFile, file_stamp
from beamsplit.transforms.where import Bounds, Node, may_match
from beamsplit.transforms.write.plain_columns import written_type

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table


@dataclass(frozen=True)
class IcebergSnapshot:
    """A snapshot of a table."""

    snapshot: int | None
    """Its number; None of a table that has none yet."""

    files: tuple[InputFile, ...]
    """Data files; one of 0 bytes, which is none, where there is none."""

    left_out: int = 0
    """Rows of files that no wanted row can be in, which are not among `files`."""


def snapshot_of(name: IcebergName, table: Table, option: str) -> int | None:
    """The number of the snapshot that is read.

    Raises:
        UsageError: there is no such snapshot, branch or tag.
    """
    if name.snapshot is None:
        current = table.current_snapshot()
        return None if current is None else int(current.snapshot_id)
    if name.snapshot in table.refs():
        return int(table.refs()[name.snapshot].snapshot_id)
    if name.snapshot.isdigit() and table.snapshot_by_id(int(name.snapshot)) is not None:
        return int(name.snapshot)
    known = ", ".join(str(one.snapshot_id) for one in table.snapshots()[-3:]) or "none"
    raise UsageError(f"{option} {name}: the table has no snapshot, branch or tag {name.snapshot}; the last are {known}")


def iceberg_schema(table: Table, snapshot: int | None, pinned: bool) -> Schema:
    """The columns of a snapshot: those that it was written with where it is asked for, else those of today."""
    if not pinned or snapshot is None:
        return table.schema()
    found = table.snapshot_by_id(snapshot)
    return table.schema() if found is None or found.schema_id is None else table.schemas()[found.schema_id]


def arrow_schema(table: Table, schema: Schema) -> pa.Schema:
    """The same in Arrow's types; columns whose values cannot be read right are marked."""
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    fields = []
    for told_field, field in zip(schema.fields, schema_to_pyarrow(schema, include_field_ids=False), strict=True):
        plain = pa.field(field.name, written_type(field.type, plain_kind))
        forms = {
            str(other.field_type)
            for one in table.schemas().values()
            for other in one.fields
            if other.field_id == told_field.field_id and not other.field_type.is_primitive
        }
        if len(forms) > 1:
            why = b"of lists or structs that were changed within, which is not read right from older files"
            plain = plain.with_metadata({UNREADABLE: why})
        if getattr(told_field, "initial_default", None) is not None:
            plain = plain.with_metadata(
                {UNREADABLE: b"of values that older files leave to a default, which is not read"}
            )
        fields.append(plain)
    return pa.schema(fields)


def iceberg_snapshot(
    name: IcebergName, table: Table, schema: pa.Schema, where: Node | None, option: str
) -> IcebergSnapshot:
    """The files of a table that is open, and what it tells of them.

    Args:
        name: of the table.
        table: from its catalog.
        schema: what `arrow_schema` gave for the snapshot.
        where: the condition that rows are kept by, bound to `schema`: files that hold no such row are left out.
        option: that it is named by.

    Raises:
        UsageError: it has what cannot be read right.
    """
    number = snapshot_of(name, table, option)
    own = iceberg_schema(table, number, name.snapshot is not None)
    mapped = _mapped_names(table)
    plain = TableFile(schema, ids=tuple((field.name, field.field_id) for field in own.fields), mapped=mapped)
    if number is None:
        return IcebergSnapshot(None, (InputFile(table.location(), 0, table=replace(plain, rows=0)),))
    try:
        found = snapshot_files(table, number)
    except Exception as error:  # Whatever a store tells, or a file of metadata that cannot be read.
        raise UsageError(f"{option} {name} cannot be read: {told(error)}") from error
    kept, left_out = [], 0
    by_place, by_value = rows_by_place(name, found, option), ByValue(name, table, found, option)
    for entry in found.data:
        path = file_of_table(name, entry.data_file, table.location(), option)
        constants = _constants(table, own, schema, entry.data_file)
        gone, values = by_place.get(path), by_value.of(entry)
        rows = int(entry.data_file.record_count) - (0 if gone is None else len(gone))
        if where is not None and not may_match(where, _bounds(own, schema, entry.data_file, constants)):
            left_out += 0 if values else rows
            continue
        left = None if values else rows
        file = replace(plain, constants=tuple(constants.items()), rows=left, deleted=gone, by_values=values)
        kept.append(InputFile(path, int(entry.data_file.file_size_in_bytes), file_stamp(path), table=file))
    if not kept:
        kept.append(InputFile(table.location(), 0, table=replace(plain, rows=0)))
    return IcebergSnapshot(number, tuple(sorted(kept, key=lambda file: file.path)), left_out)


def _mapped_names(table: Table) -> tuple[tuple[str, int], ...]:
    """What columns are called in files that do not tell their numbers."""
    mapping = table.name_mapping()
    found = [] if mapping is None else mapping.root
    return tuple((name, int(one.field_id)) for one in found if one.field_id is not None for name in one.names)


def file_of_table(name: IcebergName, file: DataFile, location: str, option: str) -> str:
    """The path of a data file that can be read as it is.

    Raises:
        UsageError: it is no Parquet, or lies elsewhere than the table.
    """
    kind = str(getattr(file.file_format, "name", file.file_format)).upper()
    if kind != "PARQUET":
        raise UsageError(
            f"{option} {name} has a data file of {kind.capitalize()}, and Parquet is read: rewrite its data files"
        )
    path, folder = plain_path(str(file.file_path)), plain_path(location)
    below = path.partition("://")[2] or path
    if posixpath.normpath(below) != below or not path.startswith(folder.rstrip("/") + "/"):
        raise UsageError(
            f"{option} {name} names the file {file.file_path!r}, which is not in the table's folder {location}; "
            "copy it there, or read such files by their names"
        )
    return path


def _scalar(value: Any, kind: pa.DataType) -> Any:
    """A value as Iceberg keeps it: days, microseconds, and others as they are."""
    if value is None:
        return pa.scalar(None, kind)
    if pa.types.is_temporal(kind) and isinstance(value, int):
        return pa.scalar(value, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    return pa.scalar(value, kind)


def _constants(table: Table, own: Schema, schema: pa.Schema, file: DataFile) -> Mapping[str, pa.Scalar]:
    """The values of columns by which a file's rows were put together, by value."""
    from pyiceberg.transforms import IdentityTransform

    found = {}
    by_id = {field.field_id: field.name for field in own.fields}
    for at, field in enumerate(table.specs()[file.spec_id].fields):
        if isinstance(field.transform, IdentityTransform) and field.source_id in by_id:
            name = by_id[field.source_id]
            found[name] = _scalar(file.partition[at], schema.field(name).type)
    return found


def _bounds(
    own: Schema, schema: pa.Schema, file: DataFile, constants: Mapping[str, pa.Scalar]
) -> Callable[[str], Bounds | None]:
    """What is known of a column of the file, by its name."""
    from pyiceberg.conversions import from_bytes

    by_name = {field.name: field for field in own.fields}
    rows = int(file.record_count)

    def find(name: str) -> Bounds | None:
        from pyiceberg.types import PrimitiveType

        if name in constants:
            value = constants[name]
            return Bounds(value, value, 0, rows, exact=True) if value.is_valid else Bounds(nulls=rows, rows=rows)
        field, kind = by_name.get(name), schema.field(name).type
        if field is None or not isinstance(field.field_type, PrimitiveType):
            return None
        number = field.field_id
        nulls = (file.null_value_counts or {}).get(number)
        least, most = ((bounds or {}).get(number) for bounds in (file.lower_bounds, file.upper_bounds))
        if least is None or most is None:
            return Bounds(None, None, nulls, rows if nulls is not None else None)
        try:
            compared = pa.float64() if pa.types.is_floating(kind) else kind
            ends = [_scalar(from_bytes(field.field_type, one), compared) for one in (least, most)]
        except (pa.ArrowException, ValueError, TypeError):
            return Bounds(None, None, nulls, rows)
        return Bounds(ends[0], ends[1], nulls, rows)

    return find
