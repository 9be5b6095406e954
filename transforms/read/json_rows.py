"""JSON Lines: byte ranges that hold whole lines, parsed by pyarrow."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa

from beamsplit.transforms.read import lines
from beamsplit.transforms.read.encoding import check_utf8, is_wide, open_text, recode
from beamsplit.transforms.read.inputs import InputFile
from beamsplit.transforms.read.json_array import ArrayLines, is_array, open_lines
from beamsplit.transforms.read.json_parse import Rules, parse, read_text
from beamsplit.transforms.read.result import Parsed, ReadOptions, ReadResult, read_runs
from beamsplit.transforms.read.streams import is_compressed, open_stream
from beamsplit.transforms.read.text_counts import enough, judged
from beamsplit.transforms.read.together import Text
from beamsplit.transforms.split import Split

_BOM = b"\xef\xbb\xbf"


def _open_lines(path: str, encoding: str | None, size: int | None = None) -> BinaryIO:
    """The text as lines, an object a line; an array is recoded on the way, as bytes in it may look like its marks."""
    if encoding is None:
        return open_lines(path, size)
    array = is_array(path)
    stream = open_text(path, encoding, size, whole=array)
    return cast(BinaryIO, ArrayLines(stream, path)) if array else stream


def schema(file: InputFile, head: int) -> pa.Schema | None:
    """The fields of the objects in the first `head` bytes of one file."""
    return schema_of(objects(file, head))


def objects(file: InputFile, head: int) -> list[bytes]:
    """The objects among the lines of the first `head` bytes."""
    path, encoding = file.path, file.encoding
    with _open_lines(path, encoding) as stream:
        run = next(lines.runs(stream, None, lines.line_end, head), b"").removeprefix(_BOM)
    if run.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        check_utf8(path, run, encoding)
    run = recode(run, None if is_array(path) else encoding)
    return [line for line in run.split(b"\n") if line.strip() and _is_object(line)]


def schema_of(objects: list[bytes]) -> pa.Schema | None:
    """Names and types of the fields, as most of the objects have them; None where there are no objects.

    A field that is null in all of them is taken for a string; one that has no type of Arrow (lists of which some hold
    numbers and texts, say) is JSON text.
    """
    if not objects:
        return None
    text = b"\n".join(objects)
    try:
        found = read_text(text, None).schema
    except (pa.ArrowInvalid, UnicodeDecodeError):
        import json

        from beamsplit.transforms.read.json_types import mixed_fields, usual_types

        rows = [json.loads(line) for line in objects]
        found = usual_types(rows)
        rest = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in found.names]
        found = _with_marks(found, mixed_fields(rows), MIXED)
        found = pa.schema([*found, *(pa.field(name, pa.json_()) for name in rest)])
    if _WIDE.search(text):
        found = _with_marks(found, _wide_fields(text, len(objects), found), WIDE)
    return pa.schema([pa.field(f.name, _no_null(f.type), metadata=f.metadata) for f in found])


_WIDE = re.compile(rb"[\s,:\[]-?[1-9]\d{15}")
"""Perhaps a whole number that no float64 holds; quick to look for."""

MIXED, WIDE = b"mixed", b"wide"
"""Metadata of fields that have values of several kinds, and of numbers of which float64 does not hold all."""


def _wide_fields(text: bytes, rows: int, schema: pa.Schema) -> list[str]:
    from beamsplit.transforms.read.json_slices import value_texts
    from beamsplit.transforms.read.wide_numbers import unheld_within

    kinds = {f.name: f.type for f in schema if pa.types.is_float64(f.type) or pa.types.is_list(f.type)}
    found = []
    for name, texts in value_texts(text, rows, kinds).items():
        if any(unheld_within(kinds[name], cell) for cell in texts.to_pylist()):
            found.append(name)
    return found


def _with_marks(schema: pa.Schema, names: Collection[str], mark: bytes) -> pa.Schema:
    marked = [f.with_metadata({mark: b""}) if f.name in names else f for f in schema]
    return pa.schema(marked)


def _is_object(line: bytes) -> bool:
    """Whether it tells of fields: an object, not nested too deep, whose keys are text that can be written."""
    import json

    try:
        return isinstance(json.loads(line, object_pairs_hook=_with_text_keys if b"\\u" in line else None), dict)
    except (ValueError, RecursionError):
        return False


def _with_text_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, _ in pairs:
        key.encode()
    return dict(pairs)


def _no_null(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_no_null(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _no_null(f.type)) for f in kind])
    return kind


def split(file: InputFile, number: int, target_bytes: int) -> list[Split]:
    """Byte ranges of about `target_bytes` that hold whole lines; the rows before them are not counted."""
    path, size, encoding = file.path, file.size, file.encoding
    if is_compressed(path) or is_wide(encoding) or size <= target_bytes or is_array(path):
        starts = [0] if size else []
    else:
        with open_stream(path) as stream:
            starts = lines.line_starts(stream, 0, size, target_bytes)
    return [
        Split("jsonl", (path,), (number, at), start, stop, None if at else 0, None, stop - start, encoding=encoding)
        for at, (start, stop) in enumerate(zip(starts, [*starts[1:], size], strict=True))
    ]


def text_of(split: Split) -> Iterator[bytes]:
    """The rows of the split as runs of bytes."""
    path = split.paths[0]
    with _open_lines(path, split.encoding, size=split.stop) as stream:
        size = None
        if not (is_compressed(path) or is_wide(split.encoding) or is_array(path)):
            stream.seek(split.start)
            size = split.stop - split.start
        found = lines.whole_runs(stream, size, lines.line_end, lines.run_bytes(split.row_stop), path)
        encoding = None if is_array(path) else split.encoding
        for at, run in enumerate(found):
            yield recode(run.removeprefix(_BOM) if at == 0 and split.start == 0 else run, encoding)


def count(split: Split) -> int:
    """Rows in the split, bad ones too; where it has a `row_stop` that many are enough."""
    return enough((lines.count_json(run) for run in text_of(split)), split.row_stop)


def rows_about(file: InputFile) -> float | None:
    """Rows of the file, judged by its beginning; None where it is compressed, an array, or of wide characters."""
    if is_compressed(file.path) or is_wide(file.encoding) or is_array(file.path):
        return None
    return judged(file, 0, lines.count_json)


def read(split: Split, options: ReadOptions) -> Iterator[ReadResult]:
    """The rows of the split; lines that are no object of the schema come as failures.

    A field that a line lacks is null; a field that the schema lacks is left out.
    """
    yield from read_runs(text_of(split), split, options, lines.count_json, parse_text)


def parse_text(text: bytes, split: Split, options: ReadOptions) -> Parsed:
    """Lines as columns; bad ones apart."""
    rules = Rules(options.declared, depths=dict(options.depths), fed=dict(options.fed))
    return parse(text, options.data_schema, rules)


def whole_text(split: Split, text: bytes) -> Text:
    """Texts of lines go together."""
    return Text(split, text, lines.count_json(text), "lines")
