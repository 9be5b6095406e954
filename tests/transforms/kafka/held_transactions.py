"""Transactions of one partition, without a broker."""

from __future__ import annotations

import threading
from typing import Any

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka.outgoing import Messages

WAIT_SECONDS = 30.0


class Partition:
    """Transactions of one partition, without a broker: tells what was done; a commit lasts until it is let through."""

    def __init__(self) -> None:
        self.end: int | None = None
        self.bundle: object = None
        self.let, self.began = threading.Event(), threading.Event()
        self.told: list[Any] = []
        self.fails = False
        self.failed: list[RowError] = []

    def admit(self, begin: int, end: int) -> int:
        first = begin if self.end is None else self.end
        assert begin <= first
        self.end = max(first, end)
        return first

    def open(self, bundle: object) -> None:
        if self.bundle is None:
            self.told.append("open")
        self.bundle = bundle

    def refused(self, _: Messages) -> dict[int, str]:
        return {}

    def send(self, messages: Messages) -> None:
        assert self.bundle is not None and not (self.began.is_set() and not self.let.is_set()), "sent during a commit"
        self.told += messages.values

    def take_failed(self) -> list[RowError]:
        failed, self.failed = self.failed, []
        return failed

    def commit(self, end: int) -> None:
        self.began.set()
        assert self.let.wait(WAIT_SECONDS)
        if self.fails:
            raise RuntimeError("taken over")
        self.bundle = None
        self.told.append(("commit", end))


class Open:
    """Stands for the transactions of the process."""

    def __init__(self) -> None:
        self.partition = Partition()
        self.dropped = 0

    def take(self, *_: object) -> Partition:
        return self.partition

    def drop(self, _: Partition) -> None:
        self.dropped += 1
