"""The schema registry: schemas by their id and by their subject, kept by each process once they were asked for."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.config import REGISTRY_PREFIX, read_properties

REACH_SECONDS = 10.0
"""How long the registry may take to answer before a job starts."""

AWAY_SECONDS = 60.0
"""How long it may be away while a job runs."""

UNKNOWN_SECONDS = 10.0
"""An id that is not known is asked for again after this."""

ANSWER_SECONDS = 10.0
"""How long one question may take."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Registry:
    """Where the registry is, and how a client gets in. Holds no secret: each process reads the properties itself."""

    url: str
    properties: str | None = None
    """What `--kafka_config` names: its properties `schema.registry.*` are those of this client."""

    def client(self) -> Any:
        """The client of this process.

        Raises:
            UsageError: it is not installed, or a property is unknown or wrong.
        """
        with _LOCK:
            if self not in _CLIENTS:
                _CLIENTS[self] = _make(self)
            return _CLIENTS[self]


@dataclass(frozen=True)
class Schema:
    """A schema as the registry has it."""

    id: int
    kind: str
    """`AVRO`, `PROTOBUF` or `JSON`."""

    text: str
    references: tuple[tuple[str, str], ...] = ()
    """Name and text of each schema that it refers to, those first that others refer to."""

    subject: str = ""
    version: int = 0
    """Where it was asked for by its subject."""

    def __str__(self) -> str:
        """E.g. `in-value, version 3`."""
        return f"{self.subject}, version {self.version}" if self.subject else f"id {self.id}"


class RegistryAway(RuntimeError):
    """The registry did not answer, however often it was asked, or lets nobody in; the message is one line."""


class NotThere(LookupError):
    """The registry has no such schema or subject."""


class Refused(ValueError):
    """The registry does not take a schema; says why."""


_LOCK = threading.RLock()
_CLIENTS: dict[Registry, Any] = {}
_SCHEMAS: dict[tuple[Registry, int], Schema] = {}
_UNKNOWN: dict[tuple[Registry, int], float] = {}


def schema_by_id(registry: Registry, id: int, seconds: float = AWAY_SECONDS) -> Schema:
    """The schema of an id; asked for once a process.

    Raises:
        NotThere: the registry knows none.
        RegistryAway: it does not answer.
    """
    place = registry, id
    with _LOCK:
        if place in _SCHEMAS:
            return _SCHEMAS[place]
        if time.monotonic() < _UNKNOWN.get(place, 0.0):
            raise NotThere(_no_id(id))
        try:
            found = ask(registry, lambda client: client.get_schema(id), seconds)
            made = Schema(id, *_parts(registry, found, seconds))
        except NotThere as error:
            _UNKNOWN[place] = time.monotonic() + UNKNOWN_SECONDS
            raise NotThere(_no_id(id)) from error
        _SCHEMAS[place] = made
        return made


def _no_id(id: int) -> str:
    return f"the registry has no schema of the id {id}, which the message names"


def latest_schema(registry: Registry, subject: str, seconds: float = REACH_SECONDS) -> Schema:
    """The latest version of a subject.

    Raises:
        NotThere: there is no such subject.
        RegistryAway: the registry does not answer.
    """
    found = ask(registry, lambda client: client.get_latest_version(subject), seconds)
    parts = _parts(registry, found.schema, seconds)
    made = Schema(int(found.schema_id), *parts, subject=subject, version=int(found.version))
    with _LOCK:
        _SCHEMAS.setdefault((registry, made.id), Schema(made.id, *parts))
    return made


def register(registry: Registry, subject: str, kind: str, text: str, seconds: float = REACH_SECONDS) -> Schema:
    """Make a schema the latest version of a subject, unless it is a version already; with its id.

    Raises:
        Refused: it is not compatible with the versions before, or is none.
        RegistryAway: the registry does not answer.
    """
    from confluent_kafka.schema_registry import Schema as Theirs

    id = ask(registry, lambda client: client.register_schema(subject, Theirs(text, kind)), seconds)
    return Schema(int(id), kind, text, subject=subject)


def _parts(registry: Registry, found: Any, seconds: float) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """(kind, text, references) of what the client gives."""
    references: dict[str, str] = {}

    def follow(schema: Any) -> None:
        for one in schema.references or ():
            if one.name not in references:
                other = ask(registry, lambda client, one=one: client.get_version(one.subject, one.version), seconds)  # type: ignore[misc]
                follow(other.schema)
                references[one.name] = other.schema.schema_str

    follow(found)
    return str(found.schema_type or "AVRO"), str(found.schema_str), tuple(references.items())


def ask(registry: Registry, question: Callable[[Any], _T], seconds: float) -> _T:
    """What the registry answers; asked again for so long where it is away.

    Raises:
        NotThere: it has none.
        Refused: it does not take it.
        RegistryAway: it does not answer, or lets nobody in.
    """
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    client, deadline, wait = registry.client(), time.monotonic() + seconds, 0.1
    while True:
        try:
            return question(client)
        except SchemaRegistryError as error:
            status, said = error.http_status_code, _one_line(error.error_message)
            if status == 404:
                raise NotThere(said) from None
            if status in (409, 422):
                raise Refused(said) from None
            if status in (401, 403):
                told = f"does not let us in (HTTP {status})"
                fix = "check schema.registry.basic.auth.user.info in --kafka_config"
                raise RegistryAway(_told(registry, told, fix)) from None
            reason = f"HTTP {status}: {said}"
            if status < 500 and status not in (408, 429):
                raise RegistryAway(_told(registry, f"answers {reason}", "check its address, with its path")) from None
        except Exception as error:
            # The client raises what its HTTP library does, which has names of its own.
            reason = _one_line(str(error)) or type(error).__name__
            if "certificate" in reason.lower():
                fix = "check schema.registry.ssl.ca.location in --kafka_config"
                raise RegistryAway(_told(registry, f"cannot be reached ({reason})", fix)) from None
        if time.monotonic() + wait > deadline:
            raise RegistryAway(_told(registry, f"does not answer ({reason})", "start it, or check the address"))
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(2 * wait, 5.0)


def _told(registry: Registry, what: str, fix: str) -> str:
    return f"--schema_registry {registry.url} {what}; {fix}"


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"//[^/@\s]+@", "//", str(text)).split())[:300]


def _make(registry: Registry) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise UsageError(
            f"--schema_registry wants a part of confluent-kafka that is not installed ({error.name}): "
            "pip install 'beamsplit[registry]'"
        ) from None
    given = read_properties(registry.properties) if registry.properties else {}
    own = {name.removeprefix(REGISTRY_PREFIX): v for name, v in given.items() if name.startswith(REGISTRY_PREFIX)}
    own.pop("basic.auth.credentials.source", None)  # of the Java client, which has it say what is said by the others
    try:
        # It is asked again here, until a time that is known.
        conf = {"url": registry.url, "max.retries": 0, "timeout": ANSWER_SECONDS, **own}
        if registry.url.startswith("mock://"):
            return SchemaRegistryClient.new_client(conf)
        return SchemaRegistryClient(conf)
    except (ValueError, TypeError, OSError) as error:
        where = f"--kafka_config {registry.properties}" if registry.properties else f"--schema_registry {registry.url}"
        raise UsageError(f"{where}: the registry's client does not take it: {_one_line(str(error))}") from None


@contextlib.contextmanager
def as_usage(option: str) -> Any:
    """What is wrong before a job starts is told as such."""
    try:
        yield
    except RegistryAway as error:
        raise UsageError(str(error)) from error
    except NotThere as error:
        raise UsageError(f"{option}: {error}") from error
