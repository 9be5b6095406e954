"""From patterns to files and their format."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import FILE_FORMATS, FORMATS, format_by_extension
from beamsplit.transforms.read.choice import hidden_part, is_hidden
from beamsplit.transforms.read.compression import kind_by_name, without_extension
from beamsplit.transforms.read.dataset_folder import data_files
from beamsplit.transforms.read.streams import is_local
from beamsplit.transforms.split import CsvHeader

if TYPE_CHECKING:
    from beamsplit.transforms.sql.query import SqlQuery
    from beamsplit.transforms.tables.table_file import TableFile


@dataclass(frozen=True)
class InputFile:
    """A file to read."""

    path: str
    """A local path, or one with a scheme such as `gs://`."""

    size: int
    """In bytes."""

    stamp: tuple[int, int] | None = field(default=None, compare=False)
    """(number on its disk, nanoseconds of its last change) of a local file."""

    version: str | None = field(default=None, compare=False)
    """Of a file at a store: another one when the content is."""

    encoding: str | None = None
    """Of text that is not UTF-8: the name of Python's codec."""

    header: CsvHeader = None
    """Of a CSV file."""

    delimiter: str | None = None
    """Between the cells of a CSV file; None: as its name says."""

    most_rows: int | None = None
    """How many rows are read of it, from the first; None reads all."""

    table: TableFile | None = field(default=None, compare=False)
    """What a table tells of the file, if it is one of a table."""

    query: SqlQuery | None = field(default=None, compare=False)
    """What is asked of a database, if it is no file."""


class InputChanged(RuntimeError):
    """A file is no longer what was planned to be read, in one line."""


def check_unchanged(files: Sequence[InputFile]) -> None:
    """Check that files are what they were when they were found; one of this machine that only grew is.

    Raises:
        InputChanged: one was cut short, replaced, written again or removed, so some of its rows may be missing.
    """
    for file in files:
        if file.stamp is None:
            continue
        try:
            now = _found(file.path, os.stat(file.path))
        except OSError:
            now = InputFile(file.path, 0)
        if now.stamp == file.stamp or (now.stamp and now.stamp[0] == file.stamp[0] and now.size > file.size):
            continue
        became = f"it had {file.size:,} bytes, now {now.size:,}" if now.stamp else "it is gone"
        raise InputChanged(f"{file.path} changed while it was read ({became}): run the job again when it is complete")
    _check_unchanged_at_store([file for file in files if file.version is not None])


def _check_unchanged_at_store(files: Sequence[InputFile]) -> None:
    from beamsplit.transforms.stores import store

    folders: dict[str, list[InputFile]] = {}
    for file in files:
        folders.setdefault(file.path.rpartition("/")[0], []).append(file)
    for folder, of_folder in folders.items():
        # One request for each 1,000 files of the folder, in place of one for each file.
        found = store.directly_in(folder) if len(of_folder) > 3 else [store.stat(file.path) for file in of_folder]
        now = {one.path: one for one in found if one is not None}
        for file in of_folder:
            there = now.get(file.path)
            if there is None or there.version != file.version:
                became = "it is gone" if there is None else "another file was written in its place"
                raise InputChanged(f"{file.path} changed while it was read ({became}): run the job again")


def paths_with_folders(files: Sequence[InputFile]) -> list[str]:
    """The paths of files whose folders' names tell columns: not of those of a table, which tells itself."""
    return [file.path for file in files if file.table is None and file.query is None]


def _found(path: str, stat: os.stat_result) -> InputFile:
    return InputFile(path, stat.st_size, (stat.st_ino, stat.st_mtime_ns))


def find_files(patterns: Sequence[str], option: str = "--input", left_out: list[str] | None = None) -> list[InputFile]:
    """The files that paths, globs (`*`, `?`, `**`) and folders name, sorted by path, each once.

    A folder means all files below it, links to folders too, or those of a dataset that lies there. Files and folders
    whose names begin with a dot or `_` are left out, unless the pattern names them: `_*.csv` does, `*.csv` does not.

    Args:
        patterns: as given.
        option: that they were given by.
        left_out: takes the paths that were left out; those of folders end in `/`.

    Raises:
        UsageError: a pattern matches no file, or all of them only such that are left out.
    """
    found: dict[str, InputFile] = {}
    hidden: list[str] = [] if left_out is None else left_out
    only_hidden: UsageError | None = None
    for pattern in patterns:
        plain = pattern.removeprefix("file://")
        before = len(hidden)
        matches = _local(plain, hidden) if is_local(plain) else _remote(plain, hidden)
        if not matches:
            only = f" but {hidden[before]}, which is left out, as its name tells" if len(hidden) > before else ""
            error = UsageError(
                f"{option} {pattern!r} matches no file{only}: check the path, and quote a pattern: 'data/*.csv'"
            )
            if not only:
                raise error
            # One of many paths that a shell made of a pattern: there is a note of what was left out.
            only_hidden = only_hidden or error
        found.update({file.path: file for file in matches})
    if only_hidden is not None and not found:
        raise only_hidden
    if not all(map(is_local, found)):
        from beamsplit.transforms.stores.small_files import forget

        forget()
    return [found[path] for path in sorted(found)]


