from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import confluent_kafka as kafka
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka import group_hold
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.group_hold import ONCE, SESSION_MS, GroupHold
from tests.waiting import wait_until

NAME = "g/in/holder"


class Broker:
    """Groups with their members; each look takes half a second of its clock."""

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        """Client id -> host."""

        self.now = 0.0
        self.looks: list[Callable[[], None]] = []
        """What happens before each of the next looks."""

        self.refuses_looks: int | None = None
        self.refuses_members: int | None = None
        self.given: dict[str, Any] = {}
        """Properties of the last consumer."""

        self.consumers: list[Consumer] = []

    def describe_consumer_groups(self, names: list[str], request_timeout: float) -> dict[str, Future[Any]]:
        assert names == [NAME]
        self.now += 0.5
        if self.looks:
            self.looks.pop(0)()
        made: Future[Any] = Future()
        if self.refuses_looks is not None:
            made.set_exception(kafka.KafkaException(kafka.KafkaError(self.refuses_looks)))
        else:
            members = [SimpleNamespace(client_id=client, host=host) for client, host in self.members.items()]
            made.set_result(SimpleNamespace(members=members))
        return {NAME: made}


class Consumer:
    """Joins with its first poll."""

    def __init__(self, broker: Broker, client: str):
        self.broker, self.client, self.id = broker, client, "m1"
        self.over = threading.Event()

    def subscribe(self, topics: list[str], on_assign: Any) -> None:
        assert topics == ["in"]

    def poll(self, seconds: float) -> Any:
        self.over.wait(0.001)
        if self.broker.refuses_members is not None:
            return SimpleNamespace(error=lambda: kafka.KafkaError(self.broker.refuses_members))
        self.broker.members.setdefault(self.client, "/127.0.0.1")
        return None

    def memberid(self) -> str:
        return self.id

    def close(self) -> None:
        self.broker.members.pop(self.client, None)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()

    def sleep(seconds: float) -> None:
        made.now += seconds

    def consumer(config: ClientConfig, errors: Any, **given: Any) -> Consumer:
        made.given = given
        made.consumers.append(Consumer(made, given["client_id"]))
        return made.consumers[-1]

    monkeypatch.setattr(group_hold, "make_admin", lambda config: made)
    monkeypatch.setattr(group_hold, "make_consumer", consumer)
    monkeypatch.setattr(group_hold, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=sleep))
    return made


def hold(once: bool = False, call: Callable[[str], None] = print) -> GroupHold:
    return GroupHold(ClientConfig("h:1"), "in", "g", once, call)


def test_a_job_holds_its_group_while_it_runs(broker: Broker, capsys):
    with hold():
        (client,) = broker.members
        assert client.startswith("beamsplit-least-") and broker.given["session_timeout_ms"] == SESSION_MS
        assert broker.given["group_id"] == NAME and broker.given["group_instance_id"] is None
    assert not broker.members
    with hold():
        pass
    assert capsys.readouterr().err == "" and broker.now < 5


def test_the_second_is_refused_and_told_who_holds_the_group(broker: Broker, capsys):
    broker.members["beamsplit-least-host7-ab"] = "/10.0.0.7"
    with pytest.raises(
        UsageError, match=r"--group g is held by another job, client beamsplit-least-host7-ab at "
    ) as no:
        hold().__enter__()
    assert "at 10.0.0.7; each of them would read all of in" in str(no.value)
    assert str(no.value).endswith("give another --group, or stop the other")
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and "waiting for --group g, 15 s at most: it is held by client beamsplit-least-" in said
    )
    assert 15 <= broker.now < 20 and list(broker.members) == ["beamsplit-least-host7-ab"]


def test_a_job_that_was_killed_is_waited_for_until_the_broker_lets_go_of_it(broker: Broker, capsys):
    broker.members["beamsplit-least-dead"] = "/10.0.0.7"
    broker.looks = [lambda: None] * 6 + [broker.members.clear]
    with hold():
        assert len(broker.members) == 1 and "beamsplit-least-dead" not in broker.members
    assert "(the brokers let go of a job that was killed after 10 s)" in capsys.readouterr().err


def test_of_two_that_start_at_once_none_runs_beside_the_other(broker: Broker):
    other = "beamsplit-least-other"
    broker.looks = [lambda: None, lambda: broker.members.update({other: "/h"}), broker.members.clear]
    with hold():
        assert other not in broker.members
    # It had joined, and left again when it saw the other.
    assert len(broker.consumers) == 2


@pytest.mark.parametrize(("once", "other"), [(True, "least"), (False, "once"), (False, "least")])
def test_who_delivers_at_least_once_is_alone(broker: Broker, once: bool, other: str):
    broker.members[f"beamsplit-{other}-h"] = "/h"
    with pytest.raises(UsageError, match="is held by another job"):
        hold(once).__enter__()


def test_jobs_that_deliver_exactly_once_fence_each_other_as_they_do(broker: Broker):
    broker.members[f"{ONCE}h"] = "/h"
    with hold(once=True):
        assert len(broker.members) == 2


def test_brokers_that_do_not_let_us_look_or_join_are_told_of(broker: Broker, capsys):
    broker.refuses_looks = kafka.KafkaError.GROUP_AUTHORIZATION_FAILED
    with hold():
        pass
    broker.refuses_looks, broker.refuses_members = None, kafka.KafkaError.GROUP_AUTHORIZATION_FAILED
    with hold():
        pass
    said = capsys.readouterr().err
    assert said.count("note: the brokers do not let us see the group g/in/holder") == 2 and "grant Read on it" in said


def test_a_group_that_is_not_there_yet_is_held_by_nobody(broker: Broker):
    def there() -> None:
        broker.refuses_looks = None

    broker.refuses_looks = kafka.KafkaError.GROUP_ID_NOT_FOUND
    broker.looks = [lambda: None, there]
    with hold():
        assert len(broker.members) == 1


def test_a_session_timeout_that_the_brokers_do_not_take_is_told(broker: Broker):
    broker.refuses_members = kafka.KafkaError.INVALID_SESSION_TIMEOUT
    with pytest.raises(UsageError, match=r"cannot become a member of g/in/holder \(.+\); check session.timeout.ms"):
        hold().__enter__()


def test_brokers_that_do_not_answer_are_told_of(broker: Broker):
    broker.refuses_looks = kafka.KafkaError._TRANSPORT
    with pytest.raises(UsageError, match=r"--group g: the brokers do not tell who holds it \(.+\)"):
        hold().__enter__()


def test_a_job_that_was_away_ends_if_another_has_taken_over(broker: Broker):
    told: list[str] = []
    with hold(call=told.append) as held:
        consumer = broker.consumers[0]
        wait_until(lambda: held._member == "m1", "it knows that it is a member")
        # Its membership was lost, and nobody came.
        consumer.id = "m2"
        wait_until(lambda: held._member == "m2", "it is a member again")
        broker.members["beamsplit-least-next"] = "/10.0.0.8"
        consumer.id = "m3"
        wait_until(lambda: told, "it is told")
    assert told[0].startswith("--group g was taken over by another job, client beamsplit-least-next at 10.0.0.8;")
    assert len(told) == 1
