"""Where a topic is and how a client gets in: `kafka://host:port/topic` and a file of client properties."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from beamsplit.models.errors import UsageError
from beamsplit.transforms.settings_file import each_setting, settings_text, with_variables

SCHEME = "kafka://"

OURS = {
    "bootstrap.servers": "the address in kafka://…",
    "group.id": "--group",
    "enable.auto.commit": "the job's own commits",
    "enable.auto.offset.store": "the job's own commits",
    "auto.offset.reset": "--start",
    "transactional.id": "--delivery exactly_once",
    "schema.registry.url": "--schema_registry",
}
"""Properties that a client's file must not set, and what sets them."""

REGISTRY_PREFIX = "schema.registry."
"""Of properties that are for the client of a schema registry, and not for Kafka's."""

YIELDING = frozenset({"transaction.timeout.ms", "delivery.timeout.ms", "socket.timeout.ms", "session.timeout.ms"})
"""Properties that the job sets unless a client's file does."""

METADATA_SECONDS = 30.0
"""Between two looks for new partitions, unless a client's file says otherwise."""

_URI = re.compile(r"kafka://(?P<servers>[^/\s]+)/(?P<topic>[A-Za-z0-9._-]{1,249})/?")
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
_JAAS = re.compile(r"""\b(username|password)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")

_OF_JAVA = {
    "ssl.truststore.location": "ssl.ca.location (a PEM file)",
    "ssl.truststore.password": "ssl.ca.location (a PEM file needs no password)",
    "ssl.keystore.password": "ssl.key.password",
    "sasl.login.callback.handler.class": "sasl.oauthbearer.method",
}
"""Properties of the Java client that librdkafka lacks, and what it has."""


@dataclass(frozen=True)
class Topic:
    """A topic on a cluster."""

    servers: str
    """`host:port`, or several with commas between them."""

    name: str
    """E.g. `"transactions"`."""

    def __str__(self) -> str:
        """E.g. `kafka://localhost:9092/transactions`."""
        return f"{SCHEME}{self.servers}/{self.name}"


def is_kafka(text: str) -> bool:
    """Whether an input, output or errors option means a topic."""
    return text.startswith(SCHEME)


def parse_topic(text: str, option: str) -> Topic:
    """The topic of a `kafka://host:port[,host:port]/topic`.

    >>> parse_topic("kafka://localhost:9092/in", "--input").name
    'in'

    Raises:
        UsageError: it is not of that form.
    """
    match = _URI.fullmatch(text)
    if match is None or not all(_SERVER.fullmatch(server) for server in match["servers"].split(",")):
        raise UsageError(f"{option} {text} is no topic; type {option} kafka://HOST:PORT/TOPIC (letters, digits, . _ -)")
    return Topic(match["servers"], match["topic"])


@dataclass(frozen=True)
class ClientConfig:
    """What a Kafka client needs to get in. Holds no secret: each process reads the properties itself."""

    servers: str
    properties: str | None = None
    """A file of client properties, or `env:NAME` for an environment variable with the same text."""

    def client(self, **ours: object) -> dict[str, object]:
        """The properties of a client, with what the job itself sets (`group_id` sets `group.id`, None leaves it out).

        Raises:
            UsageError: the file cannot be read or sets what is the job's to set.
        """
        given = read_properties(self.properties) if self.properties else {}
        given = {name: value for name, value in given.items() if not name.startswith(REGISTRY_PREFIX)}
        # librdkafka's log would go to the terminal; what matters reaches the user through error callbacks.
        fixed = {"bootstrap.servers": self.servers, "log_level": 0}
        kept = {name: given[name] for name in given.keys() & YIELDING}
        made = {**given, **fixed, **{_property(name): value for name, value in ours.items()}, **kept}
        lasts = str(made.get("transaction.timeout.ms", ""))
        if "socket.timeout.ms" in made.keys() - kept.keys() and lasts.isdigit():
            # A client refuses to wait longer for an answer than its transactions last.
            made["socket.timeout.ms"] = min(int(str(made["socket.timeout.ms"])), int(lasts))
        return {name: value for name, value in made.items() if value is not None}

    def metadata_seconds(self) -> float:
        """How often a stream looks for partitions that were added: `metadata.max.age.ms`, or `METADATA_SECONDS`.

        Raises:
            UsageError: the file cannot be read, or the property is no number of milliseconds.
        """
        return max(0.1, self._milliseconds("metadata.max.age.ms", METADATA_SECONDS * 1000) / 1000)

    def session_ms(self, default: int) -> float:
        """After how long without a sign of life a member leaves its group: `session.timeout.ms`, or `default`.

        Raises:
            UsageError: the file cannot be read, or the property is no number of milliseconds.
        """
        return self._milliseconds("session.timeout.ms", default)

    def _milliseconds(self, name: str, default: float) -> float:
        given = (read_properties(self.properties) if self.properties else {}).get(name)
        if given is None:
            return default
        if not given.isdigit():
            raise UsageError(f"--kafka_config {self.properties}: {name}={given} is no number of milliseconds")
        return int(given)


def _property(name: str) -> str:
    return name if name in ("error_cb", "on_delivery") else name.replace("_", ".")


def read_properties(source: str) -> dict[str, str]:
    """The client properties in a file, or in the environment variable of `env:NAME`.

    Raises:
        UsageError: it cannot be read, or a property is not for a client of this job to have.
    """
    return parse_properties(settings_text(source, "--kafka_config"), source, os.environ)


def parse_properties(text: str, source: str, environment: Mapping[str, str]) -> dict[str, str]:
    r"""Lines of `name=value`; `#` and `!` begin comments, a `\` at the end goes on, `${NAME}` is a variable's value.

    The properties are librdkafka's; the Java client's `sasl.jaas.config` with a user and password is understood too.
    No error shows a value.

    Raises:
        UsageError: a line is no property, or names a variable that is not set, or is the job's own to set.
    """
    properties: dict[str, str] = {}
    of = f"--kafka_config {source}"
    for name, value in each_setting(re.sub(r"\\\r?\n\s*", "", text), of, "property"):
        if name in OURS:
            raise UsageError(f"{of} sets {name}, which {OURS[name]} sets; remove it from the file")
        properties[name] = with_variables(name, value, of, environment)
    return _from_java(properties, source)


def _from_java(properties: dict[str, str], source: str) -> dict[str, str]:
    jaas = properties.pop("sasl.jaas.config", None)
    if jaas is not None:
        for name, double, single in _JAAS.findall(jaas):
            properties.setdefault(f"sasl.{name}", re.sub(r"\\(.)", r"\1", double or single))
    for name in properties:
        if name in _OF_JAVA:
            raise UsageError(
                f"--kafka_config {source}: {name} is a property of the Java client; librdkafka takes {_OF_JAVA[name]}"
            )
    return properties


def default_group(topic: str, output: str) -> str:
    """The consumer group of a stream from one topic to another, unless said otherwise.

    >>> default_group("in", "out")
    'beamsplit-in-out'
    """
    return f"beamsplit-{topic}-{output}"
