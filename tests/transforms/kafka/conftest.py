"""Fixtures of the tests of streams without services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.transforms.kafka.brokers import FakeBroker


@pytest.fixture
def fake_broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """A broker in this process, whose topics' settings cannot be read unless `brokers.settings` says otherwise."""
    pytest.importorskip("confluent_kafka")
    from beamsplit.transforms.kafka import deliveries
    from tests.transforms.kafka.brokers import FakeBroker, settings

    made = FakeBroker()
    monkeypatch.setattr(deliveries, "make_producer", made.make_producer)
    monkeypatch.setattr(deliveries, "partitions_of", lambda _, topic, __: None if topic in made.topics_gone else [0])
    monkeypatch.setattr(deliveries, "LOOK_SECONDS", 0.0)
    settings(monkeypatch)
    return made
