"""What the last workers of a model in parts do with what comes of a partition: transactions, state, what is lost."""

from __future__ import annotations

import threading
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import GlobalWindow

from beamsplit.transforms.apply import FAILED, row_error
from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka import transact
from beamsplit.transforms.kafka.blocks import block_of, with_ranges
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.gaps import Gap, with_gaps
from beamsplit.transforms.kafka.in_order import (
    OffsetRange,
    Piece,
    error_piece,
    range_piece,
    rows_piece,
)
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.ordered_transactions import (
    RANGES,
    ErrorsByPartition,
    OutputsLostError,
    RowsByPartition,
    TellRanges,
    TransactInOrder,
)
from beamsplit.transforms.kafka.transact import Transacted
from tests.transforms.kafka.fake_message import FakeMessage
from tests.transforms.kafka.held_transactions import Open

PATIENCE = 10.0


def told(begin: int, *offsets: int, end: int = 0, begins: bool = False, gaps: tuple[Gap, ...] = ()) -> Piece:
    one = OffsetRange(begin, end or begin + 2, np.array(offsets, np.int64).tobytes(), begins, gaps)
    return range_piece(one)


def message(offset: int, partition: int = 0) -> FakeMessage:
    return FakeMessage(b"", partition, offset, None, None, 1)


def scored(*offsets: int) -> Piece:
    block = block_of([message(offset) for offset in offsets], "in")
    return rows_piece(block.set_column(0, "x", pa.array(offsets)))


class Bag(list[Any]):
    """State of one key."""

    add = list.append

    def read(self) -> list[Any]:
        coder = FastPrimitivesCoder()
        return [coder.decode(coder.encode(each)) for each in self]


class Timer:
    """A timer of one key."""

    at: Any = None

    def set(self, at: Any) -> None:
        self.at = at

    def clear(self) -> None:
        self.at = None


class Key:
    """Partition 0 in the last workers, and a clock."""

    def __init__(self, opened: Open):
        self.pieces, self.late, self.end, self.now = Bag(), Timer(), Timer(), 100.0
        self.partition, self.opened = opened.partition, opened
        self.partition.let.set()
        topic, group = Topic("h:1", "out"), Group(ClientConfig("h:1"), "in", "g", commits=False)
        self._dofn = TransactInOrder(Transacted(group, topic), None, PATIENCE, lambda: self.now)._dofn
        self._dofn.setup()

    def bundle(self, *pieces: Piece) -> list[Any]:
        """Have a bundle of these; gives what the partition was told and the failures of rows."""
        self._dofn.start_bundle()
        failed = [
            output.value
            for piece in pieces
            for output in self._dofn.process((b"0", piece), GlobalWindow(), self.pieces, self.late, self.end)
        ]
        self._dofn.finish_bundle()
        told, self.partition.told = self.partition.told, []
        return told + failed

    def later(self, seconds: float) -> None:
        """The time is over that something waits for."""
        self.now += seconds
        self._dofn.when_late(b"0", GlobalWindow(), self.pieces, self.late)

    def over(self) -> None:
        self._dofn.when_over(b"0", self.pieces, self.late)

    def close(self) -> None:
        self._dofn.teardown()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Any:
    opened = Open()
    opened.partition.end = 0
    monkeypatch.setattr(transact, "OPEN", opened)
    made = Key(opened)
    yield made
    made.close()


def values(*offsets: int) -> list[bytes]:
    return [b'{"x":%d}' % offset for offset in offsets]


def test_what_comes_early_waits_over_bundles_and_is_committed_with_what_lies_before_it(key: Key):
    assert key.bundle(scored(2), told(2, 2, 3)) == [] and len(key.pieces) == 2
    assert key.bundle(scored(1, 0), error_piece(RowError("in/0", 3, "infer", "bad"))) == []
    assert (len(key.pieces), key.late.at) == (4, 100.0 + PATIENCE)
    made = key.bundle(told(0, 0, 1, begins=True))
    assert made == ["open", *values(0, 1), *values(2), ("commit", 4), RowError("in/0", 3, "infer", "bad")]
    assert key.pieces == [] and key.late.at is None and key.opened.dropped == 0
    key.later(PATIENCE)
    key.over()


def test_offsets_without_messages_and_gaps_are_committed(key: Key):
    gap = Gap("in", 0, 0, 5, 9)
    (opened, commit, error) = key.bundle(told(0, end=7, begins=True, gaps=(gap,)))
    assert (opened, commit, error.stage) == ("open", ("commit", 7), "gap")


def test_what_is_done_is_not_written_again(key: Key):
    """A restart read it once more: its outputs may come or not."""
    key.partition.end = 3
    assert key.bundle(told(0, 0, 1, begins=True), scored(0)) == [] and key.pieces == []
    assert key.bundle(scored(2), error_piece(RowError("in/0", 2, "infer", "bad")), told(2, 2, 3), scored(3)) == [
        *("open", *values(3), ("commit", 4)),
    ]
    assert key.pieces == []


def test_where_another_process_was_at_work_since_the_transactions_are_opened_anew(key: Key):
    asked = []

    def take(*given: Any) -> Any:
        asked.append(given[3])
        if given[3] > key.partition.end:
            key.partition.end = 7  # as the group says
        return key.partition

    key.opened.take = take  # type: ignore[method-assign]
    assert key.bundle(told(6, 6, 7, begins=True), scored(6, 7)) == ["open", *values(7), ("commit", 8)]
    assert asked == [0, 6]


