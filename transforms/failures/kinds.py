"""Why rows failed, counted by kind: reasons that differ in numbers and in quoted values are of one kind. No Beam."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

MOST_KINDS = 1000
"""More are counted as others: what a reason quotes may be anything."""

LONGEST = 300
"""Characters of a reason."""

OTHERS = "other reasons"

_PARTS = re.compile(
    r"((?:column|input|output|field|key|topic) (?:'[^']*'|\"[^\"]*\"))"  # names of columns and topics stay
    r"|('[^']*'|\"[^\"]*\")"
    r"|((?<![A-Za-z_])-?\d[\d.,:]*(?:[eE][+-]?\d+)?)"
)


def kind_of(reason: str) -> str:
    """The reason without what may be another in each row.

    >>> kind_of("class 3 in column 'c1' has no label"), kind_of("'x7' is no number")
    ("class N in column 'c1' has no label", "'...' is no number")
    """
    return _PARTS.sub(lambda found: found[1] or ("'...'" if found[2] else "N"), reason[:LONGEST])


class FailureKind(NamedTuple):
    """Rows that failed in one stage for one reason."""

    stage: str
    reason: str
    """As it was told where all of them have the same, else their kind."""

    rows: int

    def __str__(self) -> str:
        """E.g. `12 in finish: nan in column 'y'`."""
        return f"{self.rows:,} in {self.stage}: {self.reason}"


@dataclass
class FailureKinds:
    """Counts of failed rows by stage and kind of reason; they can be added up."""

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(stage, kind) -> rows."""

    told: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """The reason that all of a kind have so far; None where they differ."""

    def add(self, stage: str, reason: str, rows: int = 1) -> None:
        """Count rows that failed for a reason."""
        self._take((stage, kind_of(reason)), reason[:LONGEST], rows)

    def merge(self, other: FailureKinds) -> None:
        """Add what another counted."""
        for key, rows in other.rows.items():
            self._take(key, other.told.get(key), rows)

    def _take(self, key: tuple[str, str], reason: str | None, rows: int) -> None:
        if key not in self.rows and len(self.rows) >= MOST_KINDS:
            key, reason = (key[0], OTHERS), None
        self.told[key] = reason if self.told.get(key, reason) == reason else None
        self.rows[key] += rows

    @property
    def total(self) -> int:
        """Rows that failed."""
        return self.rows.total()

    def by_stage(self) -> dict[str, int]:
        """Rows for each stage, most first."""
        stages: Counter[str] = Counter()
        for (stage, _), rows in self.rows.items():
            stages[stage] += rows
        return dict(stages.most_common())

    def listed(self) -> list[FailureKind]:
        """The kinds, most first."""
        return [FailureKind(key[0], self.told.get(key) or key[1], rows) for key, rows in self.rows.most_common()]

    def to_list(self) -> list[Any]:
        """For JSON."""
        return [[stage, kind, rows, self.told.get((stage, kind))] for (stage, kind), rows in self.rows.items()]

    @classmethod
    def of_list(cls, found: Iterable[Any]) -> FailureKinds:
        """From what `to_list` gave."""
        made = cls()
        for stage, kind, rows, told in found:
            made._take((stage, kind), told, rows)
        return made


_TALLIES: dict[str, FailureKinds] = {}
_LOCK = threading.Lock()


def tally(job_dir: str, failures: Iterable[tuple[str, str]]) -> None:
    """Count (stage, reason) of failed rows in this process's file of the job's folder, there while the job runs."""
    with _LOCK:
        kinds = _TALLIES.setdefault(job_dir, FailureKinds())
        for stage, reason in failures:
            kinds.add(stage, reason)
        path = Path(job_dir) / f"failures-{os.getpid()}.json"
        written = path.with_suffix(f".{uuid.uuid4().hex}")
        try:
            written.write_text(json.dumps(kinds.to_list()), encoding="utf-8")
            os.replace(written, path)
        except FileNotFoundError:
            _TALLIES.pop(job_dir)  # the job is over, and its folder is gone


def read_tallies(job_dir: str) -> FailureKinds:
    """What all processes of a job have counted."""
    made = FailureKinds()
    for path in Path(job_dir).glob("failures-*.json"):
        made.merge(FailureKinds.of_list(json.loads(path.read_text(encoding="utf-8"))))
    return made
