"""The ways to run a model: the first one that is wanted plans it.

A way is a module of this folder. Every job looks through all of them, so each imports what takes long when it plans.
"""

from __future__ import annotations

from typing import Protocol

from beamsplit.pipelines.execution import sharded_stages, shards, stages, whole
from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.division import Parallelism


class WayToRun(Protocol):
    """A way to run a model."""

    def wanted(self, asked: Parallelism) -> bool:
        """Whether the model is to be run so."""

    def default_workers(self, asked: Parallelism) -> int | None:
        """Workers where the user left it open; None leaves it to the machine."""

    def plan(self, request: Request) -> Execution:
        """Plan it, and compare it with the whole model.

        Raises:
            UsageError: the model cannot be run so, or its parts differ from it.
        """


WAYS: tuple[WayToRun, ...] = (sharded_stages, stages, shards, whole)
"""Those that ask for more come first; the last one can always be taken."""


def way_of(asked: Parallelism) -> WayToRun:
    """The way that is asked for.

    >>> way_of(Parallelism(stages=2)).__name__.rpartition(".")[2]
    'stages'
    """
    return next(way for way in WAYS if way.wanted(asked))


def default_workers(asked: Parallelism, count: int | None) -> int | None:
    """The workers that were asked for, or how many suit the way the model is run; None leaves it to the machine."""
    return way_of(asked).default_workers(asked) if count is None else count


def plan_execution(request: Request) -> Execution:
    """Plan what `--stages`, `--plan` and `--shards` ask for, and compare it with the whole model.

    Raises:
        UsageError: the model cannot be divided so, or its parts differ from it.
    """
    return way_of(request.parallelism).plan(request)
