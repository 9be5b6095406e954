"""Databases: how they are reached, and what they say when they cannot be. Passwords are read where they are used."""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from beamsplit.models.errors import UsageError
from beamsplit.transforms.settings_file import each_setting, settings_text, with_variables
from beamsplit.transforms.sql.names import POSTGRES, SECRET, SqlName, check_sql_passwords

CONNECT_SECONDS = 30
"""How long PostgreSQL is waited for."""

_NOISE = re.compile(
    r"^[A-Z_]+: (\[\w+\] )?(Failed to (connect|execute query)[^:]*: |could not begin COPY: |ERROR:\s+|FATAL:\s+"
    r"|PGRES_FATAL_ERROR ERROR:\s+|Failed to execute COPY statement: )*"
)


class DatabaseError(RuntimeError):
    """A database refused or went away, in one line without a password."""


@dataclass(frozen=True)
class Database:
    """What is needed to reach a database, from any worker."""

    uri: str
    """Without a password; empty where `config` has it."""

    config: str | None = None
    """`--sql_config`: a file or `env:NAME`, read by each worker."""

    @property
    def kind(self) -> str:
        """`"postgresql"`, `"sqlite"`, or the name of another driver."""
        scheme = self.address().partition(":")[0]
        if self.config is not None and (driver := read_sql_config(self.config).get("driver")):
            return "postgresql" if driver in POSTGRES else driver
        return "postgresql" if scheme in POSTGRES else scheme

    def address(self) -> str:
        """The URI, wherever it is from."""
        return self.uri or read_sql_config(self.config or "").get("uri", "")

    @property
    def path(self) -> str:
        """Of an SQLite database."""
        return self.address().removeprefix("sqlite:").removeprefix("//").removeprefix("file://")


def find_database(name: SqlName, config: str | None, option: str) -> Database:
    """The database of a table or query.

    Raises:
        UsageError: nothing says which it is, or the settings cannot be read.
    """
    given = read_sql_config(config) if config is not None else {}
    if not name.uri and not given.get("uri") and not given.get("driver"):
        raise UsageError(
            f"{option} {name} says no database: name a file with --sql_config, in which uri=postgresql://USER@HOST/DB "
            "says it"
        )
    if name.uri and given.get("driver", name.uri.partition(":")[0]) != name.uri.partition(":")[0]:
        raise UsageError(
            f"{option} {name} is of {name.uri.partition(':')[0]}, and --sql_config {config} says "
            f"driver={given['driver']}; type sql:TABLE for tables of that"
        )
    check_sql_passwords([(f"uri of --sql_config {config}", given.get("uri"))])
    found = Database(name.uri, config)
    if found.kind not in ("postgresql", "sqlite") and "driver" not in given:
        raise UsageError(
            f"--sql_config {config}: uri is of {found.kind!r}, for which no driver is known; add driver=NAME"
        )
    return found


def read_sql_config(source: str) -> dict[str, str]:
    """The settings in a file, or in the environment variable of `env:NAME`: lines of `name=value`, where `${NAME}` is
    a variable's value. `uri` and `driver` say which database, the others go to its driver. No error shows a value.

    Raises:
        UsageError: it cannot be read, a line is no setting, or a variable is not set.
    """
    try:
        text = settings_text(source, "--sql_config")
    except OSError as error:
        raise UsageError(f"--sql_config {source} cannot be read: {error.strerror or error}") from error
    of = f"--sql_config {source}"
    return {name: with_variables(name, value, of) for name, value in each_setting(text, of, "setting")}


def connect(database: Database, option: str) -> Any:
    """A connection (ADBC's DBAPI) on which nothing is begun.

    Raises:
        UsageError: the driver is not installed, or the database does not answer or lets nobody in.
    """
    given = read_sql_config(database.config) if database.config is not None else {}
    kind, address = database.kind, database.address()
    settings = {name: value for name, value in given.items() if name not in ("uri", "driver", "entrypoint")}
    try:
        if kind == "postgresql":
            dbapi = importlib.import_module("adbc_driver_postgresql.dbapi")
            return dbapi.connect(_postgres_uri(address, settings), autocommit=True)
        if kind == "sqlite":
            dbapi = importlib.import_module("adbc_driver_sqlite.dbapi")
            return dbapi.connect(f"file:{quote(os.path.abspath(database.path))}?mode=rw", autocommit=True)
        dbapi = importlib.import_module("adbc_driver_manager.dbapi")
        if address:
            settings["uri"] = address
        more = {"entrypoint": given["entrypoint"]} if "entrypoint" in given else {}
        return dbapi.connect(_driver(kind), db_kwargs=settings, autocommit=True, **more)
    except ImportError as error:
        if kind in ("postgresql", "sqlite") or "adbc_driver_manager" in str(error):
            raise UsageError(
                f"{option} names a database, which wants ADBC's drivers, which are not installed: "
                "pip install 'beamsplit[sql]'"
            ) from None
        raise
    except Exception as error:
        if not is_adbc(error):
            raise
        where = f"the database {without_query(address)}" if address else f"the database of driver {kind}"
        raise UsageError(f"{option}: {where} cannot be reached: {told(error, database)}") from None


def without_query(uri: str) -> str:
    """The address as errors show it."""
    return uri.partition("?")[0]


def _driver(name: str) -> str:
    """The library of a driver that is a Python package, or its name for ADBC to look up."""
    try:
        module = importlib.import_module(name if name.startswith("adbc_driver_") else f"adbc_driver_{name}")
    except ImportError:
        return name
    find = getattr(module, "_driver_path", None) or getattr(module, "driver_path", None)
    return str(find()) if find is not None else name


def _postgres_uri(uri: str, settings: dict[str, str]) -> str:
    address, _, query = uri.partition("?")
    parts = [part for part in query.split("&") if part]
    have = {part.partition("=")[0] for part in parts} | set(settings)
    ours = {"connect_timeout": str(CONNECT_SECONDS), "application_name": "beamsplit", "keepalives_idle": "60"}
    parts += [f"{name}={value}" for name, value in ours.items() if name not in have]
    parts += [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in settings.items()]
    return f"{address}?{'&'.join(parts)}"


def is_adbc(error: BaseException) -> bool:
    """Whether a driver raised it."""
    return type(error).__module__.startswith("adbc_driver_manager")


def told(error: BaseException, database: Database | None = None) -> str:
    """What a driver says, in one line of at most 300 characters, without a password."""
    text = " ".join(str(error).split())
    for name, value in getattr(error, "details", None) or ():
        if name == b"PG_DIAG_MESSAGE_PRIMARY":
            text = value.decode("utf-8", "replace")
    text = _NOISE.sub("", text)
    text = re.sub(r"[;.\s]*(Query was:.*|SQLSTATE: \w+)$", "", text).strip()
    if database is not None and database.config is not None:
        for name, value in read_sql_config(database.config).items():
            if value and (name in SECRET or re.search("pass|secret|token|key", name, re.IGNORECASE)):
                text = text.replace(value, "***").replace(quote(value, safe=""), "***")
    return text[:300]


def state(error: BaseException) -> str:
    """The SQLSTATE of an error; empty where it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def run(connection: Any, sql: str, parameters: tuple[Any, ...] = (), use_copy: bool = True) -> list[tuple[Any, ...]]:
    """Run a statement; its rows.

    Args:
        connection: of `connect`.
        sql: one statement.
        parameters: of it.
        use_copy: False for one of PostgreSQL that gives rows and is no query.
    """
    with connection.cursor() as cursor:
        if not use_copy:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        cursor.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []
