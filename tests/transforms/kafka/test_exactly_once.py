from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.transforms.block import ORIGIN_ROW
from beamsplit.transforms.block_coder import BlockCoder
from beamsplit.transforms.kafka.blocks import VALUE, block_of, ranges_of, with_ranges
from beamsplit.transforms.kafka.clients import ClientErrors
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.offsets import Group, OffsetsMark
from beamsplit.transforms.kafka.transact import by_partition, not_done
from beamsplit.transforms.kafka.transactions import Transactions, transactional_id
from tests.transforms.kafka.fake_message import FakeMessage

PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=20)


def messages(places: list[tuple[int, int]]):
    return block_of([FakeMessage(b"%d" % i, *place) for i, place in enumerate(places)], "in")


@given(PLACES, st.lists(st.integers(0, 20), min_size=4, max_size=4))
def test_what_is_done_is_dropped_and_nothing_else(places, first):
    left = not_done(messages(places), dict(enumerate(first)))
    assert left.column(VALUE).to_pylist() == [
        b"%d" % i for i, (partition, offset) in enumerate(places) if offset >= first[partition]
    ]


@given(PLACES, st.integers(0, 5))
def test_rows_go_to_their_partition_in_their_order(places, skipped):
    found = by_partition(messages(places).slice(skipped))
    kept = places[skipped:]
    assert set(found) == {partition for partition, _ in kept}
    for partition, rows in found.items():
        assert rows.column(ORIGIN_ROW).to_pylist() == [offset for p, offset in kept if p == partition]


def test_ranges_stay_with_a_block_that_is_sent():
    block = with_ranges(messages([(0, 3), (2, 9)]), {0: (1, 4), 2: (9, 12)})
    assert ranges_of(BlockCoder().decode(BlockCoder().encode(block))) == {0: (1, 4), 2: (9, 12)}
    with pytest.raises(ValueError, match="its source is not transactional"):
        ranges_of(messages([(0, 3)]))


def test_the_transactional_id_names_group_topic_and_partition():
    group = Group(ClientConfig("127.0.0.1:1"), "in", "a/b", commits=False)
    assert transactional_id(group, 3) == "beamsplit/a/b/in/3"


def test_finalizing_a_bundle_commits_nothing_where_transactions_do(tmp_path):
    done = tmp_path / "done"
    # The broker of this group cannot be reached: a commit would fail.
    OffsetsMark(
        Group(ClientConfig("127.0.0.1:1"), "in", "g", commits=False), {0: 7}, True, str(done)
    ).finalize_checkpoint()
    assert done.exists()


def insist(*errors) -> int:
    """How often a call is made that fails with these errors, one after the other, and then succeeds."""
    import confluent_kafka

    one = Transactions.__new__(Transactions)
    one._group, one._partition = Group(ClientConfig("127.0.0.1:1"), "in", "g", commits=False), 3
    one._deliveries = SimpleNamespace(errors=ClientErrors())
    left, calls = list(errors), []

    def call() -> None:
        calls.append(1)
        if left:
            raise confluent_kafka.KafkaException(left.pop(0))

    one._retry(call)
    return len(calls)


def test_a_call_is_made_again_while_a_coordinator_moves_and_not_once_the_transaction_is_lost():
    kafka = pytest.importorskip("confluent_kafka")
    moving = [kafka.KafkaError.NOT_COORDINATOR, kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
    assert insist(*map(kafka.KafkaError, moving)) == 3
    with pytest.raises(RuntimeError, match="another worker or run with --group g has taken it over"):
        insist(kafka.KafkaError(kafka.KafkaError.PRODUCER_FENCED))
    for lost in ({"fatal": True}, {"txn_requires_abort": True}):
        with pytest.raises(RuntimeError, match=r"^in/3: the transaction failed: moved$"):
            insist(kafka.KafkaError(kafka.KafkaError.NOT_COORDINATOR, "moved", **lost))
