"""The ways to run a model: the first one that is wanted plans it.

A way is a module of this folder that `options/division.py` names. Every job looks through all of them, so each imports
what takes long when it plans.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from beamsplit.pipelines.execution.execution import Execution
from beamsplit.pipelines.execution.request import Request
from beamsplit.pipelines.options.division import WAYS, Parallelism


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


def way_of(asked: Parallelism) -> WayToRun:
    """The way that is asked for.

    >>> way_of(Parallelism(stages=2)).__name__.rpartition(".")[2]
    'stages'
    """
    ways = (cast(WayToRun, import_module(f"{__package__}.{name}")) for name in WAYS)
    return next(way for way in ways if way.wanted(asked))


def default_workers(asked: Parallelism, count: int | None) -> int | None:
    """The workers that were asked for, or how many suit the way the model is run; None leaves it to the machine."""
    return way_of(asked).default_workers(asked) if count is None else count


def plan_execution(request: Request) -> Execution:
    """Plan what `--stages`, `--plan` and `--shards` ask for, and compare it with the whole model.

    Raises:
        UsageError: the model cannot be divided so, or its parts differ from it.
    """
    return way_of(request.parallelism).plan(request)
