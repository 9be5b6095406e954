"""The last steps of a job that resumes: units that were done before come in, and the files get their names."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.pvalue import AsList, PCollection

from beamsplit.transforms.resume.finish import Ending, finish
from beamsplit.transforms.resume.record import UnitRecord
from beamsplit.transforms.write.blocks import as_shards
from beamsplit.transforms.write.temp_file import TempFile


class FinishUnits(beam.PTransform):
    """PCollection[UnitRecord], of the units that this run does -> PCollection[str], the names of the files.

    Args:
        ending: of the job.
        before: the units that earlier runs have done.
        num_shards: How many files; None: as many as there are units with rows.
    """

    def __init__(self, ending: Ending, before: Sequence[UnitRecord], num_shards: int | None) -> None:
        super().__init__()
        self._ending, self._before = ending, list(before)
        self._count = 1 if ending.single else num_shards

    def expand(self, records: PCollection) -> PCollection:
        """Wire it."""
        once = records.pipeline | "Once" >> beam.Impulse()
        if self._before:
            before = once | "Done before" >> beam.FlatMap(_each, self._before).with_output_types(UnitRecord)
            records = (records, before) | "All" >> beam.Flatten()
        files = records | "Files" >> beam.FlatMap(_predictions).with_output_types(TempFile)
        if self._count is not None:
            files = as_shards(files, once, self._ending.target, self._count)
        last = beam.FlatMap(_finish, self._ending, AsList(records), AsList(files)).with_output_types(str)
        return once | "Finalize" >> last


def _each(_: bytes, records: list[UnitRecord]) -> list[UnitRecord]:
    return records


def _predictions(record: UnitRecord) -> list[TempFile]:
    return [] if record.file is None else [record.file]


def _finish(_: bytes, ending: Ending, records: list[UnitRecord], files: list[TempFile]) -> list[str]:
    return finish(ending, records, files)
