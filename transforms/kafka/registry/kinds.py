"""The kinds of schemas that a registry holds, as `--format` names them: a new one is a module and a row."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from beamsplit.transforms.formats.avro_schema import Unreadable
    from beamsplit.transforms.kafka.registry.avro_decode import Decoded
    from beamsplit.transforms.kafka.registry.client import Schema
    from beamsplit.transforms.kafka.registry.framing import Bodies


class How(NamedTuple):
    """How messages are read, beside their schemas."""

    record: str | None = None
    """Full name of the record or message that they hold, where that matters."""

    fed: tuple[tuple[str, Any], ...] = ()
    """Of text: columns of float64 that are fed as a narrower float, which is not to round whole numbers."""


class RowWriter(Protocol):
    """Makes messages of rows; a picklable value."""

    def faults(self, rows: pa.RecordBatch) -> dict[int, str]:
        """Rows that no message can be made of, and why."""

    def bodies(self, rows: pa.RecordBatch) -> pa.Array:
        """The bytes (binary) of each row, of which none has a fault, without the frame."""


class Module(Protocol):
    """What the module of a kind offers."""

    def fields(self, schema: Schema, record: str | None) -> Mapping[str, pa.DataType | Unreadable]:
        """What each field of a message is read as, or why it cannot be.

        Raises:
            ValueError: the schema cannot be read, or has no such record.
        """

    def read(
        self,
        writer: Schema,
        reader: Schema,
        how: How,
        wanted: pa.Schema,
        bodies: Bodies,
    ) -> Decoded:
        """Messages written by one schema, as fields of another.

        Raises:
            ValueError: none can be read; says why.
        """

    def writer(self, schema: Schema, record: str | None, rows: pa.Schema) -> RowWriter:
        """What makes messages of rows with these columns.

        Raises:
            ValueError: they do not fit; says which and why.
        """

    def derived(self, rows: pa.Schema, name: str) -> str:
        """A schema for rows with these columns.

        Raises:
            ValueError, TypeError: there is none.
        """


@dataclass(frozen=True)
class Kind:
    """A kind of schema."""

    name: str
    """As `--format` names it."""

    type: str
    """As the registry names it."""

    module_name: str

    text: bool = False
    """Whether messages are text, whose numbers have no width."""

    @property
    def module(self) -> Module:
        """What reads and writes it; imported when it is first used."""
        found: Any = importlib.import_module(f"beamsplit.transforms.kafka.registry.{self.module_name}")
        return found


_ALL = (
    Kind("avro", "AVRO", "avro"),
    Kind("protobuf", "PROTOBUF", "protobuf"),
    Kind("jsonschema", "JSON", "json_schema", text=True),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}


def is_registered(format: str | None) -> bool:
    """Whether messages of a format have their schema in a registry.

    >>> is_registered("avro"), is_registered("json"), is_registered(None)
    (True, False, False)
    """
    return format in KINDS


STRATEGIES = ("topic", "record", "topic_record")


def subject_of(strategy: str, topic: str, record: str | None) -> str:
    """The subject of the values of a topic; `record` is the full name of their record or message.

    >>> subject_of("topic", "in", None), subject_of("record", "in", "a.R"), subject_of("topic_record", "in", "a.R")
    ('in-value', 'a.R', 'in-a.R')
    """
    return {"topic": f"{topic}-value", "record": f"{record}", "topic_record": f"{topic}-{record}"}[strategy]
