"""One job a consumer group: each would read all partitions, and all outputs would be there twice.

Workers are assigned their partitions by hand and commit without being members of their group. So a job is the member of
another one, `GROUP/TOPIC/holder`, for as long as it lasts, and whoever starts looks who is there:

    look: nobody -> join -> look: nobody else -> run ... leave
                                  somebody    -> leave, and look again
          somebody -> wait, in case it was killed, as long as the broker needs to find out -> refuse

Of two that look at the same time neither sees nobody else once both have joined, so at most one runs. Jobs that deliver
exactly once fence each other in their transactions, and hold the group beside each other.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any, NamedTuple

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.clients import ClientErrors, make_admin, make_consumer, require_client
from beamsplit.transforms.kafka.config import ClientConfig

SESSION_MS = 10_000
"""After so long without a sign of life a broker lets go of a member, unless `session.timeout.ms` says otherwise."""

MARGIN_SECONDS = 5.0
"""How much longer a start waits."""

JOIN_SECONDS = 30.0
"""How long it may take to join."""

ANSWER_SECONDS = 10.0

LOOK_SECONDS = 0.5
"""Between two looks who holds a group."""

ONCE, LEAST = "beamsplit-once-", "beamsplit-least-"
"""What the client id of a job begins with that delivers exactly once, or at least once."""


class Member(NamedTuple):
    """Who holds a group."""

    client: str
    host: str

    def __str__(self) -> str:
        """E.g. `client beamsplit-least-host7-4711-1f0c at 10.0.0.7`."""
        return f"client {self.client} at {self.host.lstrip('/')}"


def holder_group(group: str, topic: str) -> str:
    """The group that the holder of another one is a member of.

    >>> holder_group("g", "in")
    'g/in/holder'
    """
    return f"{group}/{topic}/holder"


def client_id(once: bool) -> str:
    """A client id that no other job has, and that tells where it runs."""
    host = "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in socket.gethostname())
    return f"{ONCE if once else LEAST}{host}-{uuid.uuid4().hex[:8]}"


def in_the_way(ours: str, members: Sequence[Member]) -> list[Member]:
    """The members that a job cannot run beside.

    >>> in_the_way("beamsplit-least-a", [Member("beamsplit-least-a", "h"), Member("beamsplit-once-b", "h")])
    [Member(client='beamsplit-once-b', host='h')]
    >>> in_the_way("beamsplit-once-a", [Member("beamsplit-once-b", "h")])
    []
    """
    fenced = ours.startswith(ONCE)
    return [one for one in members if one.client != ours and not (fenced and one.client.startswith(ONCE))]


class GroupHold:
    """While it is entered, this job holds a group on a topic.

    Args:
        config: how to get in.
        topic: that is read.
        group: the name.
        once: whether it delivers exactly once.
        call: what to do, with one line, where another job has taken the group over meanwhile: this one was away for too
            long (a machine that slept, say).

    Raises (where it is entered):
        UsageError: another job holds it.
    """

    def __init__(self, config: ClientConfig, topic: str, group: str, once: bool, call: Callable[[str], None]):
        self._config, self._topic, self._group, self._call = config, topic, group, call
        self._name = holder_group(group, topic)
        self._client = client_id(once)
        self._session = config.session_ms(SESSION_MS) / 1000
        self._errors = ClientErrors()
        self._admin: Any = None
        self._consumer: Any = None
        self._member = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stay, name="kafka-holder", daemon=True)

    def __enter__(self) -> GroupHold:
        self._admin = make_admin(self._config)
        try:
            self._take()
        except BaseException:
            self._leave()
            raise
        if self._consumer is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._leave()

    def _take(self) -> None:
        deadline = time.monotonic() + self._session + MARGIN_SECONDS
        told = False
        while True:
            members = self._look()
            if members is None:
                return
            others = in_the_way(self._client, members)
            if not others:
                members = self._join()
                others = [] if members is None else in_the_way(self._client, members)
                if not others:
                    return
                self._leave()
            if time.monotonic() >= deadline:
                raise UsageError(self._refusal(others[0]))
            if not told:
                told = True
                print(self._waiting(others[0]), file=sys.stderr, flush=True)
            # Two that have joined at the same time do not do so again.
            time.sleep(LOOK_SECONDS * (1 + random.random()))

    def _look(self) -> list[Member] | None:
        """Who is there; None where we are not allowed to know."""
        kafka = require_client()
        deadline = time.monotonic() + JOIN_SECONDS
        while True:
            try:
                asked = self._admin.describe_consumer_groups([self._name], request_timeout=ANSWER_SECONDS)
                return [Member(one.client_id, one.host) for one in asked[self._name].result(2 * ANSWER_SECONDS).members]
            except (kafka.KafkaException, NoAnswer) as error:
                said = error.args[0] if isinstance(error, kafka.KafkaException) else None
                if said is not None and said.code() == kafka.KafkaError.GROUP_ID_NOT_FOUND:
                    return []
                if said is not None and self._forbidden(said):
                    return None
                if time.monotonic() >= deadline:
                    reason = "no answer" if said is None else said.str()
                    raise UsageError(
                        f"--group {self._group}: the brokers do not tell who holds it ({reason}); start again"
                    ) from error
                time.sleep(LOOK_SECONDS)

    def _forbidden(self, error: Any) -> bool:
        if error.code() != require_client().KafkaError.GROUP_AUTHORIZATION_FAILED:
            return False
        print(
            f"note: the brokers do not let us see the group {self._name}, so a second job with --group {self._group} "
            "is not noticed; grant Read on it",
            file=sys.stderr,
        )
        return True

    def _join(self) -> list[Member] | None:
        """Become a member; who is there then, None where we are not allowed to."""
        self._errors = ClientErrors()
        self._consumer = make_consumer(
            self._config,
            self._errors,
            group_id=self._name,
            client_id=self._client,
            # A member of its own that leaves when it closes, whatever the file says of other clients.
            group_instance_id=None,
            group_protocol="classic",
            group_remote_assignor=None,
            partition_assignment_strategy="range",
            session_timeout_ms=SESSION_MS,
            max_poll_interval_ms=max(600_000, round(self._session * 1000)),
            allow_auto_create_topics=False,
        )
        self._consumer.subscribe([self._topic], on_assign=_read_nothing)
        deadline = time.monotonic() + JOIN_SECONDS
        while True:
            # The broker has it as soon as it has asked to join, which need not be through.
            said = self._consumer.poll(0.05)
            if said is not None and said.error() is not None and self._forbidden(said.error()):
                self._leave()
                return None
            members = self._look() or []
            if any(one.client == self._client for one in members):
                return members
            if time.monotonic() >= deadline:
                reason = said.error().str() if said is not None and said.error() is not None else self._errors.reason()
                raise UsageError(
                    f"--group {self._group}: this job cannot become a member of {self._name} "
                    f"({reason or 'no answer'}); check session.timeout.ms in --kafka_config, which the brokers bound"
                )

    def _stay(self) -> None:
        """Keep the membership; find out whether it was lost, and whether others are there since."""
        kafka = require_client()
        while not self._over.is_set():
            try:
                self._consumer.poll(0.1)
                member = self._consumer.memberid()
                if member and member != self._member:
                    if self._member and (others := in_the_way(self._client, self._look() or [])):
                        self._call(self._refusal(others[0]).replace("is held by", "was taken over by", 1))
                        return
                    self._member = member
            except (kafka.KafkaException, UsageError, RuntimeError):
                continue  # the brokers are away: so are they for others

    def _leave(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _refusal(self, other: Member) -> str:
        return (
            f"--group {self._group} is held by another job, {other}; each of them would read all of {self._topic}, so "
            "all outputs would be there twice: give another --group, or stop the other"
        )

    def _waiting(self, other: Member) -> str:
        return (
            f"waiting for --group {self._group}, {self._session + MARGIN_SECONDS:.0f} s at most: it is held by {other} "
            f"(the brokers let go of a job that was killed after {self._session:.0f} s)"
        )


def _read_nothing(consumer: Any, partitions: Sequence[Any]) -> None:
    consumer.assign([])
