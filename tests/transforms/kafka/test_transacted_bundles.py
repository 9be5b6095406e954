"""Bundles over real transactions, with a broker in this process: outputs, errors and offsets, all or none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beamsplit.transforms.apply import CountedStep
from beamsplit.transforms.failures.kinds import read_tallies
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka import open_transactions, transact, transactions
from beamsplit.transforms.kafka.blocks import block_of, with_ranges
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.deliveries import Deliveries
from beamsplit.transforms.kafka.ending import JobEndsError, why_it_ends
from beamsplit.transforms.kafka.errors_file import ErrorsFile, PendingErrors
from beamsplit.transforms.kafka.exactly_once import ScoreInTransactions
from beamsplit.transforms.kafka.gaps import Gap, with_gaps
from beamsplit.transforms.kafka.limits import TopicLimits
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.open_transactions import OpenTransactions
from beamsplit.transforms.kafka.transact import Transacted
from beamsplit.transforms.kafka.transactions import Transactions
from beamsplit.transforms.telemetry import recorder
from beamsplit.transforms.worker import read_counts
from tests.transforms.kafka.brokers import FakeBroker, FakeProducer, kafka, settings
from tests.transforms.kafka.delivering import BAD_RECORD, HERE, OUT, TOO_LARGE, poison
from tests.transforms.kafka.fake_message import FakeMessage

GROUP = Group(ClientConfig(HERE), "in", "g", commits=False)
BAD = Topic(HERE, "bad")
CODES = kafka.KafkaError


class Consumer:
    """Asked for the group's metadata."""

    def consumer_group_metadata(self) -> object:
        return object()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, fake_broker: FakeBroker) -> OpenTransactions:
    """Those of this process; where its group is, the broker knows."""
    made = OpenTransactions()
    monkeypatch.setattr(transact, "OPEN", made)
    monkeypatch.setattr(transactions, "committed_end", lambda _, __, partition: fake_broker.done.get(partition))
    monkeypatch.setattr(transactions, "committed_metadata", lambda *_: "")
    monkeypatch.setattr(open_transactions, "asker", lambda _: Consumer())
    return made


class Bundles:
    """The step, and what it gave out."""

    def __init__(self, folder: Path, errors: Topic | ErrorsFile | None = None, seconds: float = 1e9):
        parse = CountedStep(ParseMessages("json", pa.schema([("x", pa.int64())])), "read", str(folder), True)
        self.step = ScoreInTransactions([parse], Transacted(GROUP, OUT, "json", errors, seconds), str(folder))._dofn
        self.step.setup()
        self.folder = folder

    def run(self, *blocks: pa.RecordBatch) -> list[RowError]:
        self.step.start_bundle()
        found = [one.value for block in blocks for one in self.step.process(block)]
        return found + [one.value.value for one in self.step.finish_bundle()]


@pytest.fixture
def bundles(tmp_path: Path, opened: OpenTransactions) -> Iterator[Any]:
    made: list[Bundles] = []

    def make(*args: Any, **options: Any) -> Bundles:
        made.append(Bundles(tmp_path, *args, **options))
        return made[-1]

    yield make
    for one in made:
        one.step.teardown()


def block(begin: int, *values: bytes, partition: int = 0) -> pa.RecordBatch:
    """Messages from an offset on; empty ones for numbers that are asked for."""
    sent = [FakeMessage(value, partition, begin + at, None, None, 1) for at, value in enumerate(values)]
    return with_ranges(block_of(sent, "in"), {partition: (begin, begin + len(values))})


def places(errors: list[RowError]) -> list[tuple[str, int, str]]:
    return [(error.file, error.row, error.stage) for error in errors]


def lines(path: Path) -> list[tuple[int, int]]:
    """Partition and offset of each error in a file."""
    return [(told["partition"], told["offset"]) for told in map(json.loads, path.read_text().splitlines())]


GOOD, WRONG = b'{"x":1}', b"{"


def test_without_a_place_for_errors_they_are_given_out(bundles: Any, fake_broker: FakeBroker):
    assert places(bundles().run(block(5, GOOD, WRONG), block(7, WRONG, GOOD))) == [
        ("in/0", 6, "read"),
        ("in/0", 7, "read"),
    ]
    assert fake_broker.log == [("out", GOOD)] * 2 and fake_broker.committed == [9]


def test_errors_go_into_a_file_once_their_transaction_is_committed(
    bundles: Any, fake_broker: FakeBroker, tmp_path: Path
):
    path = tmp_path / "errors.jsonl"
    one = bundles(ErrorsFile(str(path)))
    fake_broker.verdict = poison(TOO_LARGE, b'{"x":7}')
    one.step.start_bundle()
    assert list(one.step.process(block(0, GOOD, WRONG, b'{"x":7}'))) == [] and not path.exists()
    assert list(one.step.process(block(3, WRONG, partition=1))) == []
    assert one.step.finish_bundle() == []
    assert sorted(lines(path)) == [(0, 1), (0, 2), (1, 3)]
    assert fake_broker.log == [("out", GOOD)] and fake_broker.done == {0: 3, 1: 4}
    assert one.run(block(3, WRONG)) == [] and lines(path)[3:] == [(0, 3)]


