"""How scoring goes on while transactions are committed: what is sent when, and with which ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from beamsplit.transforms.apply import CountedStep
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka import transact
from beamsplit.transforms.kafka.blocks import block_of, with_ranges
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.exactly_once import ScoreInTransactions
from beamsplit.transforms.kafka.messages import ParseMessages
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.transact import WAITING_BLOCKS, Transacted
from tests.transforms.kafka.fake_message import FakeMessage
from tests.transforms.kafka.held_transactions import WAIT_SECONDS, Open


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    made = Open()
    monkeypatch.setattr(transact, "OPEN", made)
    return made


@pytest.fixture
def step() -> Iterator[Any]:
    """The step itself, which commits after each block."""
    parse = CountedStep(ParseMessages("json", pa.schema([("x", pa.int64())])), "read", None, True)
    topic, group = Topic("h:1", "out"), Group(ClientConfig("h:1"), "in", "g", commits=False)
    made = ScoreInTransactions([parse], Transacted(group, topic, seconds=0.0))._dofn
    made.setup()
    yield made
    made._pool.shutdown()


def block(offset: int) -> pa.RecordBatch:
    """One message, which stands for two offsets."""
    made = block_of([FakeMessage(b'{"x":%d}' % offset, 0, offset, None, None, 1)], "in")
    return with_ranges(made, {0: (offset, offset + 2)})


def values(*offsets: int) -> list[bytes]:
    return [b'{"x":%d}' % offset for offset in offsets]


def test_blocks_are_scored_during_a_commit_and_sent_after_it_with_ends_of_their_own(opened: Open, step: Any):
    one = opened.partition
    step.start_bundle()
    assert list(step.process(block(0))) == []
    assert one.began.wait(WAIT_SECONDS)
    # Scored while the commit is at work; nothing of it is sent yet.
    assert list(step.process(block(2))) == [] and list(step.process(block(4))) == []
    assert len(step._waiting) == 2 and one.told == ["open", *values(0)]
    one.let.set()
    step.finish_bundle()
    assert one.told == ["open", *values(0), ("commit", 2), "open", *values(2, 4), ("commit", 6)]
    assert (one.bundle, step._held, step._waiting, opened.dropped) == (None, {}, [], 0)


def test_only_so_many_blocks_wait(opened: Open, step: Any):
    one = opened.partition
    step.start_bundle()
    list(step.process(block(0)))
    for number in range(1, WAITING_BLOCKS):
        list(step.process(block(2 * number)))
    late = threading.Thread(target=lambda: list(step.process(block(2 * WAITING_BLOCKS))), daemon=True)
    late.start()
    assert one.began.wait(WAIT_SECONDS) and one.told == ["open", *values(0)]
    one.let.set()
    late.join(WAIT_SECONDS)
    assert not late.is_alive() and not step._waiting
    step.finish_bundle()
    assert one.told[-1] == ("commit", 2 * WAITING_BLOCKS + 2)


def test_a_commit_that_fails_fails_the_bundle_and_what_waited_is_never_sent(opened: Open, step: Any):
    one = opened.partition
    one.fails = True
    step.start_bundle()
    list(step.process(block(0)))
    list(step.process(block(2)))
    one.let.set()
    with pytest.raises(RuntimeError, match="taken over"):
        step.finish_bundle()
    assert one.told == ["open", *values(0)] and opened.dropped == 1
    assert (step._held, step._waiting, step._sent) == ({}, [], {})


def test_what_the_broker_refuses_is_given_out_once_its_commit_is_done(opened: Open, step: Any):
    one = opened.partition
    step.start_bundle()
    list(step.process(block(0)))
    assert one.began.wait(WAIT_SECONDS)
    one.failed = [RowError("in/0", 0, "write", "too large")]
    assert list(step.process(block(2))) == [], "its commit is at work"
    one.let.set()
    (found,) = step.finish_bundle()
    assert (found.tag, found.value.value) == ("failed", RowError("in/0", 0, "write", "too large"))
    assert one.failed == []
