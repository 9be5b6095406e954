"""How many rows failed and why, with the first of them: of a bundle or a job, as values and as JSON. No Beam."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from beamsplit.transforms.failures.error_file import row_bases
from beamsplit.transforms.failures.kinds import FailureKinds
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.split import parse_origin_file
from beamsplit.transforms.write.storage import open_input
from beamsplit.transforms.write.temp_file import origin_order


@dataclass
class FailureSummary:
    """How many rows failed and why, and the first of them in input order."""

    limit: int
    """How many errors to keep."""

    kinds: FailureKinds = field(default_factory=FailureKinds)
    """Failed rows by stage and reason."""

    _heap: list[_Last] = field(default_factory=list)

    def add(self, error: RowError) -> None:
        """Take one more error in."""
        self.kinds.add(error.stage, error.reason)
        self.keep(error)

    def merge(self, other: FailureSummary) -> None:
        """Take in what another summary has."""
        self.kinds.merge(other.kinds)
        for error in other.first():
            self.keep(error)

    def first(self) -> list[RowError]:
        """The first errors, in input order."""
        return [last.error for last in sorted(self._heap, reverse=True)]

    def keep(self, error: RowError) -> None:
        """Be among the first, if it is one of them; it is not counted."""
        last = _Last((*origin_order(error.file, error.row), error.stage, error.reason), error)
        if len(self._heap) < self.limit:
            heapq.heappush(self._heap, last)
        elif self._heap and self._heap[0] < last:
            heapq.heapreplace(self._heap, last)


@dataclass(frozen=True)
class _Last:
    """Turns the order round, so that the top of the heap is the last of the errors kept."""

    key: tuple[str, int, int, str, str]
    error: RowError

    def __lt__(self, other: _Last) -> bool:
        return self.key > other.key


class FirstErrorsRead(NamedTuple):
    """What `FirstErrors` wrote."""

    total: int
    """Rows that failed."""

    stages: dict[str, int]
    """The same for each stage, most first."""

    first: list[RowError]
    """The first of them, with row numbers of whole files."""

    kinds: FailureKinds
    """Rows by stage and reason."""


def read_first_errors(path: str) -> FirstErrorsRead:
    """Read what `FirstErrors` wrote."""
    with open_input(path) as file:
        return of_summary_data(json.loads(file.read()))


def of_summary_data(data: Mapping[str, Any]) -> FirstErrorsRead:
    """What `summary_data` made."""
    kinds = FailureKinds.of_list(data["kinds"])
    return FirstErrorsRead(kinds.total, kinds.by_stage(), [RowError(**error) for error in data["first"]], kinds)


def summary_data(whole: FailureSummary) -> dict[str, Any]:
    """What `read_first_errors` reads, for JSON: with row numbers of whole files."""
    first = whole.first()
    origins = [parse_origin_file(error.file) for error in first]
    bases = row_bases({(name, byte) for name, byte in origins if byte is not None})
    resolved = [
        error._replace(file=name, row=error.row + (0 if byte is None else bases[name, byte]))._asdict()
        for error, (name, byte) in zip(first, origins, strict=True)
    ]
    return {"kinds": whole.kinds.to_list(), "first": resolved}
