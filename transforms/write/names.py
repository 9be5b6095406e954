"""Which names an output has: its format, its shards, its temporary folder."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable

from beamsplit.models.errors import UsageError
from beamsplit.transforms.formats import written_by_extension, written_extensions
from beamsplit.transforms.write.storage import local_path


def output_format(output: str) -> str:
    """The name of the format that the extension tells.

    Raises:
        UsageError: it tells none that is written.
    """
    format = written_by_extension(output)
    if format is None:
        raise UsageError(
            f"--output {output}: the extension [{os.path.splitext(output)[1]}] names no format that can be written; "
            f"end the name in one of {', '.join(written_extensions())}"
        )
    return format.name


def split_name(output: str) -> tuple[str, str, str]:
    """(folder with its last separator or empty, name without extension, extension)."""
    stem, extension = os.path.splitext(output)
    at = max(stem.rfind("/"), stem.rfind(os.sep)) + 1
    return stem[:at], stem[at:], extension


def shard_names(output: str, count: int, single: bool) -> list[str]:
    """`out/preds-00000-of-00003.parquet` and so on; with `single`, the output's own name.

    >>> shard_names("out/preds.csv", 2, single=False)
    ['out/preds-00000-of-00002.csv', 'out/preds-00001-of-00002.csv']
    """
    if single:
        return [output]
    folder, stem, extension = split_name(output)
    return [f"{folder}{stem}-{index:05d}-of-{count:05d}{extension}" for index in range(count)]


def is_shard_of(output: str, path: str) -> bool:
    """Whether `path` is a name that a run with this output could have written."""
    folder, stem, extension = split_name(output)
    shard = re.compile(rf"{re.escape(stem)}-\d{{5,}}-of-\d{{5,}}{re.escape(extension)}")
    path_folder, path_stem, path_extension = split_name(path)
    if path_folder != folder:
        return False
    return path == output or shard.fullmatch(path_stem + path_extension) is not None


def temp_folder(output: str, job_id: str) -> str:
    """The hidden folder beside the output that holds what one job has written so far."""
    folder, stem, extension = split_name(output)
    return f"{folder}.{stem}{extension}-{job_id}"


def check_output(output: str, inputs: Iterable[str] = ()) -> None:
    """Check, before anything runs, that the output can be written and that no input would be overwritten.

    Args:
        output: As the user gave it.
        inputs: The input files, globs resolved. A finished job removes the shards of earlier runs of the same
            output, so an input with the name of such a shard is refused too.

    Raises:
        UsageError: the extension is unknown, the folder cannot be written, or an input or a device is in the way.
    """
    output_format(output)
    check_writable(output, "--output")
    check_replaceable(output, "--output")
    whole = absolute_path(output)
    for path in inputs:
        if is_shard_of(whole, absolute_path(path)):
            raise UsageError(
                f"--output {output} would overwrite or remove the input file {path}; "
                "give the output another name or folder"
            )


def check_apart(option: str, path: str, output: str, taken: Iterable[str]) -> None:
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
    """Check that a local file of this name can be made; remote names are not looked at.

    Raises:
        UsageError: it is a folder, or its folder cannot be made or written.
    """
    local = local_path(path)
    if local is None:
        return
    if local.endswith(("/", os.sep)) or os.path.isdir(local):
        raise UsageError(f"{option} {path} is a folder; give the name of a file in it")
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
