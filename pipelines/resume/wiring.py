"""A job that resumes as a pipeline: units are read, scored and written in one step, the last step gives the names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beamsplit.pipelines.sinks.sink import Sink, Written

if TYPE_CHECKING:
    import apache_beam as beam

    from beamsplit.pipelines.job.job import Job
    from beamsplit.transforms.resume.score_units import Dealing, UnitScoring


def build_resumed(pipeline: beam.Pipeline, job: Job) -> Written:
    """Wire the job into an empty pipeline; gives (path, job id) of its output.

    units that are left -> read, score, write, note -+-> all done? -> shards -> names
    units that are done -----------------------------+
    """
    from beamsplit.pipelines.sinks.files import FileSink, unchanged_check
    from beamsplit.pipelines.sources.files import Files
    from beamsplit.transforms.infer.capacity import MeasureCapacities
    from beamsplit.transforms.resume.finish import Ending
    from beamsplit.transforms.resume.finish_units import FinishUnits
    from beamsplit.transforms.resume.score_units import ScoreUnits

    resumed, source = job.resumed, job.source
    assert resumed is not None and isinstance(source, Files)
    measured = None
    if job.asked.capacities == "measured" and source.sample is not None and source.sample.rows is not None:
        measured = pipeline | "Measure" >> MeasureCapacities(job.infer, source.sample.rows, job.workers)
    scoring = _scoring(job)
    scored = pipeline | "Score" >> ScoreUnits(resumed.pending, scoring, _dealing(job), measured)
    ending = Ending(
        folder=resumed.folder,
        target=scoring.target,
        units=len(resumed.units),
        errors=job.sinks.errors.name,
        limit=job.max_failed,
        check=unchanged_check(job),
        **_names(job.sinks.predictions),
    )
    sink = job.sinks.predictions
    scored | "Finish" >> FinishUnits(
        ending, resumed.records, sink.asked.num_shards if isinstance(sink, FileSink) else None
    )
    return [(scoring.target.output, resumed.folder.job_id)]


def _names(sink: Sink) -> dict[str, Any]:
    """What files are called at last, and what is there of such names: fields of `Ending`."""
    from beamsplit.pipelines.sinks.files import FileSink
    from beamsplit.pipelines.sinks.table import TableSink
    from beamsplit.transforms.write.names import check_output, is_single

    if isinstance(sink, TableSink):
        return {"named": sink.pattern, "single": False, "overwrite": False, "publish": sink.commit}
    assert isinstance(sink, FileSink)
    asked = sink.asked
    return {
        "named": sink.name,
        "single": is_single(sink.name, asked.num_shards),
        "overwrite": asked.overwrite,
        "replaced": check_output(sink.name, (), asked.num_shards, asked.overwrite),
    }


def _scoring(job: Job) -> UnitScoring:
    """How a unit of the job is read, scored and written."""
    from beamsplit.pipelines.resume.kept import kept_in_table
    from beamsplit.pipelines.sinks.provenance import told_schema
    from beamsplit.pipelines.sinks.table import TableSink
    from beamsplit.pipelines.sources.files import Files
    from beamsplit.transforms.apply import CountedStep
    from beamsplit.transforms.resume.score_units import UnitScoring
    from beamsplit.transforms.write.temp_file import Target, written_columns

    assert job.resumed is not None and isinstance(job.source, Files) and job.source.reading is not None
    folder = job.resumed.folder
    steps = [CountedStep(step, stage, job.job_dir, step is job.steps[-1][1]) for stage, step in job.steps]
    sink = job.sinks.predictions
    if isinstance(sink, TableSink):
        target = Target(kept_in_table(sink.folder, sink.extension), sink.file_schema, folder.job_id)
    else:
        target = Target(sink.name, written_columns(told_schema(job)), folder.job_id)
    return UnitScoring(job.source.reading, steps, target, folder, job.job_dir, job.workers == 1)


def _dealing(job: Job) -> Dealing:
    """How its units are dealt to workers."""
    from beamsplit.runners.direct import is_direct
    from beamsplit.transforms.resume.score_units import Dealing

    asked = job.asked
    strategy = asked.partition if asked.partition in ("contiguous", "proportional") else None
    capacities = list(asked.capacities) if isinstance(asked.capacities, tuple) else None
    return Dealing(job.workers, is_direct(job.runner.name), strategy, capacities)
