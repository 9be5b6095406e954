"""File formats as values: what each is, and which modules read and write it. Nothing is imported before it is used.

A new format is a file with what `Reader` and `Writer` (in `interfaces`) ask for, and a row in `FORMATS`.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from beamsplit.transforms.formats.interfaces import Reader, Writer

_HERE = "beamsplit.transforms"


@dataclass(frozen=True)
class Format:
    """What a file can be: everything that depends on the format is one of these attributes, or in its modules."""

    name: str
    """As `--input_format` names it, e.g. `"jsonl"`."""

    extensions: tuple[str, ...]
    """Of files that are read as this, in small letters; of an output the first is proposed."""

    read_by: str
    """The module with what `interfaces.Reader` asks for, below `transforms`."""

    written_by: str | None = None
    """The module with what `interfaces.Writer` asks for; None where it is read only."""

    not_written: tuple[str, ...] = ()
    """Extensions of `extensions` that are read only."""

    text: bool = False
    """Values are text: types are what the first rows suggest, and a value may be none of its type. Files may be
    compressed as a whole, have an encoding, and tell about how many rows they have (`interfaces.TextReader`)."""

    packed: bool = False
    """Files may be compressed as a whole, though they are no text."""

    header: bool = False
    """Columns are named by a first line, which may be none."""

    objects: bool = False
    """Rows are objects: fields have the types that most objects of all the files have (`interfaces.ObjectReader`)."""

    cells: bool = False
    """Rows are cells of single values: lists in them are JSON."""

    files: bool = False
    """Each file is a row, its columns `path` and `bytes`."""

    by_scheme: bool = False
    """What is read is no file, and is named by its scheme (`lance:PATH`): `--input_format` does not."""

    cuttable: bool = False
    """A split can be entered at any row at little cost."""

    begun_early: bool = False
    """The reader has `start_decoders`, which read while a job is still set up."""

    most_files: int = 1_000
    """Of how many local files the schemas are looked at before a job starts."""

    json: bool = False
    """Floats, or those in lists, are written as JSON, which has no NaN."""

    grows: bool = False
    """Rows can be added to a file that is there."""

    null_tensors: bool = True
    """A tensor that is null is read back as it was written."""

    times: Literal["text", "ms", "ns"] = "ms"
    """How far times may lie that are written: the years that text has, seconds as int64 milliseconds, or all as int64
    nanoseconds."""

    @property
    def reader(self) -> Reader:
        """The module that reads it."""
        return self._module(self.read_by)

    @property
    def writer(self) -> Writer:
        """The module that writes it.

        Raises:
            ValueError: it is read only.
        """
        if self.written_by is None:
            raise ValueError(f"{self.name} is not written")
        return self._module(self.written_by)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{_HERE}.{name}")

    @property
    def written_extensions(self) -> tuple[str, ...]:
        """Of outputs; none where it is read only."""
        return () if self.written_by is None else tuple(e for e in self.extensions if e not in self.not_written)


PARQUET = Format(
    "parquet",
    (".parquet", ".parq", ".pq"),
    "read.parquet",
    "write.parquet_file",
    not_written=(".parq", ".pq"),
    cuttable=True,
    begun_early=True,
    null_tensors=False,
)
CSV = Format(
    "csv",
    (".csv", ".tsv"),
    "read.csv_rows",
    "write.csv_file",
    not_written=(".tsv",),
    text=True,
    header=True,
    cells=True,
    most_files=256,
    json=True,
    times="text",
)
JSONL = Format(
    "jsonl",
    (".jsonl", ".ndjson", ".json"),
    "read.json_rows",
    "write.json_file",
    text=True,
    objects=True,
    most_files=256,
    json=True,
    grows=True,
    times="text",
)
ARROW = Format("arrow", (".arrow", ".arrows", ".feather", ".ipc"), "read.arrow_ipc", cuttable=True)
AVRO = Format("avro", (".avro",), "formats.avro", "formats.avro", cuttable=True)
ORC = Format("orc", (".orc",), "formats.orc", "formats.orc", cuttable=True, times="ns")
WEBDATASET = Format("webdataset", (".tar",), "formats.webdataset")
TFRECORD = Format("tfrecord", (".tfrecord", ".tfrecords"), "formats.tfrecord", packed=True)
LANCE = Format("lance", (), "formats.lance", "write.lance_file", by_scheme=True, cuttable=True)
SQL = Format("sql", (), "formats.sql", by_scheme=True)
FILES = Format("files", (), "read.files", files=True, cuttable=True)

FORMATS: dict[str, Format] = {
    one.name: one for one in (PARQUET, CSV, JSONL, ARROW, AVRO, ORC, WEBDATASET, TFRECORD, LANCE, SQL, FILES)
}
"""Every format, by its name."""

FILE_FORMATS = tuple(name for name, one in FORMATS.items() if not one.by_scheme)
"""What `--input_format` takes."""


def format_by_extension(path: str) -> Format | None:
    """The format that a path's extension names, in small or capital letters; None for another.

    >>> format_by_extension("data/a.PQ").name
    'parquet'
    """
    extension = os.path.splitext(path)[1].lower()
    return next((one for one in FORMATS.values() if extension in one.extensions), None) if extension else None


def written_by_extension(path: str) -> Format | None:
    """The format in which a file of this name is written; None where its extension names none.

    >>> written_by_extension("out/preds.ndjson").name, written_by_extension("out/preds.arrow")
    ('jsonl', None)
    """
    found = format_by_extension(path)
    extension = os.path.splitext(path)[1].lower()
    return found if found is not None and extension in found.written_extensions else None


def written_extensions() -> tuple[str, ...]:
    """The extensions of all formats that are written."""
    return tuple(extension for one in FORMATS.values() for extension in one.written_extensions)
