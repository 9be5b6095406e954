"""Plans a job, runs it on a runner, and commits what it read where that is due."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from beamsplit.models.errors import UsageError
from beamsplit.models.running.run_limit import ending_with
from beamsplit.pipelines.execution.stream_split import check_checkpoints
from beamsplit.pipelines.job.metrics import metrics_over
from beamsplit.pipelines.job.plan import plan_job
from beamsplit.pipelines.options.beam import check_beam_options
from beamsplit.pipelines.options.modes import Mode, check_mode
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.report.summary import Summary, root_cause, say
from beamsplit.pipelines.resume.finish_names import finish_names
from beamsplit.pipelines.resume.kept import keeping
from beamsplit.pipelines.running.bounded import reading_ahead, run_bounded
from beamsplit.pipelines.running.interrupt import interruptible, is_own_process
from beamsplit.pipelines.running.job_folder import job_folder
from beamsplit.pipelines.running.lineage import telling_lineage
from beamsplit.pipelines.running.runner import SettledRunner, dry_run, more_options, settle_runner
from beamsplit.pipelines.running.wiring import build
from beamsplit.pipelines.sources.group import OffsetsNotCommittedError, holding_group
from beamsplit.runners.beam_patches.lean_import import import_beam
from beamsplit.runners.direct import is_direct
from beamsplit.transforms.sql.held import held_open

OK, FAILED = 0, 1


def launch(options: ScoreOptions, beam_args: Sequence[str], started: float) -> tuple[int, Summary | None]:
    """Plan and run a job; (exit code, summary).

    Args:
        options: of the job.
        beam_args: options for Beam.
        started: `time.perf_counter()` when the command began: start-up counts.

    Raises:
        UsageError: the job cannot work; nothing was started.
        Exception: the job failed; nothing is left of what it wrote. What a stream's group has committed is done, the
            rest will be read again.
    """
    settled = _settled(options, beam_args)
    options, watching = settled.options, settled.options.watching
    with (
        interruptible() as signals,
        ending_with(signals.end),
        job_folder() as folder,
        held_open(),
        keeping(options) as kept,
        ExitStack() as behind,
    ):
        job_dir = folder if settled.local else None
        if kept is not None and (done := finish_names(kept, options, settled.local, started)) is not None:
            return done
        plan = partial(plan_job, options, job_dir, settled.local, kept)
        job = plan()
        summary: Summary | None
        for note in job.notes:
            if not watching.quiet and not watching.dry_run_plan:
                print(f"note: {note}", file=sys.stderr)
        if watching.dry_run_plan:
            say(job.lines())
            return OK, None
        if job.resumed is not None and job.resumed.warning is not None and not watching.dry_run_plan:
            print(f"warning: {job.resumed.warning}", file=sys.stderr)
        for gap in job.source.gaps:
            print(f"warning: {gap.line}", file=sys.stderr)
        if watching.dry_run is not None:
            say(dry_run(watching.dry_run, settled.beam_args, build, job))
            return OK, None
        behind.enter_context(metrics_over(job.metrics))
        if not job.source.bounded:
            from beamsplit.pipelines.running.stream import run_stream

            with telling_lineage(options, job, signals) as lineage:
                code, summary = run_stream(settled, job, started, signals)
                lineage(code, summary)
            return code, summary
        summary = None
        try:
            with (
                holding_group(job, plan) as held,
                telling_lineage(options, held, signals) as lineage,
                reading_ahead(held, settled.local) as ready,
            ):
                code, summary = run_bounded(settled, ready, job_dir, started, signals)
                lineage(code, summary)
                if kept is not None:
                    kept.remove()
        except OffsetsNotCommittedError as error:
            told = f"the files are written, but the offsets of --group {options.stream.group} could not be committed"
            print(f"error: {told}, so they would be read again: {root_cause(error)}", file=sys.stderr)
            return FAILED, summary
    return code, summary


def _settled(options: ScoreOptions, beam_args: Sequence[str]) -> SettledRunner:
    """The options as the runner has them.

    Raises:
        UsageError: some do not go together, or with the runner.
    """
    stream = check_mode(options) is Mode.STREAM
    if stream:
        check_checkpoints(options.parallelism, beam_args)
        if is_direct(options.runner.name):
            options = replace(options, runner=replace(options.runner, name="PrismRunner"))
        beam_args = [*beam_args, *(["--streaming"] if "--streaming" not in beam_args else [])]
    settled = settle_runner(options, beam_args)
    if settled.local and settled.beam_args and not stream:
        import_beam(whole=not is_own_process())
    check_beam_options(settled.beam_args, more_options(settled.options.runner.name))
    limit = options.sink.max_failed
    if stream and limit is not None and not settled.local:
        raise UsageError(
            f"--max_failed {limit.text} of a stream counts on workers of this machine, and --runner "
            f"{options.runner.name} has them elsewhere; leave it out"
        )
    return settled
