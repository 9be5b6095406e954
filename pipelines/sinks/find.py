"""Which sinks `--output` and `--errors` name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.modes import mode_of
from beamsplit.pipelines.options.schemes import Mode, is_table, is_topic, scheme_of
from beamsplit.pipelines.sinks.files import ErrorFile, FileSink, NoErrors
from beamsplit.pipelines.sinks.sink import ErrorSink, Sink, Sinks, TopicSinks
from beamsplit.transforms.failures.formats import errors_format
from beamsplit.transforms.write import check_distinct, check_output, check_replaceable
from beamsplit.transforms.write.names import FRAGMENTS, check_there

if TYPE_CHECKING:
    from beamsplit.pipelines.options.values import ScoreOptions
    from beamsplit.pipelines.sources.source import Source


def find_sinks(options: ScoreOptions, source: Source, local: bool) -> Sinks:
    """The sinks that the options name.

    Args:
        options: of the job.
        source: what it reads, which nothing may overwrite.
        local: whether the workers run on this machine.

    Raises:
        UsageError: they cannot be written to, or two of them are one.
    """
    asked, stream = options.sink, mode_of(options) is Mode.STREAM
    notes: tuple[str, ...] = ()
    if not stream:
        notes = _check_files(options, [options.binding.model, *source.files])
    tables = scheme_of(asked.output).tables
    predictions: Sink = FileSink(asked) if tables is None else import_module(tables).find_table(options, local)
    errors: ErrorSink = ErrorFile(asked.errors) if asked.errors else NoErrors()
    if is_topic(asked.output) or (asked.errors and is_topic(asked.errors)):
        name = asked.output if is_topic(asked.output) else str(asked.errors)
        topics: TopicSinks = import_module(str(scheme_of(name).sinks)).find_topics(options, local)
        predictions, errors = topics.predictions or predictions, topics.errors or errors
    if stream and isinstance(errors, ErrorFile):
        if "://" in errors.name:
            raise UsageError(f"--errors {errors.name}: a stream's errors go to a topic or a local file; type one")
        errors_format(errors.name, growing=True)
    return Sinks(predictions, errors, (*notes, *predictions.notes))


def _check_files(options: ScoreOptions, read: list[str]) -> tuple[str, ...]:
    """Raise for an output, errors or summary file that cannot be written, is there, or is one of those read.

    Returns:
        Notes: of a plan that is only shown, an output may well be there.
    """
    sink, dry = options.sink, options.watching.dry_run_plan
    output, errors = sink.output, sink.errors
    there: tuple[str, ...] = ()
    if output.endswith(FRAGMENTS):
        whole = f"lance:{output.removesuffix(FRAGMENTS)}.lance"
        raise UsageError(f"--output {output}: a Lance dataset is a folder; type e.g. --output {whole}")
    if not is_topic(output) and not is_table(output):
        there = check_output(output, read, sink.num_shards, sink.overwrite or dry)
    if errors and not is_topic(errors):
        check_distinct("--errors", errors, output, read)
        check_replaceable(errors, "--errors")
        there += check_there(errors, True, sink.overwrite or dry, "--errors")
        errors_format(errors)
    taken = [*read, *filter(None, [errors])]
    for option, path in (("--summary", options.watching.summary), ("--replan", options.parallelism.replan)):
        if path:
            check_distinct(option, path, output, taken)
            taken.append(path)
    return () if sink.overwrite or not there else (f"{there[0]} is there already: to run this, add --overwrite",)
