"""The command line of `score`: options, grouped, with an example of each common job. Imports no Beam."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.division import add_division
from beamsplit.pipelines.options.keywords import to_argv
from beamsplit.pipelines.options.metrics import add_metrics
from beamsplit.pipelines.options.modes import note_of
from beamsplit.pipelines.options.name_lists import split_names
from beamsplit.pipelines.options.parallelism import checked_parallelism
from beamsplit.pipelines.options.registry import add_registry
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.pipelines.options.shared import (
    MODEL_HELP,
    Parser,
    add_binding,
    add_csv_header,
    add_prepare,
    check_no_passwords,
    check_not_empty,
    groups_of,
    read_binding,
    read_encoding,
)
from beamsplit.pipelines.options.sql import add_sql
from beamsplit.pipelines.options.stream import add_stream
from beamsplit.pipelines.options.texts import (
    positive,
    read_audit,
    read_batch_size,
    read_capacities,
    read_count_of_seconds,
    read_max_failed,
    read_milliseconds,
    read_seconds,
    read_workers,
    threads_count,
)
from beamsplit.pipelines.options.values import SCORE_GROUPS, ScoreOptions
from beamsplit.pipelines.typed import typed
from beamsplit.transforms.formats import FILE_FORMATS

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
    job = p.add_argument_group("the job")
    job.add_argument("--model", required=True, metavar="M.onnx", help=MODEL_HELP)
    job.add_argument(
        "--input",
        required=True,
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="files, globs or folders; gs:// and s3:// too; or a table, delta:PATH or lance:PATH, also @VERSION, "
        "iceberg://CATALOG/db.table, postgresql://HOST/DB#schema.table, sqlite:PATH#table, or a query, sql:FILE.sql; "
        "or a topic, kafka://host:port/topic",
    )
    job.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="where predictions go: exactly this file, .parquet, .csv, .jsonl, .avro or .orc; or many files, "
        "'out/preds-*.parquet', where * is their number, or those of a folder, out/; or a table, delta:PATH, "
        "lance:PATH, iceberg://CATALOG/db.table, postgresql://HOST/DB#schema.table or sqlite:PATH#table",
    )
    job.add_argument("--overwrite", action="store_true", help="replace outputs and errors of an earlier run")
    job.add_argument("--append", action="store_true", help="add the rows to a table that is there, or make it")
    job.add_argument(
        "--merge_on",
        default="",
        metavar="COL[,COL]",
        help="rows take the place of those of a table that have the same in these columns; others are added",
    )
    job.add_argument(
        "--overwrite_where",
        metavar="CONDITION",
        help="the rows take the place of those of a table that a condition is true for, as --where has it; rows that "
        "it is not true for fail",
    )
    job.add_argument(
        "--commit_id",
        metavar="ID",
        help="what a table knows the job's rows by: those of an ID that it has are not written again "
        "(default: one of each run's own)",
    )
    job.add_argument(
        "--lance_index",
        default="",
        metavar="COL[:KIND[:METRIC]],...",
        help="make indexes of a Lance dataset that is written: IVF_FLAT, IVF_PQ or IVF_HNSW_SQ of vectors, by l2, "
        "cosine or dot; BTREE or BITMAP of single values",
    )
    job.add_argument(
        "--resume",
        action="store_true",
        help="keep what is finished beside the output: the same command, killed and started again, goes on there",
    )
    job.add_argument(
        "--errors",
        metavar="FILE.jsonl",
        help="where rows that could not be scored go (dead letters), with the reason: .jsonl, or as --output",
    )
    job.add_argument(
        "--max_failed",
        type=read_max_failed,
        metavar="5%|N",
        help="give the job up, with exit code 1, if more rows fail (default: any may); of a stream the share is that "
        "of its messages so far, from the 100th on",
    )
    job.add_argument(
        "--num_shards",
        type=positive,
        metavar="N",
        help="files to write (default: 1, or as many as come where --output has a * or is a folder); --shards divides "
        "the model",
    )
    job.add_argument(
        "--json_nan",
        choices=("error", "null", "string"),
        help="NaN and infinity in JSON Lines and JSON messages, which have no such numbers: error fails the row "
        '(default), null writes null and counts, string writes "NaN", "Infinity" and "-Infinity"',
    )
    job.add_argument(
        "--encoding", metavar="latin-1", help="of CSV and JSON Lines that are not UTF-8: any encoding that Python knows"
    )
    job.add_argument(
        "--input_format",
        choices=FILE_FORMATS,
        help="default: by extension; files: each file is one row (columns path, bytes)",
    )
    add_csv_header(job)
    job.add_argument(
        "--limit", type=positive, metavar="N", help="read the first N rows of the input only, in its order"
    )
    job.add_argument(
        "--where",
        metavar="CONDITION",
        help="score only rows for which this is true, in SQL's words: \"date >= '2026-11-01' and country in ('de', "
        "'fr')\"; others are counted. What cannot hold such rows (row groups of Parquet) is not read",
    )

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

    workers = p.add_argument_group("workers")
    workers.add_argument(
        "--runner",
        default="DirectRunner",
        metavar="NAME",
        help="DirectRunner (default: this machine, in threads or processes; streams on Prism), PrismRunner, "
        "FlinkRunner (this machine, or --flink_master), DataflowRunner (files); others of Beam's get the job, untested",
    )
    workers.add_argument(
        "--job_name",
        metavar="NAME",
        help="of the job on its runner's page (default: beamsplit-GROUP of a stream, beamsplit-OUTPUT of files)",
    )
    workers.add_argument(
        "--workers",
        type=read_workers,
        metavar="N",
        help="replicas of the model, data parallelism (default: one a core or GPU); with --strategy also a "
        "cluster.json, as for plan",
    )
    workers.add_argument(
        "--worker_type", choices=("thread", "process"), help="default: whichever measures faster for the model"
    )
    workers.add_argument(
        "--batch_size", type=read_batch_size, default="auto", metavar="N|auto", help="rows in a run of the model"
    )
    workers.add_argument(
        "--partition", choices=("random", "contiguous", "proportional"), help="how rows are dealt to workers"
    )
    workers.add_argument(
        "--capacities", type=read_capacities, metavar="1,1,2|measured", help="speeds of the workers, for proportional"
    )
    workers.add_argument(
        "--audit",
        type=read_audit,
        nargs="?",
        const=(100, False),
        metavar="N|warn|N:warn",
        help="score about N random rows of the job (of a stream: of 100,000 messages) again, each alone, and fail the "
        "job if one comes out otherwise, or with warn only tell it (default: none; N: 100)",
    )
    workers.add_argument(
        "--run_timeout",
        type=read_seconds,
        metavar="60s",
        help="stop a run of the model that takes longer; its rows are then run one by one, and those that do not "
        "return fail (default: none)",
    )
    workers.add_argument(
        "--plan_seconds",
        type=read_count_of_seconds,
        metavar="60",
        help="seconds that runs of the model may take before the job begins, to probe rows, to measure batches and to "
        "plan parts (default: 2, or a tenth of the job's own time)",
    )
    workers.add_argument("--seed", type=int, default=0, help="for --partition random (default: %(default)s)")
    workers.add_argument(
        "--providers", default="auto", metavar="auto|cpu,cuda,...", help="ONNX Runtime execution providers, in order"
    )
    workers.add_argument(
        "--threads",
        type=threads_count,
        metavar="N",
        help="threads a session (default: workers x threads fill the cores)",
    )

    flink = p.add_argument_group("Flink (--runner FlinkRunner)")
    flink.add_argument("--flink_master", metavar="HOST:8081", help="a session cluster (default: Flink on this machine)")
    flink.add_argument(
        "--parallelism", type=positive, metavar="N", help="tasks of a step side by side (default: slots, or cores)"
    )
    flink.add_argument(
        "--checkpoint",
        type=read_milliseconds,
        default=10_000,
        metavar="10s|off",
        help="between checkpoints of a streaming job (default: 10s)",
    )
    flink.add_argument(
        "--flink_job_server_jar", metavar="JAR", help="default: Beam's, or put together by Maven; fetched once"
    )

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
    parallelism = checked_parallelism(
        options.parallelism, binding.model, of_topic, options.stream.model_updates is not None
    )
    if parallelism.distributed and workers.capacities == "measured":
        raise UsageError(
            "--capacities measured runs the whole model on each worker, which --placement distributed does not; "
            "give numbers such as --capacities 1,2"
        )
    return replace(options, workers=workers, parallelism=parallelism)
