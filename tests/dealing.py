"""The order of tests: each worker begins with its share of those that start services, and ends with short ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

Test = TypeVar("Test")


def deal(
    tests: Sequence[Test],
    workers: int,
    file_of: Callable[[Test], Hashable],
    is_dear: Callable[[Test], bool],
    cores: int | None = None,
) -> list[Test]:
    """The tests in the order in which `--dist worksteal` deals an equal number of neighbours to each worker.

    What waits for a broker takes a hundred times as long as the rest. Dealt in one run it would keep one worker busy
    long after the others; what is short, at the end, is what a worker that is done takes over from another.

    Args:
        tests: as collected.
        workers: that take them.
        file_of: whose tests share fixtures, and so stay with one worker at first.
        is_dear: whether it starts services.
        cores: as many workers begin with services, all if there are no more: half of the time these wait for something,
            and meanwhile the others have what computes.
    """
    files: dict[Hashable, list[Test]] = {}
    for test in filter(is_dear, tests):
        files.setdefault(file_of(test), []).append(test)
    shares: list[list[Test]] = [[] for _ in range(workers)]
    for file in sorted(files.values(), key=len, reverse=True):
        min(shares[:cores], key=len).extend(file)
    short = [test for test in tests if not is_dear(test)]
    order: list[Test] = []
    for done, share in enumerate(shares):
        wanted = (len(tests) - len(order)) // (workers - done) - len(share)
        order += [*share, *short[: max(0, wanted)]]
        del short[: max(0, wanted)]
    return [*order, *short]


def first_cases(tests: Sequence[Test], function_of: Callable[[Test], Hashable]) -> list[Test]:
    """Of the cases of each test function the first."""
    first: dict[Hashable, Test] = {}
    for test in tests:
        first.setdefault(function_of(test), test)
    return list(first.values())
