"""How databases, their tables and queries are named. Imports nothing, so that options can be checked.

postgresql://USER@HOST/DB#schema.table     a table
sqlite:PATH#table                          the same, in a file
sql:FILE.sql, sql:schema.table             a query, or a table, of the database that --sql_config names
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote

from beamsplit.models.errors import UsageError

POSTGRES = ("postgresql", "postgres")
"""Schemes of the same."""

SECRET = ("password", "sslpassword", "oauth_client_secret")
"""Parameters of libpq that nobody is to see."""

_PARTS = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


class SqlName(NamedTuple):
    """A table or a query, and its database."""

    uri: str
    """`postgresql://...` or `sqlite:PATH`; empty where --sql_config names it."""

    table: tuple[str, ...] = ()
    """The parts of its name; empty of a query."""

    file: str | None = None
    """Of the query."""

    typed: str = ""
    """As it is shown."""

    def __str__(self) -> str:
        """As it is typed; no password can be in it."""
        return self.typed


def check_sql_passwords(names: Iterable[tuple[str, str | None]]) -> None:
    """Refuse addresses of databases with a password in them, which logs, histories and lists of processes would show.

    Args:
        names: (what it was given by, the name).

    Raises:
        UsageError: one has; the error does not show it.
    """
    for option, name in names:
        if name and name.startswith(tuple(f"{scheme}://" for scheme in POSTGRES)) and _has_password(name):
            raise UsageError(
                f"{option} has a password in the address of its database: leave it out; passwords come from "
                "PGPASSWORD, ~/.pgpass, or a file that --sql_config names"
            )


def _has_password(uri: str) -> bool:
    address, _, query = uri.partition("?")
    authority = address.split("://", 1)[1].partition("/")[0]
    user = authority.rpartition("@")[0]
    given = [unquote(part.partition("=")[0]) for part in query.partition("#")[0].split("&")]
    return ":" in user or any(name in SECRET for name in given)


def parse_sql(name: str, option: str) -> SqlName:
    """The table or query that an option names.

    >>> parse_sql("postgresql://me@host/db?sslmode=require#pets.cats", "--input")[:2]
    ('postgresql://me@host/db?sslmode=require', ('pets', 'cats'))
    >>> parse_sql("sql:big.sql", "--input").file, parse_sql('sqlite:a.db#"my.table"', "--input").table
    ('big.sql', ('my.table',))

    Raises:
        UsageError: it names none.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "sql":
        if rest.lower().endswith(".sql"):
            return SqlName("", (), rest, name)
        return SqlName("", _table(rest, name, option), None, name)
    check_sql_passwords([(option, name)])
    uri, mark, table = name.rpartition("#")
    if not mark or not table:
        example = "postgresql://host/db#schema.table" if scheme in POSTGRES else "sqlite:data/pets.db#table"
        raise UsageError(
            f"{option} {name} names no table; type e.g. {example}, or sql:FILE.sql with --sql_config for a query"
        )
    if scheme == "sqlite":
        uri = "sqlite:" + uri.removeprefix("sqlite:").removeprefix("//").removeprefix("file://")
        if uri == "sqlite:" or "://" in uri:
            raise UsageError(f"{option} {name} names no file of this machine; type e.g. sqlite:data/pets.db#table")
    return SqlName(uri, _table(table, name, option), None, name)


def _table(text: str, name: str, option: str) -> tuple[str, ...]:
    found = _PARTS.findall(text)
    parts = tuple(quoted.replace('""', '"') or plain for quoted, plain in found)
    again = ".".join(f'"{quoted}"' if quoted else plain for quoted, plain in found)
    if not parts or again != text or len(parts) > 3:
        raise UsageError(
            f"{option} {name}: {text!r} is no name of a table; type schema.table, and parts with a dot in double quotes"
        )
    return parts


def quoted(name: str) -> str:
    """A name as SQL has it, whatever is in it.

    >>> quoted('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def quoted_table(parts: Iterable[str]) -> str:
    """The same of a table."""
    return ".".join(map(quoted, parts))
