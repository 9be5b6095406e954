"""What handing a block to another process costs: measured, assumed where it cannot be, and used by the planner."""

from __future__ import annotations

import math
import sys

import pytest

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.strategy.cost import ReplicaTeam, Stage, busy
from beamsplit.models.strategy.exchange import ASSUMED, Exchange, measure_exchange
from beamsplit.models.strategy.planner import exchange_line
from beamsplit.models.strategy.teams import apart


def test_measured_here():
    measure_exchange.cache_clear()
    found = measure_exchange()
    assert found.measured and found.block_seconds > 0
    assert found.byte_seconds >= 1e-11
    assert measure_exchange() is found


def test_assumed_where_no_process_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    measure_exchange.cache_clear()
    try:
        assert measure_exchange() is ASSUMED
    finally:
        measure_exchange.cache_clear()


def test_a_link_and_serialising_add_up():
    """At each end, which has half of the serialising and all of the link."""
    assert Exchange(1e-4, 1e-9).bandwidth() == pytest.approx(2e9)
    assert Exchange(1e-4, 1e-9).bandwidth(1e9) == pytest.approx(1e9 / 1.5)
    assert math.isinf(ASSUMED.bandwidth())


def test_each_block_that_crosses_a_cut_is_paid_by_halves_at_both_ends():
    links = apart(Exchange(0.25))
    chain = [Stage((ReplicaTeam(),), 1.0, hand_over_seconds=links.hand_over_seconds)] * 3
    assert [busy(chain, at, ReplicaTeam()).latency for at in range(3)] == [1.125, 1.25, 1.125]
    # To meet, one goes and one comes back: half of each for the leader, half for the shard.
    assert links.exchange_seconds == 0.25


def test_what_was_measured_is_told():
    workers = [ClusterWorker("a"), ClusterWorker("b", bandwidth=1.25e9)]
    told = exchange_line(Exchange(29e-6, 1.5e-9), workers)
    assert told.startswith("29 µs a block and 1.5 ns a byte from process to process, measured here, and a link of")
    assert "1.25 GB/s as given" in told
    assert exchange_line(ASSUMED, workers[:1]) == "150 µs a block assumed, no link to wait for (--bandwidth)"
