"""The end of a job that resumes: when all units are done its files get their names, and whoever is killed goes on.

all units done -> merged -> final.json: what gets which name -> renamed -> told -> folder removed
                                |
killed behind this line: the next run gives the names, and scores nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beamsplit.transforms.failures.error_file import write_merged
from beamsplit.transforms.failures.limit import FailureLimit
from beamsplit.transforms.failures.reasons import FirstErrorsRead, of_summary_data, summary_data
from beamsplit.transforms.resume.folder import FINAL, KeptFolder
from beamsplit.transforms.resume.record import UnitRecord, all_failures, total_counters
from beamsplit.transforms.write.finalize import Publish, move_all, move_into_place, write_empty
from beamsplit.transforms.write.names import shard_names, temp_folder
from beamsplit.transforms.write.point_of_no_return import renaming, wanted
from beamsplit.transforms.write.storage import flush_to_disk, remove, remove_folder, replace, size_of
from beamsplit.transforms.write.temp_file import Target, TempFile


@dataclass(frozen=True)
class Ending:
    """What the last step must know."""

    folder: KeptFolder
    target: Target
    units: int
    """Of the whole job."""

    named: str
    """What files are named after: the output, or what a table's files are called."""

    single: bool
    """There is one file, and it has the output's own name."""

    overwrite: bool
    replaced: tuple[str, ...] = ()
    """Files of an earlier output."""

    errors: str | None = None
    """The errors file."""

    limit: FailureLimit | None = None
    check: Callable[[], None] | None = None
    """Raises where what was read has changed meanwhile."""

    publish: Publish | None = None
    """Makes the files known once they have their names: a commit of a table. It leaves them where it fails."""


@dataclass(frozen=True)
class Finished:
    """What a job that is done has done, in all of its runs."""

    counters: dict[str, int] = field(default_factory=dict)
    """Of rows, by name."""

    failed: FirstErrorsRead | None = None
    """Why rows failed, and the first of them."""

    units: int = 0

    @property
    def told(self) -> dict[str, int]:
        """What a run that scored nothing took over."""
        return {"splits": self.units, "of_splits": self.units, "rows": rows_read(self.counters), "scored_again": 0}


def finish(ending: Ending, records: Sequence[UnitRecord], files: Iterable[TempFile]) -> list[str]:
    """Give the files of a job their names; they are complete. It may be run again after it was stopped anywhere.

    Args:
        ending: of the job.
        records: of all units.
        files: predictions, as they get their names: in any order.

    Raises:
        OtherRunError: another run has taken over.
        TooManyFailedError: more rows failed than may.
        FileExistsError: a file is in the way.
        RuntimeError: the job was given up.
    """
    folder = ending.folder
    folder.check_owner()
    if folder.read_json(FINAL) is None:
        _settle(ending, records, files)
    told = folder.read_json(FINAL)
    assert told is not None
    return give_names(folder, ending.target.output, _with_errors(folder, told, ending.errors), ending.publish)


def _settle(ending: Ending, records: Sequence[UnitRecord], files: Iterable[TempFile]) -> None:
    """Check that all is there, and note what gets which name."""
    missing = ending.units - len({record.unit for record in records})
    if missing:
        raise RuntimeError(f"{missing} of {ending.units} splits were not scored: run the command again with --resume")
    if ending.check is not None:
        ending.check()
    counters, failed = total_counters(records), all_failures(records)
    if ending.limit is not None and ending.limit.passed(failed.kinds.total, rows_read(counters)):
        raise ending.limit.error(failed.kinds.total, rows_read(counters), failed.kinds.listed()[0])
    target = ending.target
    ordered = sorted(files, key=lambda file: (file.order, file.path)) or [write_empty(target)]
    names = shard_names(ending.named, len(ordered), ending.single)
    there = next((name for name in names if not ending.overwrite and size_of(name) is not None), None)
    if there is not None:
        raise FileExistsError(f"{there} is there by now, and is not overwritten without --overwrite")
    for file in ordered:
        flush_to_disk(file.path)
    errors = None if ending.errors is None else _merged(ending.folder, ending.errors, records)
    with wanted(ending.folder.job_id):
        told = {
            "files": [[file.path, file.bytes, name] for file, name in zip(ordered, names, strict=True)],
            "errors": errors,
            "replaced": sorted(set(ending.replaced) - set(names)),
            "counters": counters,
            "units": ending.units,
            **summary_data(failed),
        }
        ending.folder.write_json(FINAL, told)


def _merged(folder: KeptFolder, path: str, records: Iterable[UnitRecord]) -> list[Any]:
    """[where all errors are, bytes, what they will be called]."""
    failed = [record.errors for record in records if record.errors is not None]
    merged = write_merged(failed, path, temp_folder(path, folder.job_id), folder.job_id)
    flush_to_disk(merged)
    return [merged, size_of(merged), path]


def give_names(folder: KeptFolder, output: str, told: dict[str, Any], publish: Publish | None = None) -> list[str]:
    """Do what `FINAL` tells, or what is left of it; the names.

    Raises:
        RuntimeError: the job was given up.
        FileNotFoundError: something else has taken a file, or writes to the same output.
    """
    names = [name for _, _, name in told["files"]]
    with renaming(output, folder.job_id):
        if told["errors"]:
            path, size, name = told["errors"]
            move_into_place(TempFile(path, 0, size, ("", 0, 0)), name)
        files = [TempFile(path, 0, size, ("", 0, 0)) for path, size, _ in told["files"]]
        if publish is None:
            move_all(files, names)
        elif not publish.is_done():
            if publish.moves:
                move_all(files, names)
            else:
                names = [file.path for file in files]
            publish(names)
        for path in told["replaced"]:
            remove(path)
        if told["errors"]:
            remove_folder(temp_folder(told["errors"][2], folder.job_id))
    return names


def go_on_with_names(folder: KeptFolder, output: str, errors: str | None) -> bool:
    """Give the names that a run which was killed meanwhile has not given; False where it was not so far.

    Args:
        folder: of the output; this run has taken it over.
        output: as it is named.
        errors: the errors file of this run: it may be another one.
    """
    told = folder.read_json(FINAL)
    if told is None:
        return False
    give_names(folder, output, _with_errors(folder, told, errors))
    return True


def _with_errors(folder: KeptFolder, told: dict[str, Any], errors: str | None) -> dict[str, Any]:
    """What `FINAL` tells, with errors that go where this run wants them."""
    before = told["errors"]
    if errors is None:
        return {**told, "errors": None}
    if before is None or before[2] != errors or (size_of(before[0]) is None and size_of(errors) != before[1]):
        return {**told, "errors": _merged(folder, errors, folder.read_records(whole=False).values())}
    return told


def take_back_errors(told: dict[str, Any]) -> None:
    """Let errors that have their name already wait for it again: they would be in the way of the job that goes on."""
    for path, size, name in filter(None, [told["errors"]]):
        if size_of(path) is None and size_of(name) == size:
            replace(name, path)


def are_there(told: dict[str, Any]) -> bool:
    """Whether the files of which `FINAL` tells are all there, under the one name or the other."""
    return all(size in (size_of(path), size_of(name)) for path, size, name in told["files"])


def finished(folder: KeptFolder) -> Finished:
    """What was told of a job whose files have their names."""
    told = folder.read_json(FINAL)
    return Finished() if told is None else Finished(told["counters"], of_summary_data(told), told["units"])


def rows_read(counters: Mapping[str, int]) -> int:
    """Rows of the input, bad ones too."""
    return counters.get("rows_read", 0) + counters.get("rows_unreadable", 0)
