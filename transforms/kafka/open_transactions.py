"""Transactions that a process has open: bundles of a partition, which a runner deals out in turn, go on with them."""

from __future__ import annotations

import threading
from typing import Any

from beamsplit.transforms.kafka.clients import ANSWER_MS, make_consumer
from beamsplit.transforms.kafka.config import Topic
from beamsplit.transforms.kafka.errors_file import ErrorsFile
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.transactions import Transactions


def asker(group: Group) -> Any:
    """A consumer that is asked how far the group is, and waits for transactions that are being committed."""
    return make_consumer(
        group.config, group_id=group.name, isolation_level="read_committed", socket_timeout_ms=ANSWER_MS
    )


class OpenTransactions:
    """Those of this process: a bundle goes on with what the one before has opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[Group, int, Topic], Transactions] = {}
        self._consumers: dict[Group, Any] = {}

    def take(
        self,
        group: Group,
        partition: int,
        output: Topic,
        begin: int,
        bundle: object,
        errors: Topic | ErrorsFile | None = None,
    ) -> Transactions:
        """A partition's transactions, for a bundle that has its messages from `begin` on.

        Raises:
            RuntimeError: see `Transactions`.
        """
        key = group, partition, output
        with self._lock:
            found = self._open.get(key)
            if group not in self._consumers:
                self._consumers[group] = asker(group)
        if found is not None:
            # A bundle that failed has left its transaction open; a gap means that another process was at work since.
            left = found.bundle is not None and found.bundle is not bundle
            behind = found.bundle is None and found.end is not None and begin > found.end
            if not (left or behind or (found.bundle is None and found.unfinished)):
                return found
            self.drop(found)
        made = Transactions(group, partition, output, self._consumers[group], errors)
        with self._lock:
            self._open[key] = made
        return made

    def drop(self, transactions: Transactions) -> None:
        """Give up what is open, and forget it."""
        with self._lock:
            self._open = {key: each for key, each in self._open.items() if each is not transactions}
        transactions.close()


OPEN = OpenTransactions()
"""The one of this process."""
