"""Arrow IPC streams as messages: each a schema and record batches of any number of rows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beamsplit.transforms.kafka.parsed import EMPTY, ParsedRows
from beamsplit.transforms.read.json_depth import Depths
from beamsplit.transforms.read.result import conform

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What a stream ends with."""


def parse_arrow(values: pa.Array, schema: pa.Schema, depths: Mapping[str, Depths] = MappingProxyType({})) -> ParsedRows:
    """Values (binary) as rows of the schema; a message may hold several rows, or none.

    Columns of `depths` that are one value a row may hold them in lists of one, or plain where the schema has lists.
    """
    texts = values.to_pylist()
    together = _together(texts, schema, depths)
    if together is not None:
        return together
    batches, sources, bad = [], [], {}
    for number, text in enumerate(texts):
        try:
            batch = _conform(_read(text), schema, depths)
        except (pa.ArrowException, OSError, ValueError) as error:
            bad[number] = EMPTY if text is None else f"no Arrow stream of the schema: {' '.join(str(error).split())}"
            continue
        batches.append(batch)
        sources.append(np.full(batch.num_rows, number))
    if not batches:
        return ParsedRows(pa.RecordBatch.from_pylist([], schema=schema), np.empty(0, np.int64), bad)
    return ParsedRows(pa.concat_batches(batches), np.concatenate(sources), bad)


def _together(texts: list[bytes | None], schema: pa.Schema, depths: Mapping[str, Depths]) -> ParsedRows | None:
    """All messages as one stream, where they begin with one schema and hold a row each; else None.

    schema | batch | end     schema | batch | end     ->     schema | batch | batch | end
    """
    first = texts[0] if texts else None
    if first is None or first[:4] != END[:4]:
        return None
    head = first[: 8 + int.from_bytes(first[4:8], "little")]
    tail = len(END)
    if not all(text is not None and text.startswith(head) and text.endswith(END) for text in texts):
        return None
    begin = len(head)
    stream = b"".join([head, *(text[begin:-tail] for text in texts if text is not None), END])
    try:
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            batches = list(reader)
        if len(batches) != len(texts) or any(batch.num_rows != 1 for batch in batches):
            return None
        return ParsedRows(_conform(pa.concat_batches(batches), schema, depths), None, {})
    except (pa.ArrowException, OSError, ValueError):
        return None  # Some message is bad: they are read one by one.


def _read(text: bytes | None) -> pa.RecordBatch:
    if text is None:
        raise ValueError(EMPTY)
    source = pa.BufferReader(text)
    with pa.ipc.open_stream(source) as reader:
        table = reader.read_all()
    if source.tell() < source.size():
        raise ValueError(f"it goes on behind its stream, from byte {source.tell():,}")
    table.validate(full=True)
    return pa.concat_batches(table.to_batches()) if table.num_rows else pa.RecordBatch.from_pylist([], table.schema)


def _conform(batch: pa.RecordBatch, schema: pa.Schema, depths: Mapping[str, Depths]) -> pa.RecordBatch:
    columns = [column.storage if isinstance(column, pa.ExtensionArray) else column for column in batch.columns]
    if depths:
        columns = [
            _at_depth(column, depths[name].column) if name in depths and depths[name].least == 0 else column
            for name, column in zip(batch.schema.names, columns, strict=True)
        ]
    parsed = conform(pa.RecordBatch.from_arrays(columns, names=batch.schema.names), schema)
    if parsed.bad:
        raise ValueError(parsed.bad[min(parsed.bad)].replace("in this file", "in the message"))
    return parsed.batch


def _at_depth(column: pa.Array, wanted: int) -> pa.Array:
    """A column of one value a row, in as many lists as are wanted; as it is where rows hold several values, or none.

    >>> _at_depth(pa.array([[1.5], None]), 0).to_pylist(), _at_depth(pa.array([1.5, None]), 1).to_pylist()
    ([1.5, None], [[1.5], None])
    """
    kind, deep = column.type, 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, deep = kind.value_type, deep + 1
    while deep > wanted and all(length in (1, None) for length in pc.list_value_length(column).unique().to_pylist()):
        inner = column.flatten()
        if column.null_count:
            places = np.where(column.is_valid(), np.cumsum(column.is_valid()) - 1, 0)
            inner = inner.take(pa.array(places, mask=np.asarray(column.is_null())))
        column, deep = inner, deep - 1
    while deep < wanted:
        offsets = pa.array(np.arange(len(column) + 1, dtype=np.int32))
        column = pa.ListArray.from_arrays(offsets, column, mask=column.is_null() if column.null_count else None)
        deep += 1
    return column


def arrow_messages(block: pa.RecordBatch) -> list[bytes]:
    """Each row as an IPC stream of its own."""
    made = []
    for row in range(block.num_rows):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, block.schema) as writer:
            writer.write_batch(block.slice(row, 1))
        made.append(sink.getvalue().to_pybytes())
    return made
