"""Kafka clients of this process, and what is wrong where one cannot get in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.config import ClientConfig, Topic

ANSWER_MS = 10_000
"""How long a client of transactions waits for an answer before it asks anew, unless told otherwise.

A question that a broker has left without one holds a transaction up for so long: by itself the client waits a minute.
"""

REACH_SECONDS = 10.0
"""How long a broker may take to answer before a job starts."""

_SILENT = logging.getLogger("beamsplit.librdkafka")
"""Takes what librdkafka logs even at its lowest level, of a producer that is fenced say: callers are told by errors."""

_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def require_client() -> Any:
    """The confluent_kafka module.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import confluent_kafka
    except ImportError as error:
        told = "kafka:// wants confluent-kafka, which is not installed: pip install 'beamsplit[kafka]'"
        raise UsageError(told) from error
    return confluent_kafka


def may_pass(error: Any) -> bool:
    """Whether asking again may help: the broker is away or not yet up, or a coordinator is moving."""
    codes = require_client().KafkaError
    away = (codes._TRANSPORT, codes._TIMED_OUT, codes._ALL_BROKERS_DOWN, codes._WAIT_COORD)
    # The client does not call it retriable that a coordinator is moving, or not there yet.
    moving = (codes.NOT_COORDINATOR, codes.COORDINATOR_NOT_AVAILABLE, codes.COORDINATOR_LOAD_IN_PROGRESS)
    return bool(error.retriable() or error.code() in (*away, *moving))


def topic_is_gone(error: Any) -> bool:
    """Whether a client says that there is no such topic, or no such partition of it."""
    codes = require_client().KafkaError
    of_broker = (codes.UNKNOWN_TOPIC_OR_PART, codes.UNKNOWN_TOPIC_ID)
    return error.code() in (*of_broker, codes._UNKNOWN_TOPIC, codes._UNKNOWN_PARTITION)


class ClientErrors:
    """What a client's error callback was told, most telling first."""

    def __init__(self) -> None:
        self._told: list[Any] = []
        self.fatal: str | None = None
        """Why the client can do no more, or None."""

    def __call__(self, error: Any) -> None:
        """The callback of librdkafka."""
        if error.fatal():
            self.fatal = error.str()
        self._told = [*self._told[-31:], error]

    def reason(self) -> str:
        """The likely cause in a few words; empty where nothing was told."""
        kafka = require_client()
        telling = (kafka.KafkaError._AUTHENTICATION, kafka.KafkaError._SSL, kafka.KafkaError._RESOLVE)
        for code in telling:
            for error in self._told:
                if error.code() == code:
                    return _plain(error.str())
        return _plain(self._told[-1].str()) if self._told else ""


def _plain(text: str) -> str:
    """Without the client's and the broker's ids: `sasl_plaintext://host:9092/bootstrap: Authentication failed`."""
    text = " ".join(text.split())
    return text.split("(after", 1)[0].strip()


def make_consumer(config: ClientConfig, errors: ClientErrors | None = None, **ours: object) -> Any:
    """A consumer that commits nothing by itself.

    Raises:
        UsageError: a client property is unknown or has a wrong value.
    """
    kafka = require_client()
    given: dict[str, object] = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
    return _make(kafka.Consumer, config, errors, {**given, **ours})


def make_producer(config: ClientConfig, errors: ClientErrors | None = None, **ours: object) -> Any:
    """An idempotent producer: no message is lost, doubled or put in another order by a retry.

    Raises:
        UsageError: a client property is unknown or has a wrong value.
    """
    kafka = require_client()
    # A topic that was deleted stays so: brokers may be set to make those that a producer asks for.
    given: dict[str, object] = {"enable_idempotence": True, "allow_auto_create_topics": False}
    return _make(kafka.Producer, config, errors, {**given, **ours})


def make_admin(config: ClientConfig) -> Any:
    """A client that asks about topics, their settings, and groups.

    Raises:
        UsageError: a client property is unknown or has a wrong value.
    """
    require_client()
    from confluent_kafka.admin import AdminClient

    return _make(AdminClient, config, None, {"allow_auto_create_topics": False})


def _make(kind: Callable[..., Any], config: ClientConfig, errors: ClientErrors | None, ours: dict[str, object]) -> Any:
    kafka = require_client()
    errors = errors if errors is not None else ClientErrors()
    try:
        return kind({**config.client(**ours), "error_cb": errors, "logger": _SILENT})
    except kafka.KafkaException as error:
        # The text names the property and, for a wrong value, never a password: those take any value.
        reason = error.args[0].str() if error.args else str(error)
        where = f"--kafka_config {config.properties}" if config.properties else f"kafka://{config.servers}"
        raise UsageError(f"{where}: {reason}; mend the property (librdkafka's CONFIGURATION.md lists them)") from None


def partitions_of(client: Any, topic: str, timeout: float) -> list[int] | None:
    """The partitions of a topic, as the cluster says; None where there is no such topic.

    Raises:
        KafkaException: the cluster does not answer or does not let the client see the topic.
    """
    kafka = require_client()
    found = client.list_topics(topic, timeout=timeout).topics[topic]
    if found.error is not None:
        if found.error.code() in (kafka.KafkaError.UNKNOWN_TOPIC_OR_PART, kafka.KafkaError._UNKNOWN_TOPIC):
            return None
        raise kafka.KafkaException(found.error)
    return sorted(found.partitions)


def check_topic(config: ClientConfig, topic: Topic, option: str, seconds: float = REACH_SECONDS) -> list[int]:
    """The partitions of a topic that must be there.

    Raises:
        UsageError: the broker cannot be reached or does not let us in, or has no such topic.
    """
    kafka = require_client()
    errors = ClientErrors()
    client = make_consumer(config, errors, group_id="beamsplit-check", allow_auto_create_topics=False)
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                found = partitions_of(client, topic.name, min(2.0, seconds))
                break
            except kafka.KafkaException as error:
                # Errors are told while the client is polled.
                client.poll(0)
                said = error.args[0]
                waiting = said.code() in (kafka.KafkaError._TRANSPORT, kafka.KafkaError._TIMED_OUT)
                reason = errors.reason()
                if not waiting or time.monotonic() > deadline or _hopeless(errors):
                    raise UsageError(_unreachable(config, topic, option, reason or said.str())) from None
    finally:
        client.close()
    if found is None:
        raise UsageError(
            f"{option} {topic}: the cluster has no topic {topic.name!r}; create it, e.g. kafka-topics.sh --create "
            f"--bootstrap-server {topic.servers} --topic {topic.name} --partitions 4"
        )
    return found


def _hopeless(errors: ClientErrors) -> bool:
    """Whether waiting longer will not help."""
    reason = errors.reason().lower()
    return "authentication" in reason or "ssl" in reason or "resolve" in reason


def _unreachable(config: ClientConfig, topic: Topic, option: str, reason: str) -> str:
    low = reason.lower()
    if "authentication" in low or "sasl" in low:
        source = config.properties
        fix = f"check the user and password in {source}" if source else "give them with --kafka_config FILE"
    elif "ssl" in low or "certificate" in low:
        fix = "check security.protocol and ssl.ca.location in --kafka_config"
    else:
        fix = "start it, or check the address and, for a broker that wants TLS or SASL, --kafka_config"
    return f"{option} {topic}: the broker does not let us in or does not answer ({reason}); {fix}"
