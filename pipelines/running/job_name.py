"""The name of a job on its runner: the same each time that the same command is started."""

from __future__ import annotations

import re

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.transforms.kafka.config import default_group, parse_topic

PREFIX = "beamsplit-"

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def job_name(options: ScoreOptions) -> str:
    """`--job_name`, else one that tells the consumer group of a stream, or the output of files.

    Raises:
        UsageError: the name given has characters that not every runner takes.
    """
    given = options.runner.job_name
    if given is not None:
        if not _NAME.fullmatch(given):
            raise UsageError(
                f"--job_name {given!r} has other characters than letters, digits and, within it, '-', '_' and '.'; "
                f"type e.g. --job_name {_plain(given) or 'scoring'}"
            )
        return given
    sink, stream = options.sink.output, options.stream
    if stream.group is not None:
        told = stream.group
    elif is_topic(sink) and any(map(is_topic, options.source.input)):
        told = default_group(parse_topic(options.source.input[0], "--input").name, parse_topic(sink, "--output").name)
    else:
        told = sink.rstrip("/").rsplit("/", 1)[-1].split(".")[0]
    plain = _plain(told)
    return plain if plain.startswith(PREFIX) else f"{PREFIX}{plain}".rstrip("-")


def _plain(text: str) -> str:
    """The text in letters, digits and dashes.

    >>> _plain("My group: a/b")
    'my-group-a-b'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
