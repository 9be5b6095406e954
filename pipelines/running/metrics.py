"""What a running job tells: its rows while it runs, its counters at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from beamsplit.pipelines.report.summary import Progress
from beamsplit.transforms.infer.step import NAMESPACE
from beamsplit.transforms.worker import read_counts, read_steps


@contextlib.contextmanager
def watch_rows(
    job_dir: str | None,
    total: int | None = None,
    backlog: Callable[[str], int | None] | None = None,
    steps: int = 1,
    before: tuple[int, int] = (0, 0),
) -> Iterator[None]:
    """Show progress while the block inside runs.

    Args:
        job_dir: where the workers leave their counts; None shows nothing.
        total: rows in the input, where that is known.
        backlog: what is still to be read, by the same folder.
        steps: of the model that have workers of their own, if there are several.
        before: rows that earlier runs of the job have read, and how many of them failed.
    """
    if job_dir is None:
        yield
        return

    def counts() -> tuple[int, int]:
        each = read_counts(job_dir)
        done, failed = sum(done for done, _ in each), sum(failed for _, failed in each)
        return done + before[0] - before[1], failed + before[1]

    def behind() -> int | None:
        return backlog(job_dir) if backlog is not None else None

    with Progress(counts, total, backlog=behind, steps=lambda: read_steps(job_dir)[:steps]):
        yield


def read_metrics(result: Any) -> tuple[dict[str, int], dict[str, Any]]:
    """(our counters by name, Beam's inference metrics by name)."""
    queried = result.metrics().query()
    counters: dict[str, int] = {}
    inference: dict[str, Any] = {}
    for counter in queried["counters"]:
        name, value = counter.key.metric.name, counter.result or 0  # Beam gives None for a committed 0
        into = counters if counter.key.metric.namespace == "beamsplit" else None
        if counter.key.metric.namespace == NAMESPACE:
            into = inference
        if into is not None:
            # Beam gives None for a 0 that is committed and no longer attempted.
            into[name] = into.get(name, 0) + (value or 0)
    for distribution in queried["distributions"]:
        if distribution.key.metric.namespace == NAMESPACE:
            value = distribution.result
            inference[distribution.key.metric.name] = {
                "count": value.count,
                "sum": value.sum,
                "min": value.min,
                "max": value.max,
            }
    return counters, inference
