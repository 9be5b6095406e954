"""A job that was killed while its files got their names: nothing is left to be scored."""

from __future__ import annotations

import time

from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary, summarise
from beamsplit.pipelines.resume.kept import Kept
from beamsplit.pipelines.running.telling import report, tell_failed
from beamsplit.pipelines.sinks.files import FileSink
from beamsplit.pipelines.sources.find import find_source
from beamsplit.transforms.resume.finish import finished


def finish_names(kept: Kept, options: ScoreOptions, local: bool, started: float) -> tuple[int, Summary | None] | None:
    """Give the names that a run which was killed has not given; (exit code, summary) where that was this very job.

    None where there is more to do.

    Raises:
        UsageError: there is nothing to read.
    """
    if not kept.names_are_due:
        return None
    if not kept.give_names(options, find_source(options, None, local), local):
        return None
    done = finished(kept.folder)
    sink = FileSink(options.sink)
    summary = summarise(
        done.counters,
        seconds=time.perf_counter() - started,
        files=sink.files(),
        errors=options.sink.errors,
        resumed=done.told,
    )
    code = tell_failed(summary, done.failed, options.sink.errors)
    report(options, summary)
    kept.remove()
    return code, summary
