"""Errors of transactions in a file: each line once, and there if and only if its transaction was committed.

    beside the file       lines, with an id ------------------------ removed
    the broker                              commit, with the id
    the file                                                  lines
                      ---------------------------------------------------------> time

A file has no part in a transaction. So the lines are kept beside it before the commit and go into it after. Whoever
opens the partition's transactions next, after a kill in between, finds in the group's offset (its metadata) the id of
the lines whose commit was: those go in, others are forgotten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from beamsplit.transforms.kafka.errors import append_lines
from beamsplit.transforms.kafka.offsets import Group

try:
    import fcntl
except ImportError:  # Windows: one job a file
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class ErrorsFile:
    """A file of this machine that errors are added to."""

    path: str


class PendingErrors:
    """The error lines of one partition's transactions.

    Args:
        file: where they go.
        group: that reads the partition.
        partition: of the group's topic.
    """

    def __init__(self, file: ErrorsFile, group: Group, partition: int):
        self._path = Path(file.path).absolute()
        whose = hashlib.sha256(f"{group.name}\n{group.topic}".encode()).hexdigest()[:12]
        self._prefix = f".{self._path.name}.{whose}-{partition}."
        self._lines: list[bytes] = []
        self._kept: Path | None = None

    def add(self, line: bytes) -> None:
        """Take a line for the transaction that is open."""
        self._lines.append(line)

    def keep(self) -> str | None:
        """Before the commit: keep its lines beside the file; the id of them, None where there are none.

        Raises:
            OSError: they cannot be kept.
        """
        if not self._lines:
            return None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex
        self._kept = self._path.with_name(self._prefix + name)
        size = self._path.stat().st_size if self._path.exists() else 0
        written = self._path.with_name(f"{self._prefix}{name}.part")
        try:
            with open(written, "wb") as file:
                file.write(b"".join([json.dumps({"size": size}).encode() + b"\n", *self._lines]))
                file.flush()
                os.fsync(file.fileno())
            os.replace(written, self._kept)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        return name

    def publish(self) -> None:
        """After the commit: put the lines into the file, unless the partition's next owner has.

        Raises:
            OSError: they cannot be written; the next owner will.
        """
        if self._kept is not None:
            self._put_in(self._kept)
        self._lines, self._kept = [], None

    def recover(self, committed: Callable[[], str]) -> None:
        """Before the first transaction: put in what the owner before has committed and not written, forget the rest.

        Args:
            committed: the id in the group's offset, once the transactions of the owner before are over.

        Raises:
            OSError: the lines cannot be written.
        """
        kept = [path for path in self._path.parent.glob("*") if path.name.startswith(self._prefix)]
        if not kept:
            return
        done = self._path.with_name(self._prefix + committed())
        for path in kept:
            if path == done:
                self._put_in(path)
            else:
                path.unlink(missing_ok=True)

    def _put_in(self, kept: Path) -> None:
        """Add the lines to the file, those that it does not have yet, and remove what was kept.

        The file's last line may be cut off, where the owner before was killed or the disk was full: it is taken away.
        """
        with _alone(self._path.parent):
            try:
                head, *lines = kept.read_bytes().splitlines(keepends=True)
            except FileNotFoundError:
                return
            there: Counter[bytes] = Counter()
            size = json.loads(head)["size"]
            with contextlib.suppress(FileNotFoundError), open(self._path, "r+b") as file:
                file.seek(size)
                since = file.read()
                whole = since.rfind(b"\n") + 1
                if whole < len(since):
                    file.truncate(size + whole)
                there.update(since[:whole].splitlines(keepends=True))
            if missing := list(_beyond(lines, there)):
                append_lines(str(self._path), missing)
            kept.unlink()


def _beyond(lines: Sequence[bytes], there: Counter[bytes]) -> Iterator[bytes]:
    """The lines that are not there, each as often as it is missing."""
    for line in lines:
        if there[line]:
            there[line] -= 1
        else:
            yield line


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one owner in at once, of all files in a folder."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