def _local(pattern: str, left_out: list[str]) -> list[InputFile]:
    if os.path.isfile(pattern):
        return [_found(pattern, os.stat(pattern))]
    if os.path.isdir(pattern):
        return list(_below(pattern, left_out))
    matches = []
    for path in glob.glob(pattern, recursive=True):
        hidden = hidden_part(path, pattern)
        if hidden is None:
            matches.append(path)
        else:
            left_out.append(hidden + "/" * (hidden == path and os.path.isdir(path)))
    for path in matches:
        _check_leads_somewhere(path)
    plain = [_found(path, os.stat(path)) for path in matches if os.path.isfile(path)]
    return plain or [file for path in matches if os.path.isdir(path) for file in _below(path, left_out)]


def _check_leads_somewhere(path: str) -> None:
    """Raise for a link to a file that is gone: its rows would be missing without a word.

    Raises:
        UsageError: it is one.
    """
    if os.path.islink(path) and not os.path.exists(path):
        raise UsageError(f"{path} is a link that leads to no file ({os.readlink(path)}); mend it, or take it away")


def _below(folder: str, left_out: list[str], entered: frozenset[str] = frozenset()) -> Iterator[InputFile]:
    """Files below a folder, through links too; `entered` are the links' folders on the way here."""
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be looked into ({error.strerror}); check its permissions"
        ) from error
    of_dataset = data_files(folder, [entry.name for entry in entries])
    if of_dataset is not None:
        yield from (_found(path, os.stat(path)) for path in of_dataset)
        return
    for entry in entries:
        if is_hidden(entry.name):
            left_out.append(entry.path + "/" * os.path.isdir(entry.path))
            continue
        if entry.is_symlink():
            _check_leads_somewhere(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, left_out, entered)
        elif entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in entered:
                raise UsageError(f"{entry.path} is a link that leads back to {real}, where it lies; take it away")
            yield from _below(entry.path, left_out, entered | {real})
        elif entry.is_file():
            yield _found(entry.path, entry.stat())


def _remote(pattern: str, left_out: list[str]) -> list[InputFile]:
    from beamsplit.transforms.stores import store

    if any(mark in pattern for mark in "*?["):
        # Where it matches no file but folders, these are meant with all in them.
        matches = store.matching(pattern) or store.matching(f"{pattern.rstrip('/')}/**")
    else:
        named = None if pattern.endswith("/") else store.stat(pattern)
        matches = store.below(pattern) if named is None else [named]
    found = []
    for match in matches:
        hidden = hidden_part(match.path, pattern)
        if hidden is None:
            found.append(InputFile(match.path, match.size, version=match.version))
        else:
            left_out.append(hidden)
    return found


def format_of(inputs: Sequence[InputFile], explicit: str | None = None) -> str:
    """The format that all the files have, by extension, or `files` where none has a known one.

    Raises:
        UsageError: `explicit` is no format, or the files are of several formats.
    """
    if explicit is not None:
        if explicit not in FILE_FORMATS:
            raise UsageError(f"--input_format {explicit!r} is not known: use one of {', '.join(FILE_FORMATS)}")
        return explicit
    examples: dict[str, str] = {}
    for file in inputs:
        examples.setdefault(_format_by_name(file.path) or "files", file.path)
    if len(examples) == 1:
        return next(iter(examples))
    if not examples:
        return "files"
    kinds = "; ".join(f"{kind}: {path}" for kind, path in sorted(examples.items()))
    raise UsageError(
        f"the inputs are of several formats ({kinds}): name files of one format, e.g. --input 'folder/*.parquet', "
        "or read each file as one row with --input_format files"
    )


def with_encoding(inputs: Sequence[InputFile], format: str, encoding: str | None) -> tuple[InputFile, ...]:
    """The files with the encoding of their text, `--encoding`.

    Raises:
        UsageError: they are no text.
    """
    if encoding is None:
        return tuple(inputs)
    if not FORMATS[format].text:
        raise UsageError(f"--encoding is for CSV and JSON Lines, and the input is {format}; leave --encoding out")
    return tuple(replace(file, encoding=encoding) for file in inputs)


def _format_by_name(path: str) -> str | None:
    found = format_by_extension(without_extension(path))
    return None if found is None or (kind_by_name(path) and not (found.text or found.packed)) else found.name
