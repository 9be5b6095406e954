"""Which runner is asked for. Imports no Beam."""

from __future__ import annotations

import difflib

from beamsplit.models.errors import UsageError

RUNNERS = (
    *("DirectRunner", "FlinkRunner", "DataflowRunner", "PrismRunner", "BundleBasedDirectRunner", "FnApiRunner"),
    *("InteractiveRunner", "KafkaStreamsRunner", "PortableRunner", "SparkRunner", "SwitchingDirectRunner"),
    *("TestDirectRunner", "TestDataflowRunner"),
)
"""Beam's, which take the word `Runner` as read and do not mind capitals."""


MOST_WORKERS = 1_024
"""On one machine: a thread or a process each."""


def check_workers(name: str, count: int | None) -> None:
    """Raise for more workers than this machine can begin.

    Raises:
        UsageError: there would be.
    """
    if count is not None and count > MOST_WORKERS and name.lower() in ("direct", "directrunner"):
        raise UsageError(
            f"--workers {count:,}: at most {MOST_WORKERS:,} are begun on one machine; leave it out for one a core"
        )


def check_runner(name: str) -> None:
    """Raise for a runner that Beam does not have: a typing mistake must not run somewhere else.

    >>> check_runner("flink"), check_runner("my.module.MyRunner")
    (None, None)

    Raises:
        UsageError: names those that there are.
    """
    known = {one.lower(): one for one in RUNNERS}
    if "." in name or known.keys() & {name.lower(), f"{name.lower()}runner"}:
        return
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    hint = f"did you mean {known[close[0]]}?" if close else f"type one of {', '.join(RUNNERS[:4])}"
    raise UsageError(f"--runner {name}: Beam has no such runner; {hint} (another by its class: my.module.MyRunner)")
