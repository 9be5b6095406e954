"""Score files with an ONNX model: `python -m pipelines.score --help`."""

from __future__ import annotations

import gc
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.score import parse
from beamsplit.pipelines.running.interrupt import exit_now, is_own_process, own_process, what_is_left
from beamsplit.pipelines.typed import as_typed
from beamsplit.pipelines.utf8 import speak_utf8
from beamsplit.runners.direct import is_direct
from beamsplit.runners.without_pandas import leave_pandas_out

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.pvalue import PCollection

    from beamsplit.pipelines.job.job import Job
    from beamsplit.pipelines.report.summary import Summary
    from beamsplit.transforms.step import Step

OK, FAILED, WRONG_USE, ROWS_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""


def build(pipeline: beam.Pipeline, job: Job, first_errors: str | None) -> list[tuple[str, str]]:
    """Wire the job into a pipeline; gives the (path, job id) of each output, whose temporary files can be removed.

        splits -> [partition] -> read -> [random] -> prepare -> infer -> finish -> write
                                   |                    |         |        |
                                   +--------------------+----+----+--------+--> errors

    Args:
        pipeline: an empty pipeline.
        job: what `plan_job` made.
        first_errors: where to leave the first few errors if the job has no errors file.
    """
    import apache_beam as beam

    from beamsplit.pipelines.job.outputs import write_outputs
    from beamsplit.pipelines.running.wiring import run_steps

    gaps: list[PCollection] = []
    steps: list[tuple[str, Step]] = [("prepare", step) for step in job.prepare]
    steps += [("infer", job.infer)]
    steps += [("finish", step) for step in job.finish]
    if job.messages is not None:
        blocks, gaps = _read_ranges(pipeline, job)
        failed: list[PCollection] = []
        steps = [("read", job.messages.parse), *steps]
    else:
        blocks, unread = _read_files(pipeline, job)
        failed = [unread]
    blocks, unscored = run_steps(blocks, steps, job.divided, job.infer.job_dir)
    errors = (*failed, *unscored) | "Errors" >> beam.Flatten()
    return write_outputs(blocks, errors, job, first_errors, gaps)


def _read_ranges(pipeline: beam.Pipeline, job: Job) -> tuple[PCollection, list[PCollection]]:
    """(blocks of messages, what tells of messages that are gone)."""
    import apache_beam as beam
    import pyarrow as pa

    from beamsplit.transforms.kafka.gap_errors import GAPS, TakeGaps
    from beamsplit.transforms.kafka.gaps import no_messages, with_gaps
    from beamsplit.transforms.kafka.ranges import ReadRanges

    messages, job_dir = job.messages, job.infer.job_dir
    assert messages is not None
    read = ReadRanges(messages.config, messages.topic, messages.ranges, job.workers, messages.on_gap)
    blocks, gaps = pipeline | "Read" >> read | "Gaps" >> TakeGaps(job_dir)
    if not messages.gaps:
        return blocks, [gaps]
    told = beam.Create([with_gaps(no_messages(), messages.gaps)]).with_output_types(pa.RecordBatch)
    before = pipeline | "Gone" >> told | "Gone before" >> TakeGaps(job_dir)
    return blocks, [gaps, before[GAPS]]


def _read_files(pipeline: beam.Pipeline, job: Job) -> tuple[PCollection, PCollection]:
    """(blocks, rows that could not be read)."""
    from beamsplit.transforms.apply import AsRowErrors
    from beamsplit.transforms.infer.capacity import MeasureCapacities
    from beamsplit.transforms.partition import PartitionRows, PartitionSplits
    from beamsplit.transforms.read import MakeSplits, ReadSplits

    assert job.read is not None
    splits = pipeline | "Splits" >> MakeSplits(job.files, job.format, job.workers, is_direct(job.runner.name))
    if job.partition in ("contiguous", "proportional"):
        measured = None
        if job.capacities == "measured" and job.sample is not None:
            measured = pipeline | "Measure" >> MeasureCapacities(job.infer, job.sample, job.workers)
        capacities = list(job.capacities) if isinstance(job.capacities, tuple) else None
        splits = splits | "Partition" >> PartitionSplits(job.partition, job.workers, capacities, measured)
    blocks, unread = splits | "Read" >> ReadSplits(job.read)
    if job.partition == "random":
        blocks = blocks | "Partition" >> PartitionRows(job.workers, job.seed)
    return blocks, unread | "Unread" >> AsRowErrors("read", job.infer.job_dir)


def run(argv: Sequence[str], started: float | None = None) -> tuple[int, Summary | None]:
    """Run the command; (exit code, summary of a job that ran).

    Raises:
        UsageError: nothing was started, for the reason in the message.
        Exception: the job failed; nothing is left of what it wrote.
    """
    started = time.perf_counter() if started is None else started
    options, rest = parse(argv)
    _quiet_logs(options.watching.debug)
    if is_own_process():
        leave_pandas_out()
    # Importing makes millions of objects that stay: looking for garbage among them costs a tenth of the start-up.
    gc.disable()
    try:
        from beamsplit.pipelines.running.launch import launch

        return launch(options, rest, build, started)
    finally:
        gc.enable()


def _quiet_logs(debug: bool) -> None:
    """Keep Beam's log for --debug: what matters of it reaches the user as one clear line."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR)
    if not debug:
        for name in ("apache_beam", "grpc"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def main(argv: Sequence[str] | None = None) -> int:
    """The command: prints one clear line for whatever went wrong, and gives the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    started = time.perf_counter()
    try:
        return run(argv, started)[0]
    except UsageError as error:
        _show(f"error: {error}", "--debug" in argv)
        return WRONG_USE
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {_left(argv)}", file=sys.stderr)
        return getattr(interrupt, "code", INTERRUPTED)
    except Exception as error:  # libraries and the user's own steps may raise anything
        from beamsplit.pipelines.report.summary import root_cause

        done = _left(argv)
        _show(f"error: the job failed, {done}: {root_cause(error)} (--debug shows all)", "--debug" in argv)
        return FAILED


def _left(argv: Sequence[str]) -> str:
    return what_is_left(parse(argv)[0])


def _show(line: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(as_typed(line), file=sys.stderr)


if __name__ == "__main__":
    speak_utf8()
    own_process()
    exit_now(main())