def test_a_bundle_that_fails_leaves_nothing_open(key: Key):
    key.partition.fails = True
    with pytest.raises(RuntimeError, match="taken over"):
        key.bundle(told(0, 0, begins=True), scored(0))
    assert key.opened.dropped == 1


def test_a_partition_that_goes_on_is_waited_for(key: Key):
    """However slow a stage is: what is behind it may wait for longer than what counts as lost."""
    key.bundle(told(0, 0, begins=True), told(2, 2), told(4, 4))
    key.now += PATIENCE - 1
    key.bundle(scored(0))
    key.later(PATIENCE - 1)
    assert key.late.at == 2 * PATIENCE - 1 + 100.0
    key.bundle(scored(2))
    key.later(PATIENCE - 1)
    assert key.bundle(scored(4)) == ["open", *values(4), ("commit", 6)]


def test_what_does_not_come_fails_the_job_by_how_long_others_wait(key: Key):
    key.bundle(told(0, 0, begins=True))
    key.now += PATIENCE - 1
    key.bundle(told(2, 2), scored(2))
    assert key.late.at == 100.0 + PATIENCE, "others that come do not put it off"
    key.later(0.5)
    lost = "in/0: neither outputs nor errors came of 1 of 1 messages of offsets 0 to 1, from 0 on: "
    with pytest.raises(OutputsLostError, match=f"^{lost}what came behind has waited for 10 s$"):
        key.later(0.5)
    with pytest.raises(OutputsLostError, match=f"^{lost}the input is over$"):
        key.over()


def test_pieces_of_blocks_tell_what_was_read_by_partition():
    block = block_of([message(3), message(4, 1), message(5)], "in")
    block = with_gaps(with_ranges(block, {0: (3, 7), 1: (4, 5), 2: (0, 1)}, begins=[1]), [Gap("in", 0, 1, 3, 9)])
    (zero, one, two, passed) = TellRanges.dofn.process(block)
    (last,) = TellRanges.dofn.process(with_ranges(block.slice(0, 0), {0: (7, 8)}))
    assert [each.value for each in (zero, one, two, last)] == [
        (b"0", told(3, 3, 5, end=7, gaps=(Gap("in", 0, 1, 3, 9),))),
        (b"1", told(4, 4, end=5, begins=True)),
        (b"2", told(0, end=1)),
        (b"0", told(7, end=8)),
    ]
    assert passed.equals(block)


class _Cut(beam.DoFn):
    """Rows of a block as micro-batches of every third; offsets that end with 7 fail."""

    def process(self, block: pa.RecordBatch) -> Any:
        offsets = block.column(ORIGIN_ROW).to_numpy()
        for row in np.flatnonzero(offsets % 10 == 7).tolist():
            yield beam.pvalue.TaggedOutput(FAILED, row_error(block, row, "infer", "bad"))
        for third in range(3):
            rows = block.take(pa.array(np.flatnonzero((offsets % 3 == third) & (offsets % 10 != 7))))
            if rows.num_rows:
                yield rows.set_column(0, "x", rows.column(ORIGIN_ROW))


def test_in_a_pipeline_all_comes_out_in_order(monkeypatch: pytest.MonkeyPatch):
    here: dict[int, Open] = {}
    lock = threading.Lock()

    class Each:
        """The transactions of each partition."""

        def take(self, _: Any, partition: int, *more: Any) -> Any:
            with lock:
                if partition not in here:
                    here[partition] = Open()
                    here[partition].partition.end = 0
                    here[partition].partition.let.set()
            return here[partition].partition

        def drop(self, _: Any) -> None: ...

    monkeypatch.setattr(transact, "OPEN", Each())
    blocks = []
    for begin in range(0, 120, 20):
        rows = [message(at, partition) for partition in (0, 1) for at in range(begin, begin + 20)]
        ranges = {p: (begin, begin + 20) for p in (0, 1)}
        blocks.append(with_ranges(block_of(rows, "in"), ranges, begins=[0, 1] if begin == 0 else []))
    group = Group(ClientConfig("h:1"), "in", "g", commits=False)
    with beam.Pipeline("FnApiRunner") as pipeline:
        told = pipeline | beam.Create(blocks[::-1]) | TellRanges()
        made = told.blocks | beam.Reshuffle() | beam.ParDo(_Cut()).with_outputs(FAILED, main="blocks")
        made.blocks.element_type, made[FAILED].element_type = pa.RecordBatch, RowError
        pieces = (told[RANGES], made.blocks | RowsByPartition(), made[FAILED] | ErrorsByPartition())
        left = pieces | beam.Flatten() | TransactInOrder(Transacted(group, Topic("h:1", "out")))
        failed = left | beam.Map(lambda error: (error.file, error.row))
        assert_that(failed, equal_to([(f"in/{p}", at) for p in (0, 1) for at in range(7, 120, 10)]))
    for one in here.values():
        sent = [each for each in one.partition.told if isinstance(each, bytes)]
        assert sent == values(*(at for at in range(120) if at % 10 != 7))
        assert one.partition.told[-1] == ("commit", 120)
