"""Which names an output has: its format, its shards, its temporary folder."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import LANCE, written_by_extension, written_extensions
from beamsplit.transforms.write.storage import check_storable, files_in, local_path, size_of

FRAGMENTS = "-*.lance"
"""How the pattern of a Lance dataset's files ends, which no output is named by."""

FOLDER_SHARDS = "part-*.parquet"
"""What is written to an output that is a folder."""


def output_format(output: str) -> str:
    """The name of the format that the extension tells; Parquet of a folder.

    Raises:
        UsageError: it tells none that is written.
    """
    name = as_pattern(output)
    format = written_by_extension(name) or (LANCE if name.endswith(FRAGMENTS) else None)
    if format is None:
        raise UsageError(
            f"--output {output}: the extension [{os.path.splitext(name)[1]}] names no format that can be written; "
            f"end the name in one of {', '.join(written_extensions())}, or in / for a folder of Parquet files"
        )
    return format.name


def as_pattern(output: str) -> str:
    """The output, of a folder with the names of the files in it."""
    return output + FOLDER_SHARDS if output.endswith(("/", os.sep)) else output


def is_single(output: str, num_shards: int | None) -> bool:
    """Whether all rows go to exactly the file that `output` names: it is no folder and no pattern, and one is written.

    >>> is_single("p.csv", None), is_single("p-*.csv", None), is_single("out/", 1), is_single("p.csv", 2)
    (True, False, False, False)
    """
    return "*" not in as_pattern(output) and num_shards in (None, 1)


def split_name(output: str) -> tuple[str, str, str]:
    """(folder with its last separator or empty, what names of shards begin with, what they end with)."""
    whole = as_pattern(output)
    at = max(whole.rfind("/"), whole.rfind(os.sep)) + 1
    folder, name = whole[:at], whole[at:]
    if "*" in name:
        return (folder, *name.split("*", 1))  # type: ignore[return-value]
    stem, extension = os.path.splitext(name)
    return folder, f"{stem}-", extension


def shard_names(output: str, count: int, single: bool) -> list[str]:
    """`out/preds-00000-of-00003.parquet` and so on; with `single`, the output's own name.

    >>> shard_names("out/preds.csv", 2, single=False)
    ['out/preds-00000-of-00002.csv', 'out/preds-00001-of-00002.csv']
    >>> shard_names("out/*.csv", 1, single=False)
    ['out/00000-of-00001.csv']
    """
    if single:
        return [output]
    folder, before, behind = split_name(output)
    return [f"{folder}{before}{index:05d}-of-{count:05d}{behind}" for index in range(count)]


def shard_number(output: str, path: str) -> tuple[int, int] | None:
    """(number of the shard, how many there are) that a name tells; None where it is none of the output's shards."""
    folder, before, behind = split_name(output)
    if not path.startswith(folder):
        return None
    found = re.fullmatch(rf"{re.escape(before)}(\d{{5,}})-of-(\d{{5,}}){re.escape(behind)}", path[len(folder) :])
    return None if found is None else (int(found[1]), int(found[2]))


def is_shard_of(output: str, path: str) -> bool:
    """Whether `path` is a name that a run with this output could have written."""
    return path == output or shard_number(output, path) is not None


def files_of(output: str, single: bool) -> list[str]:
    """The files of an output that are there, in the order of their rows.

    Args:
        output: as the user gave it.
        single: whether it is the one file of its name, not shards.
    """
    if single:
        return [output] if size_of(output) is not None else []
    folder, before, _ = split_name(output)
    return sorted(path for path in files_in(folder, before) if shard_number(output, path) is not None)


def whole_outputs(output: str, shards: Iterable[str]) -> set[str]:
    """Those of the shards that have all others of their output beside them."""
    sets: dict[int, dict[int, str]] = {}
    for path in shards:
        number, count = shard_number(output, path) or (0, 0)
        sets.setdefault(count, {})[number] = path
    complete = (found for count, found in sets.items() if sorted(found) == list(range(count)))
    return {path for found in complete for path in found.values()}


def temp_folder(output: str, job_id: str) -> str:
    """The hidden folder beside the output that holds what one job has written so far.

    What stands behind a dot in `job_id` tells runs apart that go on with one folder: `resume.3f2a`.

    >>> temp_folder("out/p.csv", "resume.3f2a")
    'out/.p.csv-resume'
    """
    whole = as_pattern(output).replace("*", "")
    at = max(whole.rfind("/"), whole.rfind(os.sep)) + 1
    return f"{whole[:at]}.{whole[at:]}-{job_id.partition('.')[0]}"


