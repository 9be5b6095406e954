"""Makes a given number of shards out of the files that the bundles wrote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from beamsplit.transforms.formats import FORMATS
from beamsplit.transforms.write.point_of_no_return import wanted
from beamsplit.transforms.write.storage import open_output, size_of
from beamsplit.transforms.write.temp_file import Target, TempFile


@dataclass(frozen=True)
class Part:
    """Rows [start, stop) of a file."""

    file: TempFile
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        """Whether it is the file from end to end."""
        return self.start == 0 and self.stop == self.file.rows


@dataclass(frozen=True)
class OutputShard:
    """What one final file is made of."""

    index: int
    """Number of the shard, from 0."""

    parts: tuple[Part, ...]
    """In the order of their rows; none at all makes a file without rows."""


def plan_shards(files: Iterable[TempFile], count: int) -> list[OutputShard]:
    """Deal the files to `count` shards of about equal rows, in row order.

    With at least `count` files each shard gets whole neighbouring files, so that a shard of one file needs no
    work; with fewer, files are cut and the shards differ by at most one row.
    """
    ordered = sorted(files, key=lambda file: (file.order, file.path))
    rows = [file.rows for file in ordered]
    ends = _whole_file_ends(rows, count) if len(rows) >= count else _equal_ends(rows, count)
    plans, begin = [], 0
    for index, end in enumerate(ends):
        plans.append(OutputShard(index, tuple(_parts(ordered, begin, end))))
        begin = end
    return plans


def merge_shard(plan: OutputShard, target: Target) -> TempFile:
    """Write the parts of a shard to one new file, row groups or bytes at a time; one whole file stays as it is."""
    order = ("", 0, plan.index)
    if len(plan.parts) == 1 and plan.parts[0].whole:
        file = plan.parts[0].file
        return TempFile(file.path, file.rows, file.bytes, order)
    path = target.new_path()
    with wanted(target.job_id):
        out = open_output(path)
    parts = [(part.file.path, part.start, part.stop, part.file.rows) for part in plan.parts]
    FORMATS[target.format].writer.merge(out, target.schema, parts)
    return TempFile(path, sum(part.stop - part.start for part in plan.parts), size_of(path) or 0, order)


def _equal_ends(rows: list[int], count: int) -> list[int]:
    total = sum(rows)
    return [total * (index + 1) // count for index in range(count)]


def _whole_file_ends(rows: list[int], count: int) -> list[int]:
    """One past the last row of each shard, at ends of files, each shard with at least one file."""
    total, ends, done, at = sum(rows), [], 0, 0
    for index in range(count - 1):
        goal = total * (index + 1) / count
        done += rows[at]
        at += 1
        left = count - 1 - index
        while len(rows) - at > left and done + rows[at] / 2 <= goal:
            done += rows[at]
            at += 1
        ends.append(done)
    return [*ends, total]


def _parts(files: list[TempFile], begin: int, end: int) -> Iterator[Part]:
    first = 0
    for file in files:
        start, stop = max(begin - first, 0), min(end - first, file.rows)
        if start < stop:
            yield Part(file, start, stop)
        first += file.rows
