"""A real PostgreSQL server of a test's own, on a free port of the loopback interface."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OWNER = "postgres"
"""Whose the server is where the tests are root's, which it refuses to be."""


def find_programs() -> Path | None:
    """The folder of initdb and pg_ctl; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    here = shutil.which("initdb")
    return found[-1].parent if found else Path(here).resolve().parent if here else None


class Postgres:
    """The server; each test makes tables of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.uri = f"postgresql://tester@127.0.0.1:{port}/postgres"

    def connect(self) -> Any:
        from adbc_driver_postgresql import dbapi

        return dbapi.connect(self.uri, autocommit=True)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last statement."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres_server(programs: Path) -> Iterator[Postgres]:
    """Start one, and end it with all it has."""
    user = OWNER if os.getuid() == 0 else None
    # Folders of pytest's are closed to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="beamsplit-postgres-", dir=None if user is None else "/var/tmp"))
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)

    def run(program: str, *options: str) -> None:
        done = subprocess.run(
            [programs / program, "--pgdata", folder / "data", *options],
            user=user,
            group=None if user is None else owner.pw_gid,
            extra_groups=None if user is None else [],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (program, done.stderr.decode(), (folder / "log"))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        run("initdb", "--username=tester", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "start", "--wait", "--timeout=240", "--log", str(folder / "log"), "--options", settings)
        try:
            yield Postgres(port)
        finally:
            run("pg_ctl", "stop", "--mode=immediate", "--wait")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
