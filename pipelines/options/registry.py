"""The options of messages whose schemas are in a schema registry. Imports no Beam."""

from __future__ import annotations

import argparse
import re
from urllib.parse import urlsplit

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.transforms.kafka.registry.kinds import KINDS, STRATEGIES

REGISTERED = tuple(KINDS)
"""Formats of messages that have their schema in a registry."""


def add_registry(p: argparse.ArgumentParser) -> None:
    """Add them to the parser."""
    group = p.add_argument_group(f"a schema registry (--format and --output_format {', '.join(REGISTERED)})")
    group.add_argument(
        "--schema_registry",
        metavar="URL",
        help="of Confluent's API; user, password and TLS: schema.registry.* in --kafka_config",
    )
    group.add_argument(
        "--subject_strategy",
        choices=STRATEGIES,
        help="name of a topic's subject: TOPIC-value (default), RECORD, or TOPIC-RECORD",
    )
    group.add_argument(
        "--input_record", metavar="NAME", help="full name of the record or message that the input's messages hold"
    )
    group.add_argument("--output_record", metavar="NAME", help="full name of the record or message that is written")
    group.add_argument(
        "--register_schema",
        action="store_true",
        help="make the schema of what is written the latest version of its subject (default: the subject's latest "
        "version is written, and must take all columns)",
    )


def check_registry(options: ScoreOptions) -> None:
    """Raise for options of a registry that do not go together.

    Raises:
        UsageError: there is one; names both sides and the fix.
    """
    stream, sink = options.stream, options.sink
    reads = any(map(is_topic, options.source.input)) and stream.format in REGISTERED
    writes = is_topic(sink.output) and sink.output_format in REGISTERED
    which = [f"--format {stream.format}"] if reads else []
    which += [f"--output_format {sink.output_format}"] if writes else []
    if which and stream.schema_registry is None:
        raise UsageError(
            f"{which[0]} is for messages whose schemas are in a registry; add --schema_registry http://HOST:PORT"
        )
    needs = {
        "schema_registry": (stream.schema_registry, bool(which)),
        "subject_strategy": (stream.subject_strategy, bool(which)),
        "input_record": (stream.input_record, reads),
        "output_record": (stream.output_record, writes),
        "register_schema": (stream.register_schema, writes),
    }
    formats = " or ".join(REGISTERED)
    for name, (value, used) in needs.items():
        if value and not used:
            option = {"input_record": "--format", "output_record": "--output_format"}.get(name)
            option = option or ("--output_format" if name == "register_schema" else "--format or --output_format")
            raise UsageError(f"--{name} is for {option} {formats}, which is not given; add it, or leave --{name} out")
    if not which:
        return
    _check_url(str(stream.schema_registry))
    if reads and stream.schema is not None:
        raise UsageError(f"--schema declares what the registry tells of --format {stream.format}; leave --schema out")
    if stream.subject_strategy in ("record", "topic_record"):
        missing = ["--input_record"] if reads and not stream.input_record else []
        missing += ["--output_record"] if writes and not stream.output_record else []
        if missing:
            raise UsageError(
                f"--subject_strategy {stream.subject_strategy} names subjects by their record; "
                f"add {missing[0]} NAME, its full name"
            )


def _check_url(url: str) -> None:
    for one in url.split(","):
        if not re.match(r"(https?|mock)://", one):
            raise UsageError(f"--schema_registry {_shown(url)} is no address; type --schema_registry http://HOST:PORT")
        try:
            parts = urlsplit(one)
            has_user, _ = parts.username is not None or parts.password is not None, parts.port
        except ValueError:
            has_user = "@" in one
            if not has_user:
                raise UsageError(
                    f"--schema_registry {url} is no address; type --schema_registry http://HOST:PORT"
                ) from None
        if has_user:
            raise UsageError(
                f"--schema_registry {_shown(url)} holds a user, which would be shown with it; leave it out, and put "
                "schema.registry.basic.auth.user.info=USER:PASSWORD into --kafka_config"
            )


def _shown(url: str) -> str:
    """Without what stands before an @."""
    return re.sub(r"//[^/]*@", "//", url)
