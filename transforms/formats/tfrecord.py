"""TFRecord: records of TensorFlow's `tf.train.Example`, a row each.

    file      length (8 bytes), its checksum (4), a record, its checksum (4), the next ...
    record    {"image": bytes [...], "label": int64 [7], "weights": float [0.5, 0.25]}

A column has one value a row where each of the first rows has at most one, else lists; bytes that are text in each of
these are text. What a row lacks is null. https://www.tensorflow.org/tutorials/load_data/tfrecord
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import takewhile
from typing import Any, BinaryIO, cast

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats.row_buffer import in_blocks
from beamsplit.transforms.formats.row_starts import splits_between
from beamsplit.transforms.read.compression import DamagedFile
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.result import ReadOptions, ReadResult
from beamsplit.transforms.read.streams import is_compressed, is_local, open_stream
from beamsplit.transforms.split import Split

SAMPLED_ROWS = 100
"""Of a file, whose columns are those of its first rows."""

MOST_BYTES = (1 << 31) - 1
"""Of a record: no protobuf is larger."""

_HEAD, _TAIL = 12, 4
"""Bytes before and behind a record."""

_KINDS = {"int64_list": pa.int64(), "float_list": pa.float32(), "bytes_list": pa.binary()}


def schema(file: InputFile, head: int = 0) -> pa.Schema:
    """The columns of the first rows."""
    kinds: dict[str, pa.DataType] = {}
    lists: set[str] = set()
    binary: set[str] = set()
    with open_stream(file.path, decompress=True) as stream:
        for at, (_, record) in enumerate(_records(file.path, stream)):
            if at == SAMPLED_ROWS:
                break
            for name, feature in _features(file.path, at, record).items():
                which = feature.WhichOneof("kind")
                values: Any = getattr(feature, which).value if which else ()
                if not len(values):
                    kinds.setdefault(name, pa.null())
                    continue
                kind = _KINDS[which]
                if kinds.get(name, pa.null()) not in (pa.null(), kind):
                    both = f"{kinds[name]} and {kind}"
                    raise UsageError(f"{file.path} has {both} in the column {name!r}: write it with values of one kind")
                kinds[name] = kind
                if len(values) > 1:
                    lists.add(name)
                if kind == pa.binary() and not all(map(_is_text, values)):
                    binary.add(name)
    for name, kind in kinds.items():
        single = pa.string() if kind == pa.binary() and name not in binary else kind
        kinds[name] = pa.list_(single) if name in lists else single
    return pa.schema([pa.field(name, kinds[name]) for name in sorted(kinds)])


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """The whole file; one that is large, on this machine and not compressed is cut between its rows."""
    path, size = file.path, file.size
    if size <= target_bytes or not is_local(path) or is_compressed(path):
        return [Split("tfrecord", (path,), (number, 0), 0, size, 0, None, size)]
    status = os.stat(path)
    starts = _row_starts(path, (status.st_size, status.st_mtime_ns))
    return splits_between("tfrecord", path, number, [*starts, size], target_bytes)


@lru_cache(maxsize=64)
def _row_starts(path: str, stamp: tuple[int, int]) -> tuple[int, ...]:
    with open_stream(path) as stream:
        return tuple(start for start, _ in _records(path, stream, skip=stamp[0]))


def count(split: Split) -> int:
    """Rows in the split; where it has a `row_stop` that many are enough."""
    found = 0
    with open_stream(split.paths[0], decompress=True) as stream:
        for start, _ in _records(split.paths[0], stream, split.start):
            if _is_over(split, start) or found == split.row_stop:
                break
            found += 1
    return found


def _is_over(split: Split, start: int) -> bool:
    # Of a compressed file the places are not those of its bytes: it is one split.
    return split.rows is not None and start >= split.stop


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split."""
    path = split.paths[0]
    own = pa.schema([(field.name, _own_type(field.type)) for field in options.data_schema])

    def values(number: int, record: bytes) -> tuple[list[Any] | str, int]:
        features = _features(path, number, record)
        try:
            found = [_value(field, features[field.name]) if field.name in features else None for field in own]
        except ValueError as error:
            return str(error), len(record)
        return found, len(record)

    with open_stream(path, decompress=True) as stream:
        found = takewhile(lambda one: not _is_over(split, one[0]), _records(path, stream, split.start))
        yield from in_blocks(split, options, own, (record for _, record in found), values)


