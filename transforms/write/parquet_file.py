"""Parquet files, written block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats.interfaces import Rows
from beamsplit.transforms.write.plain_columns import is_plain
from beamsplit.transforms.write.storage import local_path, open_input

ROW_GROUP_ROWS = 128 * 1024
ROW_GROUP_BYTES = 64 << 20
MAX_ROW_GROUP_ROWS = 1 << 20


class ParquetFile:
    """Collects small blocks into row groups; a block that is large by itself is written at once.

    A row group is written as soon as `ROW_GROUP_ROWS` rows or `ROW_GROUP_BYTES` bytes wait: that bounds the
    memory, and is large enough that a reader's cost for each row group does not show.
    """

    def __init__(self, out: Any, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._schema = schema = parquet_schema(schema)
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0
        self._file = out
        # CPU seconds per 1M float32 predictions: 0.045 with dictionaries, which never pay as values hardly repeat,
        # 0.007 without; none, lz4 and snappy compression, with statistics or not, then differ by noise.
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression="snappy",
            use_dictionary=[field.name for field in schema if _repeats(field.type)],
            write_statistics=[path for field in schema for path in _with_statistics(field)],
        )

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block of the file's schema."""
        if not block.num_rows:
            return
        self._pending.append(self._convert(block))
        self._rows += block.num_rows
        self._bytes += block.nbytes
        if self._rows >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what waits and the footer."""
        self._flush()
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        """Let go of the file, whose content is of no use."""
        self._pending.clear()
        self._writer.close()
        self._file.close()

    def _convert(self, block: pa.RecordBatch) -> pa.RecordBatch:
        columns = []
        for field, column in zip(self._schema, block.columns, strict=True):
            if isinstance(column, pa.FixedShapeTensorArray) and column.null_count:
                raise ValueError(
                    f"column [{field.name}] has {column.null_count} null tensors in a block, which Arrow does not read "
                    "back from Parquet; leave it out of --keep, or write .jsonl or .csv"
                )
            if pa.types.is_dictionary(column.type) and column.dictionary.null_count:
                column = _without_null_entries(column)
            columns.append(column if column.type == field.type else column.cast(field.type))
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _flush(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, row_group_size=min(self._rows, MAX_ROW_GROUP_ROWS))
        self._pending, self._rows, self._bytes = [], 0, 0


open_file = ParquetFile


def merge(out: Any, schema: pa.Schema, parts: Sequence[Rows]) -> None:
    """Write rows of files to one, row group by row group."""
    merged = ParquetFile(out, schema)
    for path, start, stop, _ in parts:
        for block in read_parquet_rows(path, start, stop):
            merged.write(block)
    merged.close()


def check_field(field: pa.Field) -> None:
    """Raise for a column that cannot be written, or not be read again."""
    if is_plain(field.type):
        return
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    written = parquet_schema(pa.schema([field]))
    pq.write_table(pa.table([pa.nulls(2, written.field(0).type)], schema=written), sink)
    # Arrow writes some types that it does not read.
    pq.read_table(pa.BufferReader(sink.getvalue()))


def _without_null_entries(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values with those null that are a null of the dictionary, which Arrow does not write."""
    kind = column.type
    anew = column.dictionary_decode().dictionary_encode()
    return pa.DictionaryArray.from_arrays(anew.indices.cast(kind.index_type), anew.dictionary, ordered=kind.ordered)


def parquet_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of the files: as it is, but fixed-size lists become lists.

    Arrow writes a fixed-size list that is null, and then fails to read the file. Tensors stay as they are:
    predictions have no nulls.
    """
    fields = [field.with_type(_readable(field.type)) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def read_parquet_rows(path: str, start: int, stop: int) -> Iterator[pa.RecordBatch]:
    """Rows [start, stop) of a file, one row group in memory at a time."""
    import pyarrow.parquet as pq

    local = local_path(path)
    with pq.ParquetFile(local if local is not None else open_input(path), memory_map=local is not None) as file:
        first = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            begin, end = max(start - first, 0), min(stop - first, rows)
            if begin < end:
                table = file.read_row_group(group, use_threads=False)
                yield from table.slice(begin, end - begin).to_batches()
            first += rows


def _readable(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_fixed_size_list(type_) or pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(_readable(type_.value_type)))
    if pa.types.is_large_list(type_):
        return pa.large_list(type_.value_field.with_type(_readable(type_.value_type)))
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(_readable(field.type)) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(type_.key_field, type_.item_field.with_type(_readable(type_.item_type)), type_.keys_sorted)
    return type_


def _repeats(type_: pa.DataType) -> bool:
    """Whether a column's values are likely to repeat: names, labels and paths do, predictions do not."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return any(is_kind(type_) for is_kind in kinds)


def _with_statistics(field: pa.Field, above: str = "") -> list[str]:
    """The Parquet columns of a column whose least and greatest values are told; not of lists and tensors.

    No reader leaves out rows by the elements of their lists, and of embeddings finding these is a fifth of writing.
    """
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if pa.types.is_struct(kind):
        return [path for inner in kind for path in _with_statistics(inner, f"{above}{field.name}.")]
    return [] if pa.types.is_nested(kind) else [above + field.name]
