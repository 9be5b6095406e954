"""Writes a collection of blocks to files."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import working_in
from beamsplit.transforms.write.finalize import Publish, finalize
from beamsplit.transforms.write.merge import OutputShard, merge_shard, plan_shards
from beamsplit.transforms.write.names import check_output, is_single
from beamsplit.transforms.write.partitioned import PartitionBy, PartitionWriters
from beamsplit.transforms.write.point_of_no_return import folder_on_this_machine
from beamsplit.transforms.write.storage import remove_folder
from beamsplit.transforms.write.temp_file import Target, TempFile, TempFileWriter, written_columns


class WriteBlocks(beam.PTransform):
    """PCollection[pa.RecordBatch] -> PCollection[str], the names of the files written.

        bundle 1 -> temp file --+
        bundle 2 -> temp file --+-> rename in input order -> preds-00000-of-00002.parquet, ...
                     (records only: rows are never shuffled)

    Each bundle writes a file of its own in a hidden folder beside the output. One last step, which sees only a
    small record of each file, gives them their names. A job that fails before that leaves no final file and
    the results of earlier runs as they were; call `remove_temp(output, transform.job_id)` then.

    Args:
        output: A name ending in the extension of a format that is written, e.g. .parquet; gs:// and s3:// names work.
            With one * in it, which stands for the files' numbers, or a folder (`out/`), there are many files.
        schema: Of the blocks; internal columns may be in it and are not written.
        num_shards: How many files. None writes exactly `output`; of a pattern or folder as many as there were
            bundles, which costs nothing; otherwise files are merged or cut at the end, in row order.
        write_behind: Encode on a thread beside the one that scores. Switch it off where there are as many
            workers as cores.
        after: What must be done before files get their names; its elements do not matter.
        check: Called before files get their names; raises where what was written must not count.
        overwrite: Whether an output that is there is replaced; other files never are.
        publish: Makes the files known once they have their names, in the same step.

    Raises:
        UsageError: the output cannot be written or is there, or `num_shards` is less than 1.
    """

    def __init__(
        self,
        output: str,
        schema: pa.Schema,
        num_shards: int | None = None,
        write_behind: bool = True,
        after: beam.pvalue.PCollection | None = None,
        check: Callable[[], None] | None = None,
        overwrite: bool = True,
        publish: Publish | None = None,
    ) -> None:
        super().__init__()
        self._replaced = check_output(output, (), num_shards, overwrite)
        if num_shards is not None and num_shards < 1:
            raise UsageError(f"--num_shards {num_shards}: an output has at least 1 file; give 1 or more, or none")
        self.job_id = uuid.uuid4().hex[:12] if publish is None else publish.job_id
        """Names the temporary folder."""
        self._target = Target(output, written_columns(schema), self.job_id)
        self._single = is_single(output, num_shards)
        self._num_shards = 1 if self._single else num_shards
        self._overwrite = overwrite
        self._write_behind = write_behind
        self._after = after
        self._check = check
        self._publish = publish

    def expand(self, blocks: beam.pvalue.PCollection) -> beam.pvalue.PCollection:
        """Wire it."""
        target, count = self._target, self._num_shards
        by = None if self._publish is None else self._publish.partitions
        bundles = _WriteBundle(target, self._write_behind, by)
        files = blocks | "Write" >> beam.ParDo(bundles).with_output_types(TempFile)
        # One impulse and a side input, not a grouping: a grouping of nothing would never run the last step.
        once = blocks.pipeline | "Once" >> beam.Impulse()
        if count is not None:
            files = as_shards(files, once, target, count)
        after = [] if self._after is None else [beam.pvalue.AsList(self._after)]
        given = (
            beam.pvalue.AsList(files),
            target,
            self._single,
            self._overwrite,
            self._replaced,
            self._check,
            self._publish,
            *after,
        )
        last = beam.FlatMap(_finalize, *given).with_output_types(str)
        return once | "Finalize" >> last


def as_shards(
    files: beam.pvalue.PCollection, once: beam.pvalue.PCollection, target: Target, count: int
) -> beam.pvalue.PCollection:
    """The files as `count` files in row order, merged or cut where that is needed.

    Args:
        files: PCollection[TempFile].
        once: an impulse.
        target: what the job writes.
        count: how many files there are to be.
    """
    plans = once | "Plan" >> beam.FlatMap(_plan, beam.pvalue.AsList(files), count).with_output_types(OutputShard)
    if count > 1:
        plans |= beam.Reshuffle()
    return plans | "Merge" >> beam.Map(merge_shard, target).with_output_types(TempFile)


def _plan(_: bytes, files: list[TempFile], count: int) -> list[OutputShard]:
    return plan_shards(files, count)


def _finalize(
    _: bytes,
    files: list[TempFile],
    target: Target,
    single: bool,
    overwrite: bool,
    replaced: tuple[str, ...],
    check: Callable[[], None] | None,
    publish: Publish | None,
    after: list[object] | None = None,
) -> list[str]:
    with working_in(folder_on_this_machine(target.output, target.job_id)):
        if check is not None:
            check()
        if publish is not None and publish.is_done():
            remove_folder(target.folder)
            return []
        return finalize(files, target, single, overwrite, replaced, publish)


class _WriteBundle(beam.DoFn):
    def __init__(self, target: Target, write_behind: bool, by: PartitionBy | None) -> None:
        self._target = target
        self._write_behind = write_behind
        self._by = by
        self._writer: TempFileWriter | PartitionWriters | None = None
        self._rows = Metrics.counter("beamsplit", "rows_written")
        self._usec = Metrics.counter("beamsplit", "write_usec")

    def start_bundle(self) -> None:
        self._abort()

    def process(self, block: pa.RecordBatch) -> None:
        if block.num_rows:
            if self._writer is None:
                one = self._by is None
                target, by = self._target, self._by
                self._writer = TempFileWriter(target, self._write_behind) if one else PartitionWriters(target, by)
            self._writer.write(block)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._writer is not None:
            closed = self._writer.close()
            files = [closed] if isinstance(closed, TempFile) else closed
            self._rows.inc(sum(file.rows for file in files))
            self._usec.inc(int(self._writer.seconds * 1e6))
            self._writer = None
            for file in files:
                yield GlobalWindows.windowed_value_at_end_of_window(file)

    def teardown(self) -> None:
        self._abort()

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
