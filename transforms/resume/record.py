"""What is known of a unit that is done: where its rows lie, what failed, and what was counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from beamsplit.transforms.failures.error_file import FailedRows
from beamsplit.transforms.failures.kinds import FailureKinds
from beamsplit.transforms.failures.reasons import FailureSummary
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.write.temp_file import TempFile

FIRST_ERRORS = 5
"""Errors of a unit that are kept to be shown."""


@dataclass(frozen=True)
class UnitRecord:
    """A unit that is done."""

    unit: int
    """Its number."""

    file: TempFile | None
    """Its predictions; None where it has none."""

    errors: FailedRows | None
    """Its rows that failed; None where none did."""

    counters: Mapping[str, int] = field(default_factory=dict)
    """Beam's counters by name, of rows."""

    failed: FailureSummary = field(default_factory=lambda: FailureSummary(FIRST_ERRORS))
    """The same rows by reason, and the first of them."""

    def to_json(self, folder: str, job: str) -> bytes:
        """For a file in this folder, beside the files that it tells of; `job` says what the job is."""
        errors = None if self.errors is None else [_told(self.errors.file, folder), sorted(self.errors.bytes)]
        told = {
            "job": job,
            "unit": self.unit,
            "file": None if self.file is None else _told(self.file, folder),
            "errors": errors,
            "counters": dict(self.counters),
            "kinds": self.failed.kinds.to_list(),
            "first": [list(error) for error in self.failed.first()],
        }
        return json.dumps(told).encode()

    @classmethod
    def of_json(cls, data: bytes, folder: str, job: str) -> UnitRecord:
        """From what `to_json` made.

        Raises:
            ValueError: it is something else, or of another job.
            KeyError, TypeError, IndexError: the same.
        """
        told = json.loads(data)
        if told["job"] != job:
            raise ValueError(f"a record of the job {told['job']}")
        unit = told["unit"]
        failed = FailureSummary(FIRST_ERRORS, FailureKinds.of_list(told["kinds"]))
        for error in told["first"]:
            failed.keep(RowError(*error))
        errors = None
        if told["errors"] is not None:
            file, origins = told["errors"]
            errors = FailedRows(_file(file, folder, unit), frozenset((path, byte) for path, byte in origins))
        file = None if told["file"] is None else _file(told["file"], folder, unit)
        return cls(unit, file, errors, told["counters"], failed)

    @property
    def files(self) -> list[TempFile]:
        """All files that it tells of."""
        return [file for file in (self.file, self.errors and self.errors.file) if file is not None]


def unit_order(unit: int) -> tuple[str, int, int]:
    """Where a unit's files stand among all: units are numbered in the order of the input."""
    return "", 0, unit


def _told(file: TempFile, folder: str) -> list[Any]:
    return [file.path.removeprefix(f"{folder}/"), file.rows, file.bytes]


def _file(told: list[Any], folder: str, unit: int) -> TempFile:
    name, rows, size = told
    return TempFile(f"{folder}/{name}", rows, size, unit_order(unit))


def total_counters(records: Iterable[UnitRecord]) -> dict[str, int]:
    """The counters of some units, added up.

    >>> total_counters([UnitRecord(0, None, None, {"rows_scored": 2}), UnitRecord(1, None, None, {"rows_scored": 3})])
    {'rows_scored': 5}
    """
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.counters)
    return dict(total)


def all_failures(records: Iterable[UnitRecord]) -> FailureSummary:
    """What failed in some units."""
    whole = FailureSummary(FIRST_ERRORS)
    for record in records:
        whole.merge(record.failed)
    return whole
