"""How many shards: those with the most rows a second among what fits a worker's memory, and why, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from beamsplit.models.cost.cluster import format_bytes, option_bytes
from beamsplit.models.errors import UsageError

EVEN = 1.03
"""Rows a second within this ratio are the same: the fewer shards are taken."""

MOST_SHARDS = 64
"""Tried where a worker's memory asks for ever more."""


@dataclass(frozen=True)
class Tried:
    """One number of shards."""

    shards: int
    """1 is the whole model."""

    rows_per_second: float
    """Measured on this machine, all shards in one process."""

    worker_bytes: int
    """Bytes of weights that the fullest worker holds."""


def choose(tried: Sequence[Tried], memory: float | None = None) -> tuple[int, str]:
    """(number of shards, one line that says why).

    >>> choose([Tried(1, 900.0, 80), Tried(2, 1000.0, 40)])
    (2, '2 shards, 1,000 rows/s measured here; the whole model 900 rows/s')

    Args:
        tried: the whole model first, then ever more shards.
        memory: most bytes of weights in a worker; None does not matter.

    Raises:
        UsageError: none fits the memory.
    """
    fitting = [one for one in tried if memory is None or one.worker_bytes <= memory]
    if not fitting:
        least = min(tried, key=lambda one: one.worker_bytes)
        raise UsageError(
            f"--stage_memory is {format_bytes(memory or 0)}, but of {_name(least.shards)} a worker holds "
            f"{format_bytes(least.worker_bytes)} of weights: give --stage_memory {option_bytes(least.worker_bytes)} or "
            "more"
        )
    best = max(one.rows_per_second for one in fitting)
    chosen = next(one for one in fitting if one.rows_per_second * EVEN >= best)
    others = "; ".join(f"{_name(one.shards)} {_rate(one.rows_per_second)}" for one in tried if one is not chosen)
    line = f"{_name(chosen.shards)}, {_rate(chosen.rows_per_second)} measured here"
    if memory is not None and len(fitting) < len(tried):
        line += f" and at most {format_bytes(memory)} of weights a worker"
    return chosen.shards, f"{line}; {others}" if others else line


def _name(shards: int) -> str:
    return "the whole model" if shards == 1 else f"{shards} shards"


def _rate(rows_per_second: float) -> str:
    return f"{rows_per_second:,.0f} rows/s" if rows_per_second >= 100 else f"{rows_per_second:.3g} rows/s"
