"""Gives a job's files their final names, once all of them are written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from beamsplit.models.owned_folder import disown, own, remove_abandoned
from beamsplit.transforms.write.names import shard_names, temp_folder
from beamsplit.transforms.write.partitioned import PartitionBy
from beamsplit.transforms.write.point_of_no_return import renaming, wanted
from beamsplit.transforms.write.storage import local_path, remove, remove_folder, replace, size_of
from beamsplit.transforms.write.store_folders import disown_store_folder, own_store_folder
from beamsplit.transforms.write.temp_file import Target, TempFile, open_block_file


class Publish(Protocol):
    """What makes files known to readers who do not look into their folder: a commit of a table."""

    @property
    def job_id(self) -> str:
        """Names the job's temporary folder and its files."""

    @property
    def moves(self) -> bool:
        """Whether the files stay, under their names; else they are read, and go with the temporary folder."""

    @property
    def partitions(self) -> PartitionBy | None:
        """By what rows are put together in files; None: not at all."""

    def is_done(self) -> bool:
        """Whether that was done, as this step may run again: then nothing more is."""

    def __call__(self, names: list[str]) -> None:
        """Do it, wholly or, with an error, not at all."""


def finalize(
    files: Iterable[TempFile],
    target: Target,
    single: bool,
    overwrite: bool = True,
    replaced: Iterable[str] = (),
    publish: Publish | None = None,
) -> list[str]:
    """Rename the files in the order of their rows, then remove those that are replaced and the temporary folder.

    It may be run again after it was stopped anywhere. Until every new file is in place no old file is removed; a file
    that is not `replaced` is never.

    Args:
        files: What the bundles wrote, in any order. None at all gives one file without rows.
        target: The job's output.
        single: There is one file, and it has the output's own name.
        overwrite: Whether a file may be replaced.
        replaced: The files of an earlier output.
        publish: Makes the files known once they have their names.

    Returns:
        The final names.

    Raises:
        FileExistsError: a file is in the way.
    """
    ordered = sorted(files, key=lambda file: (file.order, file.path))
    if not ordered:
        ordered = [write_empty(target)]
    names = shard_names(target.output, len(ordered), single)
    if not overwrite and all(size_of(file.path) is not None for file in ordered):
        # None was renamed yet.
        there = next((name for name in names if size_of(name) is not None), None)
        if there is not None:
            raise FileExistsError(f"{there} is there by now, and is not overwritten without --overwrite")
    with renaming(target.output, target.job_id):
        if publish is None or publish.moves:
            move_all(ordered, names)
        else:
            names = [file.path for file in ordered]
        for path in sorted(set(replaced) - set(names)):
            remove(path)
        if publish is not None:
            # The folder is what tells whose the files are: it goes last.
            publish(names)
        remove_folder(target.folder)
    return names


def move_all(files: Sequence[TempFile], names: Sequence[str]) -> None:
    """`move_into_place` for all of them, in order; at a store, which takes its time for each, side by side."""
    if local_path(names[0]) is not None:
        for file, name in zip(files, names, strict=True):
            move_into_place(file, name)
        return
    from beamsplit.transforms.stores.store import each

    each(move_into_place, files, names)


def move_into_place(file: TempFile, name: str) -> None:
    """Rename; a rename that has already happened is recognised by the size of the file.

    Raises:
        FileNotFoundError: the file is neither here nor there.
    """
    if size_of(file.path) is not None:
        replace(file.path, name)
    elif (there := size_of(name)) != file.bytes:
        raise FileNotFoundError(
            f"{file.path} is gone and {name} has {there} bytes, not {file.bytes}: "
            "something else writes to the same output"
        )


def write_empty(target: Target) -> TempFile:
    """A valid file without rows."""
    path = target.new_path()
    with wanted(target.job_id):
        open_block_file(target.format, path, target.schema).close()
    return TempFile(path, 0, size_of(path) or 0, ("", 0, 0))


def remove_temp(output: str, job_id: str) -> None:
    """Delete what a failed job has written so far; call it after `give_up`, and when its processes have ended."""
    remove_folder(temp_folder(output, job_id))


def own_folders(written: Iterable[tuple[str, str]]) -> None:
    """Make the temporary folders of a job whose workers end with this process; those that such jobs left are removed.

    Args:
        written: output and job id of what the job writes.

    Raises:
        OSError: one cannot be made.
        UsageError: of a store says why not.
    """
    for output, job_id in written:
        folder = local_path(temp_folder(output, job_id))
        if folder is not None:
            parent, name = os.path.split(os.path.abspath(folder))
            remove_abandoned(parent, f"{re.escape(name.removesuffix(job_id))}[0-9a-f]{{{len(job_id)}}}")
            own(folder)
        else:
            own_store_folder(temp_folder(output, job_id), job_id)


def disown_folders(written: Iterable[tuple[str, str]]) -> None:
    """Remove what of these folders is still there."""
    for output, job_id in written:
        folder = local_path(temp_folder(output, job_id))
        if folder is not None:
            disown(folder)
        else:
            disown_store_folder(job_id)
