"""Settings of a client, in a file or an environment variable: lines of `name=value`, with `${NAME}` for variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from beamsplit.models.errors import UsageError
from beamsplit.transforms.files import read_file

_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_]\w*)\}")
"""`${NAME}`, or `${env:NAME}` as Kafka's own files have it."""


def settings_text(source: str, option: str) -> str:
    """What is in a file, or in the environment variable of `env:NAME`.

    Raises:
        UsageError: there is no such variable.
        OSError: the file cannot be read.
    """
    if not source.startswith("env:"):
        return read_file(source).decode("utf-8", "replace")
    text = os.environ.get(source[4:])
    if text is None:
        raise UsageError(f"{option} {source}: the environment has no {source[4:]}; export it, or name a file")
    return text


def each_setting(text: str, of: str, word: str) -> Iterator[tuple[str, str]]:
    """(name, value) of each line; `#` and `!` begin comments. No error shows a value.

    >>> list(each_setting("# of the database\\nuri = sqlite:a.db\\n", "--sql_config f", "setting"))
    [('uri', 'sqlite:a.db')]

    Args:
        text: the lines.
        of: the option with what it names, for errors.
        word: what a line is called.

    Raises:
        UsageError: a line is none.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.strip()[0] in "#!":
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not name or not equals:
            raise UsageError(f"{of}, line {number} is no {word}; write NAME=VALUE")
        yield name, value


def with_variables(name: str, value: str, of: str, environment: Mapping[str, str] = os.environ) -> str:
    """The value with its variables filled in.

    >>> with_variables("password", "${env:A}${B}$C", "--sql_config f", {"A": "1", "B": "2"})
    '12$C'

    Raises:
        UsageError: one is not set.
    """
    for wanted in _VARIABLE.findall(value):
        if wanted not in environment:
            raise UsageError(
                f"{of}: {name} wants the environment variable {wanted}, which is not set; "
                f"export {wanted}=... where the workers run"
            )
    return _VARIABLE.sub(lambda match: environment[match[1]], value)
