"""Who listens on a port of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from beamsplit.runners.errors import RunnerError
from beamsplit.runners.process import command_line, listens

_LISTENS = "0A"
"""How Linux writes the state of a socket that takes connections."""

MOST_SHOWN = 60
"""Characters of a command that are told."""


def listener(port: int) -> int | None:
    """The process that takes connections at the port; None where the system does not tell, or of another user."""
    sockets = _sockets(port)
    for folder in Path("/proc").glob("[0-9]*/fd") if sockets else ():
        try:
            if any(_target(file) in sockets for file in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:  # it is another user's, or has ended
            continue
    return None


def check_free(port: int, option: str) -> None:
    """Raise where somebody takes connections at the port that a service is to have.

    Args:
        port: of the service.
        option: that names another one.

    Raises:
        RunnerError: says who has it.
    """
    if listens(port):
        raise RunnerError(
            f"port {port} is taken ({describe_listener(port)}): end that, or choose another with {option}"
        )


def describe_listener(port: int) -> str:
    """In words: `pid 4711, java -Xmx512m ...`; `a process of another user` where the system does not tell which.

    >>> describe_listener(0)
    'a process of another user'
    """
    pid = listener(port)
    if pid is None:
        return "a process of another user"
    command = " ".join(command_line(pid).split())
    return f"pid {pid}, {command[:MOST_SHOWN]}{'...' if len(command) > MOST_SHOWN else ''}"


def _target(file: Path) -> str:
    try:
        return os.readlink(file)
    except OSError:
        return ""


def _sockets(port: int) -> set[str]:
    """The sockets that listen there, as a process's open files name them."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if re.fullmatch(rf"[0-9A-F]+:{port:04X}", fields[1]) and fields[3] == _LISTENS:
                found.add(f"socket:[{fields[9]}]")
    return found
