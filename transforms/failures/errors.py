"""The errors output: rows that could not be scored, with where they came from."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.transforms.failures.error_file import ErrorLines, FailedRows, to_line, write_merged
from beamsplit.transforms.failures.formats import count_errors, errors_format
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.write.names import check_replaceable, check_writable, temp_folder
from beamsplit.transforms.write.point_of_no_return import wanted
from beamsplit.transforms.write.storage import remove_folder, replace, size_of


class WriteErrors(beam.PTransform):
    """PCollection[RowError] -> PCollection[str]: one JSON line an error in exactly one file, or that in another format.

    Each bundle writes a file of its own; the last step puts them together in the order of the input, with row
    numbers that count from the start of each file, and renames the result. Where there are no errors the file is
    empty. A failed job leaves an earlier file as it was: call `remove_temp(path, transform.job_id)` then.

    Args:
        path: of the file.
        line: makes the line of an error; one that is not `to_line` has its rows' numbers as they are.
        after: the file gets its name only when this is complete.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(
        self,
        path: str,
        line: Callable[[RowError], bytes] | None = None,
        after: beam.pvalue.PCollection | None = None,
    ) -> None:
        super().__init__()
        check_writable(path, "--errors")
        check_replaceable(path, "--errors")
        errors_format(path)
        self._line = line or to_line
        self._after = after
        self.job_id = uuid.uuid4().hex[:12]
        """Names the temporary folder."""
        self._path = path

    def expand(self, errors: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Wire it."""
        folder = temp_folder(self._path, self.job_id)
        write = beam.ParDo(_WriteBundle(folder, self.job_id, self._line)).with_output_types(FailedRows)
        files = errors | "Write" >> write
        once = errors.pipeline | "Once" >> beam.Impulse()
        like = json.loads(self._line(RowError("topic/0", 0, "", "")))
        after = [] if self._after is None else [beam.pvalue.AsList(self._after)]
        given = (beam.pvalue.AsList(files), _Result(self._path, folder, self.job_id, like), *after)
        last = beam.Map(_finish, *given).with_output_types(str)
        return once | "Finalize" >> last


@dataclass(frozen=True)
class _Result:
    """The file that all errors become."""

    path: str
    folder: str
    """Where the bundles' files are."""

    job_id: str
    like: Mapping[str, object] | None = None
    """An error with values of the types that all have."""


def _finish(_: bytes, failures: list[FailedRows], result: _Result, after: list[object] | None = None) -> str:
    """Put the errors in place; it may be run again after it was stopped anywhere.

    The bundles' files go only after the rename, so where one is missing the result must be in place already.
    """
    path, folder, job_id = result.path, result.folder, result.job_id
    if all(size_of(found.file.path) is not None for found in failures):
        merged = write_merged(failures, path, folder, job_id, result.like)
        with wanted(job_id):
            replace(merged, path)
        remove_folder(folder)
        return path
    there = 0 if size_of(path) is None else count_errors(path, errors_format(path))
    rows = sum(found.file.rows for found in failures)
    if there != rows:
        raise FileNotFoundError(
            f"files in {folder} are gone and {path} has {there} errors, not {rows}: something else writes to it"
        )
    remove_folder(folder)
    return path


class _WriteBundle(beam.DoFn):
    def __init__(self, folder: str, job_id: str, line: Callable[[RowError], bytes] | None = None) -> None:
        self._folder, self._job_id, self._line = folder, job_id, line
        self._lines: ErrorLines | None = None

    def start_bundle(self) -> None:
        self.teardown()
        self._lines = ErrorLines(lambda: f"{self._folder}/{uuid.uuid4().hex}", self._job_id, self._line)

    def process(self, error: RowError) -> None:
        assert self._lines is not None
        self._lines.add(error)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        assert self._lines is not None
        found = self._lines.close()
        if found is not None:
            yield GlobalWindows.windowed_value_at_end_of_window(found)

    def teardown(self) -> None:
        if self._lines is not None:
            self._lines.abort()
            self._lines = None
