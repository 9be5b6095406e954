"""The command line of `score`: options, grouped, with an example of each common job. Imports no Beam."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.division import add_division
from beamsplit.pipelines.options.job import add_job
from beamsplit.pipelines.options.keywords import to_argv
from beamsplit.pipelines.options.metrics import add_metrics
from beamsplit.pipelines.options.model_check import check_model_check
from beamsplit.pipelines.options.modes import note_of
from beamsplit.pipelines.options.name_lists import split_names
from beamsplit.pipelines.options.parallelism import checked_parallelism
from beamsplit.pipelines.options.registry import add_registry
from beamsplit.pipelines.options.runners import check_runner, check_workers
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.options.shared import (
    Parser,
    add_binding,
    add_prepare,
    check_no_passwords,
    check_not_empty,
    groups_of,
    read_binding,
    read_encoding,
)
from beamsplit.pipelines.options.sql import add_sql
from beamsplit.pipelines.options.stream import add_stream
from beamsplit.pipelines.options.values import SCORE_GROUPS, ScoreOptions
from beamsplit.pipelines.options.workers import add_workers
from beamsplit.pipelines.typed import typed

EXAMPLES = """\
examples:
  a table, columns by the names of the model's inputs
    %(prog)s --model m.onnx --input 'data/*.parquet' --output out/preds.parquet
  a 2-D input put together from columns, keeping an id
    %(prog)s --model m.onnx --input data.csv --columns x=age,height,weight --keep id --output out/preds.csv
  images
    %(prog)s --model cnn.onnx --input 'photos/*.jpg' --prepare image:size=224 --finish softmax --finish top_k:5 \\
          --keep path --output out/preds.parquet
  text
    %(prog)s --model encoder.onnx --input texts.jsonl --prepare text:tokenizer.json,column=text,max_length=128 \\
          --output out/vectors.parquet
  a stream
    %(prog)s --model m.onnx --input kafka://host:9092/in --output kafka://host:9092/out --errors errors.jsonl
  what would run, without running it
    %(prog)s --model m.onnx --input data.parquet --output out/preds.parquet --dry_run_plan