def check_output(
    output: str, inputs: Iterable[str] = (), num_shards: int | None = None, overwrite: bool = True
) -> tuple[str, ...]:
    """Check, before anything runs, that the output can be written, and that nothing that is there would be lost.

    Args:
        output: As the user gave it.
        inputs: The input files, globs resolved; none may have a name that the output may take.
        num_shards: How many files are wanted.
        overwrite: Whether an earlier output may be replaced.

    Returns:
        The files of an earlier output, which the new one takes the place of.

    Raises:
        UsageError: the extension is unknown, the folder cannot be written, or a file or a device is in the way.
    """
    output_format(output)
    pattern = as_pattern(output)
    if "*" in os.path.dirname(pattern) or pattern.count("*") > 1:
        raise UsageError(
            f"--output {output}: one * in the name of the files stands for their numbers; give a name such as "
            f"out/preds-*{os.path.splitext(pattern)[1]}"
        )
    check_writable(pattern, "--output")
    check_replaceable(pattern, "--output")
    whole = absolute_path(pattern)
    for path in inputs:
        if is_shard_of(whole, absolute_path(path)):
            raise UsageError(
                f"--output {output} would overwrite or remove the input file {path}; "
                "give the output another name or folder"
            )
    return check_there(output, is_single(output, num_shards), overwrite)


def check_there(output: str, single: bool, overwrite: bool, option: str = "--output") -> tuple[str, ...]:
    """The files of an earlier output, which a new one takes the place of.

    Raises:
        UsageError: they may not be overwritten, or are only some of an output.
    """
    there = files_of(output, single)
    if not there:
        return ()
    more = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
    if not overwrite:
        name = "" if single else f": {there[0]}{more} there"
        raise UsageError(
            f"{option} {output} is there already{name}; add --overwrite to replace it, or give {option} another name"
        )
    stray = [] if single else sorted(set(there) - whole_outputs(output, there))
    if stray:
        raise UsageError(
            f"--output {output}: {stray[0]} is there, and not all others of its output, so it is not replaced: "
            "move it, or give the output another name"
        )
    return tuple(there)


def check_distinct(option: str, path: str, output: str, taken: Iterable[str]) -> None:
    """Check that a file written beside the output can be written and overwrites nothing of the job.

    Args:
        option: The option that named it, for errors.
        path: As the user gave it.
        output: The job's output; its shards are taken too.
        taken: Files that the job reads or writes.

    Raises:
        UsageError: the file cannot be written, or its name is taken.
    """
    check_writable(path, option)
    whole = absolute_path(path)
    if is_shard_of(absolute_path(output), whole):
        raise UsageError(f"{option} {path} is a name that --output {output} writes; give it another name")
    if any(absolute_path(other) == whole for other in taken):
        raise UsageError(f"{option} {path} is a file that the job reads or writes otherwise; give it another name")


def check_writable(path: str, option: str) -> None:
    """Check that a file of this name can be made.

    Raises:
        UsageError: it is a folder, or its folder cannot be made or written.
    """
    local = local_path(path)
    if local is None:
        if path.endswith("/"):
            raise UsageError(f"{option} {path} is a folder; give the name of a file in it")
        check_storable(path, option)
        return
    if local.endswith(("/", os.sep)) or os.path.isdir(local):
        shards = f", or {path}/ for files of their own names" if option == "--output" else ""
        raise UsageError(f"{option} {path} is a folder; give the name of a file in it{shards}")
    folder = os.path.dirname(os.path.abspath(local))
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise UsageError(f"{option} {path}: {folder} is a file, not a folder; give a path in a folder")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or error
        raise UsageError(
            f"{option} {path}: the folder {folder} may not be written ({why}); give a folder that may be"
        ) from None


def check_replaceable(path: str, option: str) -> None:
    """Check that a name which a finished file takes is not that of a device or pipe, which would be gone.

    Raises:
        UsageError: it is.
    """
    local = local_path(path)
    if local is not None and os.path.exists(local) and not os.path.isfile(local):
        raise UsageError(f"{option} {path} is a device or pipe, whose place a file would take; give the name of a file")


def absolute_path(path: str) -> str:
    """The same file under one name, however its folder was named."""
    local = local_path(path)
    if local is None:
        return path
    folder, name = os.path.split(os.path.abspath(local))
    return os.path.join(os.path.realpath(folder), name)