def _own_type(kind: pa.DataType) -> pa.DataType:
    """What a record can have where a column of this type is wanted."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_own_type(kind.value_type))
    if pa.types.is_floating(kind):
        return pa.float32()
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pa.int64()
    return kind if kind == pa.binary() or pa.types.is_null(kind) else pa.string()


def _value(field: pa.Field, feature: Any) -> Any:
    which = feature.WhichOneof("kind")
    values: Any = getattr(feature, which).value if which else ()
    lists = pa.types.is_list(field.type)
    wanted = field.type.value_type if lists else field.type
    if which and len(values):
        if _KINDS[which] != (pa.binary() if wanted == pa.string() else wanted):
            seen = (
                "had no value in the rows that were looked at"
                if pa.types.is_null(wanted)
                else f"is {wanted} in the job"
            )
            raise ValueError(f"column {field.name!r} is {_KINDS[which]} here, and {seen}: --types says what it is")
        if wanted == pa.string():
            values = [_text(field.name, value) for value in values]
    if lists:
        return list(values) if which else None
    if len(values) > 1:
        raise ValueError(
            f"column {field.name!r} has {len(values)} values here, and one in the rows that were looked at: "
            f"--types '{field.name}:list<{wanted}>' makes lists of them"
        )
    return values[0] if len(values) else None


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"column {name!r} is not UTF-8, at byte {error.start}: --types {name}:binary keeps its bytes"
        ) from error


_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r")


def _is_text(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _CONTROL.isdisjoint(value)


def _records(path: str, stream: BinaryIO, start: int = 0, skip: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(where it begins, what it holds) for each record from a place on.

    Args:
        path: of the file.
        stream: of it.
        start: where a record begins.
        skip: size of the file, if what records hold is not to be read.

    Raises:
        DamagedFile: the file was cut short, or a checksum is not that of what it is of.
    """
    checksum, at = _checksum(), start
    if start:
        stream.seek(start)
    while head := stream.read(_HEAD):
        length = int(struct.unpack_from("<Q", head)[0]) if len(head) == _HEAD else 0
        if len(head) < _HEAD or (skip is not None and at + _HEAD + length + _TAIL > skip):
            raise _cut(path, at)
        if checksum(head[:8]) != struct.unpack_from("<I", head, 8)[0] or length > MOST_BYTES:
            raise DamagedFile(f"{path} is no TFRecord file, or is damaged: no record begins at byte {at:,}")
        record = b""
        if skip is not None:
            stream.seek(length + _TAIL, os.SEEK_CUR)
        else:
            record = stream.read(length)
            tail = stream.read(_TAIL)
            if len(record) < length or len(tail) < _TAIL:
                raise _cut(path, at)
            if checksum(record) != struct.unpack("<I", tail)[0]:
                raise DamagedFile(f"{path} is damaged: the record at byte {at:,} does not have its checksum")
        yield at, record
        at += _HEAD + length + _TAIL


def _cut(path: str, at: int) -> DamagedFile:
    return DamagedFile(f"{path} ends in the middle of the record at byte {at:,}: it was cut short")


@cache
def _checksum() -> Any:
    try:
        from google_crc32c import value
    except ImportError as error:
        raise UsageError("TFRecord needs pip install 'beamsplit[tfrecord]'") from error

    def masked(data: bytes) -> int:
        crc = value(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    return masked


def _features(path: str, row: int, record: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return _example().FromString(record).features.feature
    except DecodeError as error:
        raise DamagedFile(f"{path} has a record that is no tf.train.Example, number {row:,} from 0") from error


@cache
def _example() -> Any:
    """The class of `tf.train.Example`, as tensorflow/core/example/feature.proto of TensorFlow tells it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    of = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tf", syntax="proto3")
    for name, kind in (("BytesList", of.TYPE_BYTES), ("FloatList", of.TYPE_FLOAT), ("Int64List", of.TYPE_INT64)):
        file.message_type.add(name=name).field.add(name="value", number=1, type=kind, label=of.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), 1):
        field = f"{name.removesuffix('List').lower()}_list"
        feature.field.add(name=field, number=number, type=of.TYPE_MESSAGE, type_name=f".tf.{name}", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=of.TYPE_STRING, label=of.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=of.TYPE_MESSAGE, type_name=".tf.Feature", label=of.LABEL_OPTIONAL)
    kind = ".tf.Features.FeatureEntry"
    features.field.add(name="feature", number=1, type=of.TYPE_MESSAGE, type_name=kind, label=of.LABEL_REPEATED)
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, type=of.TYPE_MESSAGE, type_name=".tf.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(cast(Any, file))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))