exit codes: 0 all rows scored (or the rest written to --errors), 1 the job failed, 2 a wrong option, model or
schema, 3 rows failed and no --errors was given, 130 interrupted (143 by SIGTERM, 129 by SIGHUP)
"""


class _Parser(Parser):
    def format_help(self) -> str:
        """The help with the steps that there are, which are looked up only here."""
        return f"{super().format_help()}\n{_steps_help()}"


def _steps_help() -> str:
    from beamsplit.runners.beam_patches.lean_import import import_beam

    import_beam()
    from beamsplit.transforms.finish import list_finish
    from beamsplit.transforms.prepare import list_prepare

    lines = []
    for option, steps in (("--prepare", list_prepare()), ("--finish", list_finish())):
        lines.append(f"steps for {option} SPEC:")
        for step in steps:
            lines += [f"  {step.name:<10} {step.summary}", f"             e.g. {step.example}"]
            options = f"options: {', '.join(step.options)}"
            lines += textwrap.wrap(options, 110, initial_indent=" " * 13, subsequent_indent=" " * 22)
        own = "your own: takes and returns a pyarrow.RecordBatch of as many rows"
        lines += ["  module:function", f"{'':<13}{own}", ""]
    return "\n".join(lines[:-1]) + "\n"


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of `score`; whatever it does not know goes to Beam."""
    p = _Parser(
        prog=prog or typed("score"),
        usage="%(prog)s --model M.onnx --input PATTERN --output FILE [options]",
        description="Score files with an ONNX model: read, prepare, run the model, finish, write.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_job(p)

    data = p.add_argument_group("columns and inputs")
    add_binding(data)
    data.add_argument(
        "--keep",
        default="",
        metavar="COL[,COL]",
        help="columns to copy to the output, or '*' for all; names with a comma in double quotes",
    )
    data.add_argument(
        "--model_version",
        nargs="?",
        const="column",
        choices=("column", "header"),
        help="tell the model's version (a hash of its files) with each prediction: in the column model_version, or in "
        "the header model.version of messages",
    )

    stages = p.add_argument_group("data stage and output stage")
    add_prepare(stages)
    stages.add_argument(
        "--finish", action="append", default=[], metavar="SPEC", help="step after the model; repeat to chain"
    )

    add_workers(p)
    add_division(p)
    add_stream(p)
    add_registry(p)
    add_sql(p)
    watch = p.add_argument_group("watching")
    watch.add_argument("--dry_run_plan", action="store_true", help="check everything, print the plan, run nothing")
    watch.add_argument(
        "--dry_run",
        nargs="?",
        const="dataflow-job",
        metavar="FOLDER",
        help="write the job that DataflowRunner would submit, needs no account (default folder: %(const)s)",
    )
    watch.add_argument("--summary", metavar="FILE.json", help="write the closing summary as JSON")
    add_metrics(watch)
    watch.add_argument(
        "--log_format",
        choices=("text", "json"),
        default="text",
        help="json: what the command says, an object a line with time, level, job, event and message, all of it on the "
        "standard error (default: %(default)s)",
    )
    watch.add_argument("--quiet", action="store_true", help="no progress and no summary")
    watch.add_argument("--debug", action="store_true", help="show tracebacks and the log")
    for action in p._actions:
        if note := note_of(action.dest):
            action.help = f"{action.help} [{note}]"
    return p


def parse(argv: Sequence[str], prog: str | None = None) -> tuple[ScoreOptions, list[str]]:
    """(our options, what is left for Beam).

    Raises:
        UsageError: an option is missing or has a wrong value.
    """
    given, beam_args = parser(prog).parse_known_args(argv)
    return _read(given), beam_args


def score_options(**given: Any) -> ScoreOptions:
    """The options that a command line with these would give, by their names without dashes.

    Values are Python's own, or texts as they are typed: `columns={"x": ["a", "b"]}` or `columns="x=a,b"`,
    `keep=["id"]`, `stages=2`, `run_timeout="60s"`. None is as if not given. Where rows come from, and where they go,
    may be left out.

    >>> score_options(model="m.onnx", keep=["id"], workers=2).workers.count
    2

    Raises:
        UsageError: as `parse` does, in the same words; also for a name that is no option.
    """
    p = parser()
    for action in p._actions:
        if action.dest in ("input", "output"):
            action.required = False
    return _read(p.parse_args(to_argv(p, given)))


def _read(given: argparse.Namespace) -> ScoreOptions:
    """The values of what argparse has found.

    Raises:
        UsageError: options do not go together.
    """
    check_no_passwords(given)
    read_binding(given)
    given.keep = tuple(name for name in split_names("--keep", given.keep) if name)
    given.lance_index = tuple(name for name in split_names("--lance_index", given.lance_index) if name)
    given.merge_on = tuple(name for name in split_names("--merge_on", given.merge_on) if name)
    check_not_empty(given)
    given.encoding = read_encoding(given.encoding)
    given.input, given.output = tuple(given.input or ()), given.output or ""
    given.prepare, given.finish = tuple(given.prepare), tuple(given.finish)
    given.cluster = given.workers if isinstance(given.workers, str) else None
    given.workers = None if given.cluster is not None else given.workers
    given.shard_source = None
    if given.stage_memory is not None and any((given.strategy, given.shards, given.stages, given.plan)):
        from beamsplit.models.cost.cluster import parse_bytes

        given.stage_memory = parse_bytes(given.stage_memory)
    return _checked(ScoreOptions(**groups_of(given, SCORE_GROUPS)))


def _checked(options: ScoreOptions) -> ScoreOptions:
    """The options with what follows from them.

    Raises:
        UsageError: some do not go together.
    """
    binding, source, workers, runner = options.binding, options.source, options.workers, options.runner
    check_runner(runner.name)
    check_workers(runner.name, workers.count)
    twice = [name for name in binding.keep if binding.keep.count(name) > 1]
    if twice:
        raise UsageError(f"--keep names the column {twice[0]!r} twice; name it once")
    for name in ("flink_master", "parallelism", "flink_job_server_jar"):
        if getattr(runner, name) is not None and "flink" not in runner.name.lower():
            raise UsageError(f"--{name} is for --runner FlinkRunner, and --runner is {runner.name}; change one of them")
    if options.watching.dry_run is not None and "dataflow" not in runner.name.lower():
        raise UsageError(
            f"--dry_run is for --runner DataflowRunner, and --runner is {runner.name}; --dry_run_plan shows the plan"
        )
    if workers.capacities is not None and workers.partition != "proportional":
        raise UsageError("--capacities is for --partition proportional; add that, or leave --capacities out")
    cluster = options.parallelism.cluster
    if cluster is not None and options.parallelism.strategy is None:
        raise UsageError(f"--workers {cluster} describes a cluster to choose for; add --strategy auto, or say N")
    if isinstance(workers.capacities, tuple):
        named, said = len(workers.capacities), workers.count if cluster is None else cluster
        if said not in (None, named):
            raise UsageError(f"--capacities names {named} workers and --workers says {said}; type --workers {named}")
        workers = replace(workers, count=named)
    of_topic = any(map(is_topic, source.input))
    if binding.types and of_topic:
        raise UsageError("--types is for files; what messages hold is declared with --schema; type that instead")
    if source.where is not None:
        from beamsplit.transforms.where.parse import parse_where

        parse_where(source.where)
    if "*" in binding.keep and (of_topic or len(binding.keep) > 1):
        fix = "name the columns of its --schema" if of_topic else "leave the others out"
        raise UsageError(f"--keep '*' means all columns of files{', and --input names a topic' * of_topic}; {fix}")
    check_model_check(options.stream)
    parallelism = checked_parallelism(
        options.parallelism, binding.model, of_topic, options.stream.model_updates is not None
    )
    if parallelism.distributed and workers.capacities == "measured":
        raise UsageError(
            "--capacities measured runs the whole model on each worker, which --placement distributed does not; "
            "give numbers such as --capacities 1,2"
        )
    return replace(options, workers=workers, parallelism=parallelism)
