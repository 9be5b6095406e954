"""Lists of column names as they are typed: `id,"last, first"`."""

from __future__ import annotations

import re

from beamsplit.models.binding.nulls import ERROR, Given, Nulls
from beamsplit.models.errors import UsageError

_QUOTED = r'"(?:[^"]|"")*"'
_NAME = re.compile(rf"({_QUOTED}|[^,\"][^,]*|)(,|$)")
_NULL = re.compile(rf"(?:({_QUOTED}|[^,=\"][^,=]*)=({_QUOTED}|[^,\"][^,]*|)|({_QUOTED}|[^,=\"][^,=]*|))(,|$)")


def split_names(option: str, text: str) -> tuple[str, ...]:
    """The names in `a,b,c`; one with a comma is in double quotes, where two quotes stand for one.

    >>> split_names("--keep", 'id,"last, first"')
    ('id', 'last, first')

    Raises:
        UsageError: a quote is not closed, or something follows it.
    """
    return tuple(_unquoted(match[1])[0] for match in _matches(_NAME, option, text))


def read_csv_header(text: str) -> bool | tuple[str, ...]:
    """What `--csv_header yes|no|NAME,NAME` says; a column that is named yes or no is in double quotes.

    >>> read_csv_header('id,"last, first"')
    ('id', 'last, first')

    Raises:
        UsageError: a name is empty or given twice.
    """
    if text in ("yes", "no"):
        return text == "yes"
    names = split_names("--csv_header", text)
    if "" in names:
        raise UsageError(f"--csv_header {text!r} has an empty name; give every column one, or say --csv_header no")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"--csv_header names the column {twice[0]!r} twice; give each its own name")
    return names


def read_nulls(values: list[str]) -> Nulls:
    """What `--nulls VALUE COLUMN=VALUE,COLUMN=VALUE` says; names and values with a comma or `=` are in double quotes.

    >>> read_nulls(["nan", 'age=0,city=""']).columns["city"]
    Given(text='', quoted=True)

    Raises:
        UsageError: it is not of that form, or says two things of one column.
    """
    default: Given | None = None
    columns: dict[str, Given] = {}
    for text in values:
        if not text:
            raise UsageError("--nulls is given the empty text ''; for an empty text as the value type --nulls '\"\"'")
        for match in _matches(_NULL, "--nulls", text):
            given = Given(*_unquoted(match[3] if match[1] is None else match[2]))
            if match[1] is None:
                if default is not None and default != given:
                    raise UsageError(f"--nulls gives two values for all columns, {default} and {given}; give one")
                default = given
                continue
            name = _unquoted(match[1])[0]
            if name in columns:
                raise UsageError(f"--nulls names the column {name!r} twice; name it once")
            columns[name] = given
    return Nulls(default or ERROR, columns)


def _matches(item: re.Pattern[str], option: str, text: str) -> list[re.Match[str]]:
    found = []
    at = 0
    while True:
        match = item.match(text, at)
        if match is None:
            raise UsageError(
                f"{option} {text}: {text[at:]!r} begins with a quote that is not closed before the next comma; write a "
                f"name with a comma as '\"last, first\"', and a quote in it twice"
            )
        found.append(match)
        at = match.end()
        if match[match.re.groups] != ",":
            return found


def _unquoted(text: str) -> tuple[str, bool]:
    if text.startswith('"'):
        return text[1:-1].replace('""', '"'), True
    return text, False
