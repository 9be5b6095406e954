"""Which rows an errors output names: what a replay reads again. No Beam."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.gaps import STAGE as GAP
from beamsplit.transforms.read.infer_schema import NoColumns, infer_schema
from beamsplit.transforms.read.inputs import find_files, format_of
from beamsplit.transforms.read.result import ReadOptions
from beamsplit.transforms.read.splits import make_splits, read_all

Rows = Mapping[str, bytes]
"""File or `topic/partition` -> numbers of rows, or offsets: int64, ascending, each once."""

FILE = pa.schema([("file", pa.string()), ("row", pa.int64())])
MESSAGE = pa.schema([("topic", pa.string()), ("partition", pa.int64()), ("offset", pa.int64())])


@dataclass(frozen=True)
class FailedOrigins:
    """Where rows that failed came from, each once."""

    files: Rows = field(default_factory=dict)
    messages: Rows = field(default_factory=dict)
    gaps: int = 0
    """Errors that tell of messages which were gone: there is nothing to read again."""

    changed: float | None = None
    """When the errors were written last, in seconds since 1970; None where that is not known."""


def numbers(rows: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The numbers of `Rows`."""
    return np.frombuffer(rows, np.int64)


def read_origins(path: str) -> FailedOrigins:
    """What a file of errors names, in any format that errors are written in.

    Raises:
        UsageError: it is no errors output, or names no row.
    """
    files = find_files([path], "--replay")
    if len(files) != 1:
        raise UsageError(f"--replay {path} is {len(files)} files; name one errors output")
    format = format_of(files, "jsonl" if "." not in path.rsplit("/", 1)[-1] else None)
    try:
        found = infer_schema(files, format).schema
    except NoColumns:
        if files[0].size:
            raise UsageError(f"--replay {path} is no errors output: nothing in it can be read as {format}") from None
        raise _nothing(path) from None
    wanted = next((one for one in (MESSAGE, FILE) if set(one.names) <= set(found.names)), None)
    if wanted is None:
        raise UsageError(
            f"--replay {path} is no errors output: it has the columns {', '.join(found.names)}, and file and row, or "
            "topic, partition and offset are wanted"
        )
    if "stage" in found.names:
        wanted = wanted.append(pa.field("stage", pa.string()))
    batches = []
    for result in read_all(make_splits(files, format, 1), ReadOptions(wanted)):
        if result.failures:
            bad = result.failures[0]
            raise UsageError(f"--replay {path}: row {bad.row} is no error: {bad.reason}; mend or remove it")
        if result.block is not None:
            batches.append(result.block.select(wanted.names))
    changed = None if files[0].stamp is None else files[0].stamp[1] / 1e9
    return _origins(path, pa.Table.from_batches(batches, wanted), changed)


def origins_of_messages(name: str, values: Iterable[bytes | None]) -> FailedOrigins:
    """What the messages of an errors topic name.

    Raises:
        UsageError: one is no error, or none names a row.
    """
    told: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    for number, value in enumerate(values):
        try:
            one = json.loads(value or b"")
            told["topic" in one].append(one)
        except (ValueError, TypeError):
            raise UsageError(f"--replay {name}: message {number} is no error: it is no JSON object") from None
    of_messages = bool(told[True])
    if of_messages and told[False]:
        raise UsageError(f"--replay {name} has errors of files and of messages; name an errors output of one job")
    wanted = (MESSAGE if of_messages else FILE).append(pa.field("stage", pa.string()))
    try:
        table = pa.Table.from_pylist(told[of_messages], wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(f"--replay {name} has a message that is no error: {error}") from None
    return _origins(name, table, None)


def _origins(path: str, table: pa.Table, changed: float | None) -> FailedOrigins:
    import pyarrow.compute as pc

    gaps = 0
    if "stage" in table.column_names:
        is_gap = pc.fill_null(pc.equal(table["stage"], GAP), False)
        gaps = pc.sum(is_gap).as_py() or 0
        table = table.filter(pc.invert(is_gap))
    for name in table.column_names:
        if name != "stage" and table[name].null_count:
            raise UsageError(f"--replay {path} has an error without its {name}; remove it")
    number = "offset" if "offset" in table.column_names else "row"
    if len(table) and (least := pc.min(table[number]).as_py()) < 0:
        raise UsageError(f"--replay {path} has an error of {number} {least}, and there is none below 0; remove it")
    if not len(table) and not gaps:
        raise _nothing(path)
    if "topic" in table.column_names:
        places = pc.binary_join_element_wise(table["topic"], table["partition"].cast(pa.string()), "/")
        return FailedOrigins(messages=_by_place(places, table["offset"]), gaps=gaps, changed=changed)
    return FailedOrigins(_by_place(table["file"], table["row"]), gaps=gaps, changed=changed)


def _by_place(places: pa.ChunkedArray, rows: pa.ChunkedArray) -> Rows:
    encoded = places.combine_chunks().dictionary_encode()
    codes, found = np.asarray(encoded.indices), rows.to_numpy()
    order = np.lexsort((found, codes))
    codes, found = codes[order], found[order].astype(np.int64)
    ends = np.searchsorted(codes, np.arange(len(encoded.dictionary) + 1))
    names = encoded.dictionary.to_pylist()
    return {name: np.unique(found[ends[at] : ends[at + 1]]).tobytes() for at, name in enumerate(names)}


def _nothing(path: str) -> UsageError:
    return UsageError(f"--replay {path} names no row: nothing failed, and there is nothing to score again")
