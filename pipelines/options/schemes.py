"""What the names of inputs and outputs mean: files, or a system that is named by its scheme.

A new system is a module in `sources/` (and one in `sinks/`), and a row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Mode(Enum):
    """What a job reads, and for how long."""

    FILES = "files"
    """What there is, to its end; files, and whatever else is no topic."""

    RANGE = "range"
    """A topic up to its end, to files."""

    STREAM = "stream"
    """A topic to a topic, for as long as it lasts."""


@dataclass(frozen=True)
class Scheme:
    """A system that rows come from or go to."""

    sources: Mapping[Mode, str] = field(default_factory=dict)
    """Module with `find(options, job_dir, local) -> Source`, by how it is read; imported where it is what is read."""

    sinks: str | None = None
    """Module with `find_topics(options, local) -> TopicSinks`."""

    tables: str | None = None
    """Module with `find_table(options, local) -> Sink`, of a system whose outputs are tables."""

    @property
    def is_topic(self) -> bool:
        """Whether rows are messages, which come one after another."""
        return Mode.STREAM in self.sources


_SOURCES, _SINKS = "beamsplit.pipelines.sources", "beamsplit.pipelines.sinks"

FILES = Scheme({Mode.FILES: f"{_SOURCES}.files"})
"""Whatever has no scheme below: paths, `gs://`, `s3://`."""

SCHEMES: dict[str, Scheme] = {
    "kafka": Scheme(
        {Mode.RANGE: f"{_SOURCES}.topic_range", Mode.STREAM: f"{_SOURCES}.topic"},
        sinks=f"{_SINKS}.topics",
    ),
    "lance": Scheme({Mode.FILES: f"{_SOURCES}.lance"}, tables=f"{_SINKS}.lance"),
    "iceberg": Scheme({Mode.FILES: f"{_SOURCES}.iceberg"}, tables=f"{_SINKS}.iceberg"),
    "delta": Scheme({Mode.FILES: f"{_SOURCES}.delta"}, tables=f"{_SINKS}.delta"),
    **dict.fromkeys(
        ("postgresql", "postgres", "sqlite", "sql"),
        Scheme({Mode.FILES: f"{_SOURCES}.sql"}, tables=f"{_SINKS}.sql"),
    ),
}
"""System by scheme."""

BY_PATH = ("delta", "lance", "sqlite", "sql")
"""Schemes behind which a path stands: `delta:data/sales`."""


def scheme_of(name: str) -> Scheme:
    """The system that an input or output is in.

    >>> scheme_of("kafka://h:9092/t").is_topic, scheme_of("gs://bucket/a.parquet").is_topic
    (True, False)
    >>> scheme_of("delta:data/sales") is SCHEMES["delta"], scheme_of("data/delta") is FILES
    (True, True)
    """
    scheme, found, behind = name.partition(":")
    if not found or not (behind.startswith("//") or scheme in BY_PATH):
        return FILES
    return SCHEMES.get(scheme, FILES)


def is_table(name: str) -> bool:
    """Whether a name is that of a table."""
    return scheme_of(name).tables is not None


def is_sql(name: str) -> bool:
    """Whether a name is that of a table or a query of a database."""
    return scheme_of(name) is SCHEMES["sql"]


def is_topic(name: str) -> bool:
    """Whether a name is that of a topic."""
    return scheme_of(name).is_topic
