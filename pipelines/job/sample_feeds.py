"""Sample rows of the data as the model's inputs, to plan a split and to check it beside the whole model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.free_memory import check_room
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.scoring.scorer import Array, ScoringPlan

FEW = 4096
"""Rows that are taken without asking how large they are."""


def sample_feeds(fit: Fit, scoring: ScoringPlan, rows: int) -> dict[str, Array]:
    """So many sample rows that the whole model can be run on; few are repeated.

    Raises:
        UsageError: there are none, or there is no memory for so many.
    """
    if fit.sample is None:
        raise UsageError(
            "there are no sample rows that the model takes, so no split can be planned or checked; "
            "give an --input with rows, or leave --stages and --shards out"
        )
    check_feeds(rows, lambda few: feeds_at(fit, scoring, few))
    if rows == 1 and blocks_of(scoring.model.rewrites) is None:
        # The first one is known to run.
        return feeds_at(fit, scoring, np.arange(rows))
    try:
        feeds = feeds_at(fit, scoring, np.arange(rows))
        fit.session.run(feeds)
    except ModelRunError:
        # A row makes the model fail: take those that are known to run.
        feeds = feeds_at(fit, scoring, np.arange(rows) % SAMPLE_RUN_ROWS)
    return feeds


def graph_feeds(fit: Fit, scoring: ScoringPlan, rows: int) -> dict[str, Array]:
    """The same as the graph itself takes them: of a model whose batch is fixed, a whole block.

    Raises:
        UsageError: there are none.
    """
    feeds, blocks = sample_feeds(fit, scoring, rows), blocks_of(scoring.model.rewrites)
    return feeds if blocks is None else blocks.padded(feeds)


def check_distributable(scoring: ScoringPlan, placement: str | None) -> None:
    """Raise where parts that run elsewhere would get blocks that nobody fills up.

    Raises:
        UsageError: the model's batch is fixed, and its parts have workers of their own.
    """
    blocks = blocks_of(scoring.model.rewrites)
    if blocks is not None and placement == "distributed":
        raise UsageError(
            f"the model's batch is fixed at {blocks.batch}, and --placement distributed does not fill blocks up; type "
            "--placement inline, or export the model with a dynamic batch"
        )


def feeds_at(fit: Fit, scoring: ScoringPlan, rows: Array) -> dict[str, Array]:
    """The sample rows at these positions, counted on from the start where there are fewer."""
    assert fit.sample is not None
    return scoring.binding.open(fit.sample, reuse=False).take(rows % fit.sample.num_rows)


def check_feeds(rows: int, take: Callable[[Array], dict[str, Array]]) -> None:
    """Raise where so many rows do not fit: a plan's number of them may be anything.

    Args:
        rows: in a micro-batch.
        take: gives the rows at these positions of a sample.

    Raises:
        UsageError: there is no memory for them.
    """
    if rows > FEW:
        each = sum(value.nbytes for value in take(np.arange(1)).values())
        check_room(rows * each, f"{rows:,} rows of the model's inputs at once", "give a smaller --micro_batch")
