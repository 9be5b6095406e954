"""A file in the temporary folder: written by one bundle, renamed into place when the whole job is done."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.transforms.block import ORIGIN_FILE, data_columns, origin_of
from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.formats.interfaces import BlockFile
from beamsplit.transforms.split import parse_origin_file
from beamsplit.transforms.write.behind import WriteBehind
from beamsplit.transforms.write.names import output_format, temp_folder
from beamsplit.transforms.write.point_of_no_return import wanted
from beamsplit.transforms.write.storage import abort_output, open_output, remove, size_of

Order = tuple[str, int, int]
"""(path, byte that rows are counted from or 0, row): sorting by it gives the order of the input."""


def origin_order(file: str, row: int) -> Order:
    """Where a row stands among all rows, by its origin."""
    path, byte = parse_origin_file(file)
    return (path, byte or 0, row)


@dataclass(frozen=True)
class TempFile:
    """A finished file in the temporary folder."""

    path: str
    """Its name there."""

    rows: int
    """Rows in it."""

    bytes: int
    """Its size, by which a rename that already happened is recognised."""

    order: Order
    """Where its first row stands: the order of files is the order of shards."""


@dataclass(frozen=True)
class Target:
    """What one job writes, and where."""

    output: str
    """The name the user gave."""

    schema: pa.Schema
    """The columns of the files; internal columns are not among them."""

    job_id: str
    """Tells this job's temporary folder from those of others."""

    @property
    def format(self) -> str:
        """The name of the files' format."""
        return output_format(self.output)

    @property
    def folder(self) -> str:
        """The temporary folder."""
        return temp_folder(self.output, self.job_id)

    def new_path(self) -> str:
        """A name in the temporary folder that nothing else uses: a retried bundle starts a new file."""
        return f"{self.folder}/{uuid.uuid4().hex}"


def open_block_file(format: str, path: str, schema: pa.Schema) -> BlockFile:
    """Start a file of the format."""
    return _open(format, path, schema)[1]


def _open(format: str, path: str, schema: pa.Schema) -> tuple[Any, BlockFile]:
    """(what it is written to, the file); some formats open it themselves."""
    writer = FORMATS[format].writer
    if hasattr(writer, "open_path"):
        return None, writer.open_path(path, schema)
    out = open_output(path)
    return out, writer.open_file(out, schema)


def written_columns(schema: pa.Schema) -> pa.Schema:
    """The schema without internal columns, and without what pandas noted on the input's columns and index."""
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"pandas"}
    return pa.schema([schema.field(name) for name in data_columns(schema)], metadata=metadata or None)


class TempFileWriter:
    """Writes the blocks of one bundle to one file in the temporary folder, of a name of its own or the one given.

    Raises:
        RuntimeError: the job was given up.
    """

    def __init__(self, target: Target, write_behind: bool, path: str | None = None) -> None:
        self._schema = target.schema
        self._path = path or target.new_path()
        self._order: Order | None = None
        self._rows = 0
        self.seconds = 0.0
        """Time spent encoding and writing, on whichever thread."""
        with wanted(target.job_id):
            self._out, self._file = _open(target.format, self._path, target.schema)
        self._behind = WriteBehind(self._write) if write_behind else None

    def write(self, block: pa.RecordBatch) -> None:
        """Add the rows of a block that has the target's columns, in any order and among others."""
        if self._order is None:
            self._order = origin_order(*origin_of(block, 0)) if ORIGIN_FILE in block.schema.names else ("", 0, 0)
        self._rows += block.num_rows
        columns = [block.column(name) for name in self._schema.names]
        data = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        if self._behind is None:
            self._write(data)
        else:
            self._behind.put(data)

    def close(self) -> TempFile:
        """Finish the file; when this returns, every row is written."""
        if self._behind is not None:
            self._behind.close()
        began = time.perf_counter()
        self._file.close()
        self.seconds += time.perf_counter() - began
        size = size_of(self._path)
        if size is None:
            raise FileNotFoundError(f"{self._path} is gone while the job still runs")
        return TempFile(self._path, self._rows, size, self._order or ("", 0, 0))

    def abort(self) -> None:
        """End the thread and delete the file, after an error."""
        if self._behind is not None:
            self._behind.cancel()
        # The bundle has failed with an error of its own, which is the one to show.
        with contextlib.suppress(Exception):
            abort_output(self._out)
            self._file.abort()
        remove(self._path)

    def _write(self, data: pa.RecordBatch) -> None:
        began = time.perf_counter()
        self._file.write(data)
        self.seconds += time.perf_counter() - began
