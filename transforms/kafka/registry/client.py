"""The schema registry: schemas by their id and by their subject, kept by each process once they were asked for."""

from __future__ import annotations

import queue
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeVar

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.config import REGISTRY_PREFIX, read_properties

REACH_SECONDS = 10.0
"""How long the registry may take to answer before a job starts."""

AWAY_SECONDS = 60.0
"""How long it may be away while a job runs."""

MOST_REFERENCES = 1000
"""Of a schema, those of its references too."""

MOST_WITHIN = 100
"""Steps from a schema to one that it refers to."""

UNKNOWN_SECONDS = 10.0
"""An id that is not known is asked for again after this."""

ANSWER_SECONDS = 10.0
"""How long the registry may take to answer a question, or to go on with its answer."""

WHOLE_SECONDS = 30.0
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


class Unusable(ValueError):
    """What the registry gives cannot be used; says why."""


class Refused(ValueError):
    """The registry does not take a schema; says why."""


_LOCK = threading.RLock()
_CLIENTS: dict[Registry, Any] = {}
_SCHEMAS: dict[tuple[Registry, int], Schema] = {}
_UNKNOWN: dict[tuple[Registry, int], tuple[float, LookupError | ValueError]] = {}
"""Until when an id is not asked for again, and why."""


def schema_by_id(registry: Registry, id: int, seconds: float = AWAY_SECONDS) -> Schema:
    """The schema of an id; asked for once a process.

    Raises:
        NotThere: the registry knows none.
        Unusable: it cannot be used.
        RegistryAway: it does not answer.
    """
    place = registry, id
    with _LOCK:
        if place in _SCHEMAS:
            return _SCHEMAS[place]
        until, why = _UNKNOWN.get(place, (0.0, None))
        if why is not None and time.monotonic() < until:
            raise why
        try:
            made = Schema(id, *_parts(registry, ask(registry, lambda client: client.get_schema(id), seconds), seconds))
        except (NotThere, Unusable) as error:
            why = error if isinstance(error, Unusable) else NotThere(_no_id(id))
            _UNKNOWN[place] = time.monotonic() + UNKNOWN_SECONDS, why
            raise why from error
        _SCHEMAS[place] = made
        return made


def _no_id(id: int) -> str:
    return f"the registry has no schema of the id {id}, which the message names"


def latest_schema(registry: Registry, subject: str, seconds: float = REACH_SECONDS) -> Schema:
    """The latest version of a subject.

    Raises:
        NotThere: there is no such subject.
        Unusable: what there is cannot be used.
        RegistryAway: the registry does not answer.
    """
    found = ask(registry, lambda client: client.get_latest_version(subject), seconds)
    if not isinstance(found.schema_id, int) or not isinstance(found.version, int):
        raise Unusable(f"the registry gives {subject} the id {found.schema_id} and the version {found.version}")
    parts = _parts(registry, found.schema, seconds)
    made = Schema(found.schema_id, *parts, subject=subject, version=found.version)
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
    """(kind, text, references) of what the client gives.

    Raises:
        Unusable: it has no text, or its references lead nowhere, round in a circle or on and on.
        RegistryAway: the registry does not answer.
    """
    references: dict[str, str] = {}

    def follow(schema: Any, within: tuple[str, ...]) -> None:
        for one in schema.references or ():
            if one.name in within:
                raise Unusable(f"it refers to {one.name}, which refers to itself")
            if len(references) + len(within) > MOST_REFERENCES or len(within) > MOST_WITHIN:
                raise Unusable(
                    f"it refers to more than {MOST_REFERENCES:,} others, or in more than {MOST_WITHIN} steps"
                )
            if one.name not in references:
                try:
                    other = ask(registry, lambda client, one=one: client.get_version(one.subject, one.version), seconds)  # type: ignore[misc]
                except NotThere:
                    told = f"{one.name}, version {one.version} of {one.subject}, which the registry does not have"
                    raise Unusable(f"it refers to {told}") from None
                follow(other.schema, (*within, one.name))
                references[one.name] = _text(other.schema)

    text = _text(found)
    follow(found, ())
    return str(found.schema_type or "AVRO"), text, tuple(references.items())


def _text(schema: Any) -> str:
    if not isinstance(schema.schema_str, str):
        raise Unusable("the registry gives no text of it")
    return schema.schema_str


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
            return _whole_answer(question, client)
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


def _whole_answer(question: Callable[[Any], _T], client: Any) -> _T:
    """What it answers, unless that comes so slowly, byte by byte, that no pause between two is too long.

    Raises:
        TimeoutError: it is not all there in time.
    """
    answered: queue.SimpleQueue[Callable[[], _T]] = queue.SimpleQueue()

    def put() -> None:
        try:
            found = question(client)
            answered.put(lambda: found)
        except BaseException as error:
            answered.put(partial(_raise, error))

    threading.Thread(target=put, name="registry", daemon=True).start()
    try:
        get = answered.get(timeout=WHOLE_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"its answer is not all there after {WHOLE_SECONDS:g} s") from None
    return get()


def _raise(error: BaseException) -> NoReturn:
    raise error


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
