"""The folder beside an output in which a job keeps what it has finished.

    out/.preds.parquet-resume/
        job.json            what the job is: what another run must be too, to go on here
        owner               the run that is at work
        begun-000012        a worker is at unit 12
        part-000012-...     its predictions            } there with all of their bytes
        errors-000012-...   its rows that failed       } before the record is
        done-000012.json    the record: unit 12 is done
        final.json          all units are done: which files get which names

A file that is complete is told by another that is written behind it, whole or not at all. So whatever is killed, and
whenever, a unit is done or not. Object stores know no renames, and none is needed for this.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from beamsplit.transforms.resume.record import UnitRecord
from beamsplit.transforms.resume.units import THREADS
from beamsplit.transforms.write.names import temp_folder
from beamsplit.transforms.write.storage import (
    files_in,
    local_path,
    open_output,
    read_whole,
    remove,
    size_of,
    write_whole,
)

JOB, OWNER, FINAL = "job.json", "owner", "final.json"
_DONE, _BEGUN, _PART, _ERRORS = "done-", "begun-", "part-", "errors-"
_LOCK = ".owner-"
"""Begins the names of files that are locked: see `models.owned_folder`."""


class OtherRunError(RuntimeError):
    """Another run of the job has taken over, in one line."""


@dataclass(frozen=True)
class KeptFolder:
    """The folder of one output, as one run sees it."""

    path: str
    run: str
    """Tells this run from others."""

    job: str = ""
    """What the job is: records of another are none."""

    @classmethod
    def beside(cls, output: str) -> KeptFolder:
        """That of an output, for a new run."""
        run = uuid.uuid4().hex[:12]
        return cls(temp_folder(output, job_id(run)), run)

    @property
    def job_id(self) -> str:
        """Of this run: by it jobs are given up."""
        return job_id(self.run)

    def new_part(self, unit: int) -> str:
        """A name for predictions of a unit that nothing else has."""
        return f"{self.path}/{_PART}{unit:06d}-{uuid.uuid4().hex}"

    def new_errors(self, unit: int) -> str:
        """The same for its errors."""
        return f"{self.path}/{_ERRORS}{unit:06d}-{uuid.uuid4().hex}"

    def take_over(self) -> None:
        """Note that this run is the one at work: others that still are find out before their next unit."""
        write_whole(f"{self.path}/{OWNER}", self.run.encode())

    def check_owner(self) -> None:
        """Raise if another run has taken over.

        Raises:
            OtherRunError: it has.
        """
        owner = read_whole(f"{self.path}/{OWNER}")
        if owner is None or owner.decode(errors="replace") != self.run:
            raise OtherRunError(f"another command with --resume goes on in {self.path}: this one ends")

    def note_begun(self, unit: int) -> None:
        """Note that a unit is at work."""
        with open_output(f"{self.path}/{_BEGUN}{unit:06d}") as out:
            out.write(b"begun")

    def write_record(self, record: UnitRecord) -> None:
        """Note that a unit is done; its files are there."""
        write_whole(f"{self.path}/{_DONE}{record.unit:06d}.json", record.to_json(self.path, self.job))

    def read_record(self, unit: int) -> UnitRecord | None:
        """The record of a unit; None where it is not done, or what it tells of is not there."""
        return self._record(f"{self.path}/{_DONE}{unit:06d}.json")

    def _record(self, path: str, whole: bool = True) -> UnitRecord | None:
        data = read_whole(path)
        if data is None:
            return None
        try:
            record = UnitRecord.of_json(data, self.path, self.job)
        except (ValueError, KeyError, TypeError, IndexError):
            return None
        needed = record.files if whole else [record.errors.file] if record.errors is not None else []
        return record if all(size_of(file.path) == file.bytes for file in needed) else None

    def read_records(self, whole: bool = True) -> dict[int, UnitRecord]:
        """The units that are done, by number; unless `whole`, also those whose predictions have their names already."""
        names = files_in(f"{self.path}/", _DONE)
        read = partial(self._record, whole=whole)
        if local_path(self.path) is not None:
            found: Iterable[UnitRecord | None] = map(read, names)
            return {record.unit: record for record in found if record is not None}
        with ThreadPoolExecutor(THREADS) as pool:
            return {record.unit: record for record in pool.map(read, names) if record is not None}

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What `JOB` or `FINAL` tells; None where it is not there."""
        data = read_whole(f"{self.path}/{name}")
        try:
            told = None if data is None else json.loads(data)
        except ValueError:
            return None
        return told if isinstance(told, dict) else None

    def write_json(self, name: str, told: dict[str, Any]) -> None:
        """Write one of them."""
        write_whole(f"{self.path}/{name}", json.dumps(told).encode())

    def drop(self, name: str) -> None:
        """Remove one of them."""
        remove(f"{self.path}/{name}")

    def begun(self, done: Collection[int]) -> int:
        """Units that were begun and are not among those that are done."""
        names = files_in(f"{self.path}/", _BEGUN)
        units = {int(path.rsplit("-", 1)[-1]) for path in names}
        return len(units - set(done))

    def clear(self, records: Iterable[UnitRecord] | None = None) -> None:
        """Remove all but who has it; and but what the job is and these units have, where it goes on."""
        kept = {f"{self.path}/{OWNER}"}
        if records is not None:
            kept.add(f"{self.path}/{JOB}")
            for record in records:
                kept |= {f"{self.path}/{_DONE}{record.unit:06d}.json", *(file.path for file in record.files)}
        for path in files_in(f"{self.path}/", ""):
            if path not in kept and not path.rsplit("/", 1)[-1].startswith(_LOCK):
                remove(path)


def job_id(run: str) -> str:
    """The id of a run: all runs of one output share a folder."""
    return f"resume.{run}"
