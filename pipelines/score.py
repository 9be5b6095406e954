"""Score files with an ONNX model: `python -m pipelines.score --help`."""

from __future__ import annotations

import gc
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.errors import UsageError
from pipelines.options import parse
from runners.direct import is_direct
from runners.lean_import import import_beam

if TYPE_CHECKING:
    import apache_beam as beam

    from pipelines.job import Job
    from pipelines.report import Summary

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

    from transforms.apply import FAILED as FAILED_TAG
    from transforms.apply import ApplyStep, AsRowErrors
    from transforms.capacity import MeasureCapacities
    from transforms.errors import FirstErrors, WriteErrors
    from transforms.partition import PartitionRows, PartitionSplits
    from transforms.read import ReadSplits
    from transforms.write import WriteBlocks

    splits = pipeline | "Splits" >> job.splits
    if job.partition in ("contiguous", "proportional"):
        measured = None
        if job.capacities == "measured" and job.sample is not None:
            measured = pipeline | "Measure" >> MeasureCapacities(job.infer, job.sample, job.workers)
        capacities = job.capacities if isinstance(job.capacities, list) else None
        splits = splits | "Partition" >> PartitionSplits(job.partition, job.workers, capacities, measured)
    blocks, unread = splits | "Read" >> ReadSplits(job.read)
    failed = [unread | "Unread" >> AsRowErrors("read", job.infer.job_dir)]
    if job.partition == "random":
        blocks = blocks | "Partition" >> PartitionRows(job.workers, job.seed)
    steps = [("prepare", step) for step in job.prepare]
    steps += [("infer", job.infer)]
    steps += [("finish", step) for step in job.finish]
    for number, (stage, step) in enumerate(steps):
        applied = blocks | f"{number}: {stage}" >> ApplyStep(step, stage, job.infer.job_dir, number == len(steps) - 1)
        blocks = applied.blocks
        failed.append(applied[FAILED_TAG])
    write = WriteBlocks(job.output, job.schemas["finish"], job.num_shards, write_behind=job.workers == 1)
    blocks | "Write" >> write
    errors = tuple(failed) | "Errors" >> beam.Flatten()
    written = [(job.output, write.job_id)]
    if job.errors:
        write_errors = WriteErrors(job.errors)
        errors | "Write errors" >> write_errors
        written.append((job.errors, write_errors.job_id))
    elif first_errors:
        errors | "First errors" >> FirstErrors(5, first_errors)
    return written


def run(argv: Sequence[str], started: float | None = None) -> tuple[int, Summary | None]:
    """Run the command; (exit code, summary of a job that ran).

    Raises:
        UsageError: nothing was started, for the reason in the message.
        Exception: the job failed; nothing is left of what it wrote.
    """
    started = time.perf_counter() if started is None else started
    options, rest = parse(argv)
    _quiet_logs(options.debug)
    # Importing makes millions of objects that stay: looking for garbage among them costs a tenth of the start-up.
    gc.disable()
    if is_direct(options.runner):
        import_beam()
    from pipelines.launch import launch

    gc.freeze()
    gc.enable()
    return launch(options, rest, build, started)


def _quiet_logs(debug: bool) -> None:
    """Keep Beam's log for --debug: what matters of it reaches the user as one clear line."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR)
    if not debug:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)


def main(argv: Sequence[str] | None = None) -> int:
    """The command: prints one clear line for whatever went wrong, and gives the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    started = time.perf_counter()
    try:
        return run(argv, started)[0]
    except UsageError as error:
        _show(f"error: {error}", "--debug" in argv)
        return WRONG_USE
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # libraries and the user's own steps may raise anything
        from pipelines.report import root_cause

        _show(f"error: the job failed, nothing was written: {root_cause(error)} (--debug shows all)", "--debug" in argv)
        return FAILED


def _show(line: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(line, file=sys.stderr)


if __name__ == "__main__":
    code = main()
    # Nothing is left to do, and taking Beam's objects apart one by one takes a while.
    gc.freeze()
    sys.exit(code)