def test_errors_go_into_a_topic_in_the_transaction_of_their_partition(bundles: Any, fake_broker: FakeBroker):
    assert bundles(BAD).run(block(0, GOOD, WRONG), block(4, WRONG, partition=1)) == []
    bad = [json.loads(value) for topic, value in fake_broker.log if topic == "bad"]
    assert [(one["partition"], one["offset"], one["stage"]) for one in bad] == [(0, 1, "read"), (1, 4, "read")]
    assert ("out", GOOD) in fake_broker.log and len(fake_broker.log) == 3


def test_what_is_done_is_not_scored_again(bundles: Any, fake_broker: FakeBroker):
    one = bundles()
    one.run(block(0, GOOD, WRONG, GOOD))
    assert one.run(block(0, GOOD, WRONG, GOOD)) == []
    assert one.run(block(1, WRONG, GOOD, b'{"x":2}')) == []
    assert fake_broker.log == [("out", GOOD), ("out", GOOD), ("out", b'{"x":2}')] and fake_broker.committed == [3, 4]
    assert len(fake_broker.made) == 1, "each bundle goes on with the transactions of the one before"


def test_what_the_topic_will_not_take_is_failed_and_not_scored(
    bundles: Any, fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    settings(monkeypatch, out=TopicLimits(keyed=True))
    fake_broker.verdict = poison(BAD_RECORD, b'{"x":7}')
    sent = [(GOOD, b"k"), (GOOD, None), (b'{"x":7}', b"k"), (WRONG, b"k"), (GOOD, b"k"), (GOOD, b"k")]
    made = [FakeMessage(value, 0, at, key, None, 1) for at, (value, key) in enumerate(sent)]
    found = bundles().run(with_ranges(block_of(made, "in"), {0: (0, 6)}))
    assert sorted(places(found)) == [("in/0", 1, "write"), ("in/0", 2, "write"), ("in/0", 3, "read")]
    assert fake_broker.log == [("out", GOOD)] * 3
    # Of what the settings forbid, and of what the broker refuses, each once.
    assert read_tallies(str(tmp_path)).by_stage() == {"read": 1, "write": 2}
    assert [sum(each) for each in zip(*read_counts(str(tmp_path)), strict=True)] == [3, 3]


def test_a_transaction_lasts_as_long_as_it_may(bundles: Any, fake_broker: FakeBroker):
    one = bundles(seconds=0.0)
    one.run(block(0, GOOD))
    step = one.step
    step.start_bundle()
    list(step.process(block(1, GOOD)))
    step._settle()
    assert fake_broker.committed == [1, 2], "at the end of its bundle, or after its time"
    list(step.process(block(2, GOOD)))
    step.finish_bundle()
    late = bundles(seconds=1e9).step
    late.start_bundle()
    list(late.process(block(3, GOOD)))
    late._settle()
    assert fake_broker.committed == [1, 2, 3]
    late.finish_bundle()
    assert fake_broker.committed == [1, 2, 3, 4]


@pytest.mark.parametrize(("begin", "told"), [(3, []), (4, [("in/0", 4, "gap")]), (6, [("in/0", 6, "gap")])])
def test_a_gap_is_told_unless_what_it_begins_with_is_done(bundles: Any, begin: int, told: list[Any]):
    one = bundles()
    one.run(block(0, *[GOOD] * 4))
    assert places(one.run(with_gaps(block(4, *[GOOD] * 8), [Gap("in", 0, begin, 9, 20)]))) == told
    # Of a replay nothing is told again.
    assert one.run(with_gaps(block(4, *[GOOD] * 8), [Gap("in", 0, begin, 9, 20)])) == []


def test_a_topic_that_was_made_anew_is_told_wherever_its_offsets_begin(bundles: Any):
    one = bundles()
    one.run(block(0, *[GOOD] * 4))
    made = with_gaps(block(4, GOOD), [Gap("in", 0, 2, 0, 1)])
    assert places(one.run(made)) == [("in/0", 2, "gap")]


def test_a_bundle_that_failed_leaves_nothing_of_its_own(bundles: Any, fake_broker: FakeBroker, tmp_path: Path):
    one = bundles(BAD)
    fake_broker.topics_gone = {"out"}
    one.step.start_bundle()
    with pytest.raises(JobEndsError, match=r"^--output kafka://127.0.0.1:1/out: the topic was deleted"):
        list(one.step.process(block(0, GOOD)))
        one.step.finish_bundle()
    assert "the topic was deleted" in str(why_it_ends(str(tmp_path)))
    assert (one.step._held, one.step._waiting, one.step._sent) == ({}, [], {})
    fake_broker.topics_gone = set()
    one.run(block(0, GOOD))
    assert fake_broker.log == [("out", GOOD)] and fake_broker.committed == [1]


def test_what_a_bundle_left_open_is_given_up_by_the_next(
    bundles: Any, fake_broker: FakeBroker, opened: OpenTransactions
):
    one = bundles()
    one.step.start_bundle()
    list(one.step.process(block(0, GOOD)))
    (before,) = opened._open.values()
    one.step.start_bundle()
    assert before.bundle is None and not opened._open
    list(one.step.process(block(0, GOOD, GOOD)))
    one.step.finish_bundle()
    assert fake_broker.committed == [2] and len(fake_broker.log) == 2


def test_who_lets_go_gives_up_what_is_open(bundles: Any, fake_broker: FakeBroker, opened: OpenTransactions):
    one = bundles()
    one.step.start_bundle()
    list(one.step.process(block(0, GOOD)))
    (before,) = opened._open.values()
    one.step.teardown()
    assert before.bundle is None and not opened._open and fake_broker.log == []
    assert not any(thread.name.startswith("transactions") for thread in threading.enumerate())


def test_lines_whose_transaction_an_owner_before_has_committed_are_put_in(
    opened: OpenTransactions, fake_broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = ErrorsFile(str(tmp_path / "errors.jsonl"))
    before = PendingErrors(file, GROUP, 0)
    before.add(b"{}\n")
    kept = before.keep()
    monkeypatch.setattr(
        transactions, "committed_metadata", lambda _, topic, partition: {("in", 0): kept}[topic, partition]
    )
    Transactions(GROUP, 0, OUT, Consumer(), file)
    assert Path(file.path).read_bytes() == b"{}\n"


def test_who_cannot_open_transactions_lets_go_of_its_producer(
    opened: OpenTransactions, fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
):
    gone: list[str] = []
    refused = kafka.KafkaException(CODES(CODES.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))

    def fails(*_: Any) -> None:
        raise refused

    monkeypatch.setattr(FakeProducer, "init_transactions", fails)
    monkeypatch.setattr(Deliveries, "abandon", lambda self: gone.append(self.transactional_id))
    told = r"^in/0: the broker allows no transactions; grant Write on the transactional ids beamsplit/g/in/\*$"
    with pytest.raises(RuntimeError, match=told):
        Transactions(GROUP, 0, OUT, Consumer())
    assert gone == ["beamsplit/g/in/0"]


def lost(code: int, cause: bool = True) -> BaseException:
    """What the client's callback makes of a fatal error."""
    made = SystemError("returned a result with an exception set")
    made.__cause__ = kafka.KafkaException(CODES(code)) if cause else ValueError("other")
    return made


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            lost(CODES._FENCED),
            RuntimeError,
            "^in/0: another worker or run with --group g has taken it over and goes on here$",
        ),
        (lost(CODES.INVALID_PRODUCER_EPOCH), RuntimeError, "taken it over"),
        (kafka.KafkaException(CODES(CODES.CLUSTER_AUTHORIZATION_FAILED)), RuntimeError, "allows no transactions"),
        (kafka.KafkaException(CODES(CODES.UNKNOWN_PRODUCER_ID)), RuntimeError, "^in/0: the transaction failed: "),
        (lost(CODES._FENCED, cause=False), SystemError, "exception set"),
        (RuntimeError("3 messages were not delivered"), RuntimeError, "^3 messages were not delivered$"),
    ],
)
def test_what_the_client_says_of_messages_that_are_lost(
    opened: OpenTransactions,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    kind: type[BaseException],
    told: str,
):
    one = opened.take(GROUP, 0, OUT, 0, "bundle")
    one.open("bundle")

    def fails(_: Deliveries) -> None:
        raise error

    monkeypatch.setattr(Deliveries, "flush", fails)
    with pytest.raises(kind, match=told):
        one.commit(1)


def test_messages_before_those_that_are_done_were_never_seen(opened: OpenTransactions):
    one = opened.take(GROUP, 0, OUT, 4, "bundle")
    assert (one.admit(4, 6), one.end) == (4, 6)
    assert (one.admit(5, 5), one.end) == (6, 6)
    assert (one.admit(6, 7), one.end) == (6, 7)
    with pytest.raises(RuntimeError, match=r"^in/0: group g has done what is below 7, and the source goes on at 8"):
        one.admit(8, 9)


def test_outputs_are_counted_when_they_are_committed_and_errors_are_not(
    bundles: Any, fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
):
    counts = recorder.Recorder()
    monkeypatch.setattr(recorder, "_RECORDER", [counts])
    fake_broker.verdict = poison(BAD_RECORD, b'{"x":7}')
    one = bundles(BAD)
    one.run(block(0, GOOD, WRONG, b'{"x":7}', GOOD))
    one.run(block(4, GOOD))
    assert dict(counts.values("beamsplit_rows_delivered")) == {(): 3}
