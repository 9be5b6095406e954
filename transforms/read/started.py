"""Reading of splits that was begun before a worker asks for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from beamsplit.transforms.read.result import ReadOptions, ReadResult
from beamsplit.transforms.split import Split

Read = Callable[[Split, ReadOptions], Iterator[ReadResult]]


class StartedSplits:
    """Reads some splits ahead, one after the other, for the worker that will ask for them in this order.

    What is read waits until `take` asks for the split; from then on nothing is read ahead for this worker any more.

    Args:
        splits: in the order in which the worker reads them.
        options: what they will be asked for.
        read: reads a split.
    """

    def __init__(self, splits: Sequence[Split], options: ReadOptions, read: Read) -> None:
        self.ahead = 0
        """Rows that were read."""
        self._splits, self._options, self._read = splits, options, read
        self._mine = {(split.order, split.row_start): split for split in splits}
        self._begun: list[_Begun] = []
        self._lock = threading.Lock()
        self._taken = False

    def decode_ahead(self) -> int | None:
        """Read one more block; its bytes, None where a split is taken or all are read."""
        with self._lock:
            if self._taken:
                return None
            if not self._begun or self._begun[-1].done:
                if len(self._begun) == len(self._splits):
                    return None
                split = self._splits[len(self._begun)]
                self._begun.append(_Begun(split, self._read(split, self._options)))
            rows, size = self._begun[-1].read_one()
            self.ahead += rows
            return size

    def take(self, split: Split, options: ReadOptions) -> Iterator[ReadResult] | None:
        """What the split gives, if reading it was begun with these options: nobody else gets it."""
        if self._mine.get((split.order, split.row_start)) != split or options != self._options:
            return None
        self._taken = True
        with self._lock:
            for at, begun in enumerate(self._begun):
                if begun.split == split:
                    return self._begun.pop(at).all()
        return None

    def close(self) -> None:
        """Let go of what nobody took."""
        with self._lock:
            self._taken = True
            for begun in self._begun:
                begun.close()
            self._begun.clear()


class _Begun:
    """A split of which the first results were read."""

    def __init__(self, split: Split, results: Iterator[ReadResult]) -> None:
        self.split = split
        self.done = False
        self._results = results
        self._ahead: deque[ReadResult] = deque()
        self._error: BaseException | None = None

    def read_one(self) -> tuple[int, int]:
        """Rows and bytes of one more result."""
        try:
            result = next(self._results, None)
        except BaseException as error:
            # Whoever takes the split is told, behind the rows before.
            self._error, result = error, None
        if result is None:
            self.done = True
            return 0, 0
        self._ahead.append(result)
        return (0, 0) if result.block is None else (result.block.num_rows, result.block.nbytes)

    def all(self) -> Iterator[ReadResult]:
        """What was read, and the rest."""
        try:
            while self._ahead:
                yield self._ahead.popleft()
            if self._error is not None:
                raise self._error
            yield from self._results
        finally:
            self.close()

    def close(self) -> None:
        """End reading."""
        close = getattr(self._results, "close", None)
        if close is not None:
            close()


_started: list[StartedSplits] = []
"""Of this process."""

_lock = threading.Lock()


def start(some: StartedSplits) -> None:
    """Let `taken` find these."""
    with _lock:
        _started.append(some)


def taken(split: Split, options: ReadOptions) -> Iterator[ReadResult] | None:
    """What was read of a split so far, with the rest behind it; None where it was not begun."""
    with _lock:
        some = list(_started)
    return next((found for one in some if (found := one.take(split, options)) is not None), None)


def forget(some: Sequence[StartedSplits]) -> None:
    """Let go of what nobody took of these."""
    with _lock:
        _started[:] = [one for one in _started if one not in some]
    for one in some:
        one.close()
