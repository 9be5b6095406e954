"""The command line of `plan`: options, grouped, with an example of each common job."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from beamsplit.models.binding.nulls import NO_NULLS
from beamsplit.models.cost.cluster import parse_bandwidth, parse_bytes, worker_counts
from beamsplit.models.errors import UsageError
from beamsplit.models.strategy.kinds import KINDS
from beamsplit.pipelines.options.keywords import to_argv
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
from beamsplit.pipelines.options.texts import positive, stages_count, threads_count
from beamsplit.pipelines.options.values import PLAN_GROUPS, PlanOptions
from beamsplit.pipelines.typed import typed
from beamsplit.transforms.formats import FILE_FORMATS

EXAMPLES = """\
examples:
  the best split over this machine's cores, and whether it pays
    %(prog)s --model m.onnx --sample data.parquet
  two stages, to run with score --plan plan.json
    %(prog)s --model m.onnx --sample data.parquet --stages 2 --output plan.json --report plan.html
  workers of 2 GB each on a 10 Gbit network, stages saved as models of their own
    %(prog)s --model big.onnx --workers 4 --stage_memory 2GB --bandwidth 10Gbit --save_stages stages/
  the weights of its layers over two shards, to run with score --plan shards/plan.json
    %(prog)s --model m.onnx --sample data.parquet --shards 2 --save_shards shards/
  over as many shards as are fastest here, of workers of 200 MB of weights each
    %(prog)s --model m.onnx --sample data.parquet --shards auto --stage_memory 200MB --save_shards shards/
  two stages of two shards each, to run with score --plan both/plan.json
    %(prog)s --model m.onnx --sample data.parquet --stages 2 --shards 2 --save_stages both/
  replicas, stages or shards? on workers of 1 GB each
    %(prog)s --model m.onnx --strategy auto --workers 8 --stage_memory 1GB --bandwidth 10Gbit
  what each more of up to 8 workers brings, as a curve in the report
    %(prog)s --model m.onnx --sample data.parquet --workers 1..8 --report plan.html
  unlike workers
    %(prog)s --model m.onnx --workers cluster.json
      cluster.json: [{"name": "big", "speed": 2, "memory": "64GB", "bandwidth": "10Gbit"}, {"name": "small"}]
  what a run measured beside what was predicted
    %(prog)s --model m.onnx --plan plan.json --measured summary.json

exit codes: 0 planned, 1 it failed, 2 a wrong option or model, or a split that cannot be, 130 interrupted
"""


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of `plan`."""
    p = Parser(
        prog=prog or typed("plan"),
        usage="%(prog)s --model M.onnx [--sample PATTERN] [options]",
        description="Plan how a model is split by depth over workers, and whether that is better than replicas of it; "
        "or divide it by width.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    job = p.add_argument_group("the model and rows to measure it with")
    job.add_argument("--model", required=True, metavar="M.onnx", help=MODEL_HELP)
    job.add_argument(
        "--sample",
        nargs="+",
        action="extend",
        metavar="PATTERN",
        help="files, globs or folders as for score --input (default: rows made up from the model's input types)",
    )
    job.add_argument(
        "--input_format",
        choices=FILE_FORMATS,
        help="of the sample; default: by extension",
    )
    job.add_argument("--encoding", metavar="latin-1", help="of a sample of CSV or JSON Lines that is not UTF-8")
    add_csv_header(job)
    add_binding(job)
    add_prepare(job)
    job.add_argument(
        "--micro_batch",
        "--batch_size",
        type=positive,
        metavar="N",
        help="rows that go through the stages together (default: measured)",
    )

    workers = p.add_argument_group("stages and workers")
    workers.add_argument(
        "--stages",
        type=stages_count,
        default="auto",
        metavar="N|auto",
        help="parts of the model by depth: pipeline (layer-wise) parallelism (default: as many as are fastest)",
    )
    workers.add_argument(
        "--shards",
        type=stages_count,
        metavar="N|auto",
        help="divide the weights of layers over N shards instead of cutting: tensor (width-wise) parallelism; auto: as "
        "many as are fastest here and fit --stage_memory",
    )
    workers.add_argument(
        "--strategy",
        choices=KINDS,
        help="choose among replicas, stages, shards and several of these at once; all ways are shown",
    )
    workers.add_argument(
        "--simulate", action="store_true", help="tell all that a simulation of each way gives (--strategy auto)"
    )
    workers.add_argument(
        "--workers",
        metavar="N|1..N|cluster.json",
        help="workers like this machine's, or a description (default: its cores); 1..N: what each more brings",
    )
    workers.add_argument(
        "--stage_memory",
        metavar="2GB",
        help="most bytes of weights and activations in a worker; of weights with --shards auto",
    )
    workers.add_argument("--bandwidth", metavar="10Gbit", help="of the link between workers (default: one machine)")
    workers.add_argument(
        "--providers", default="auto", metavar="auto|cpu,cuda,...", help="ONNX Runtime execution providers, in order"
    )
    workers.add_argument(
        "--threads", type=threads_count, metavar="N", help="threads of a worker (default: cores / workers)"
    )

    written = p.add_argument_group("what is written")
    written.add_argument("--output", metavar="plan.json", help="the plan, for score --plan")
    written.add_argument("--save_stages", metavar="DIR", help="an ONNX file a stage, checked, and plan.json")
    written.add_argument("--save_shards", metavar="DIR", help="the ONNX files of shards, checked, and plan.json")
    written.add_argument(
        "--write_model", metavar="FILE.onnx", help="the model with the plan in it (pipeline_stage, or ShardingSpecs)"
    )
    written.add_argument("--report", metavar="FILE.html", help="graph, stages and timetable as one page")
    written.add_argument("--plan", metavar="plan.json", help="show or save this plan instead of making one")
    written.add_argument("--measured", metavar="summary.json", help="of a run of --plan, beside what was predicted")
    written.add_argument("--debug", action="store_true", help="show tracebacks")
    return p


_OF_PLANNING = ("stage_memory", "bandwidth", "workers", "micro_batch", "threads")


def parse(argv: Sequence[str], prog: str | None = None) -> PlanOptions:
    """The options.

    Raises:
        UsageError: an option is unknown, is missing, or has a wrong value.
    """
    return _read(parser(prog).parse_args(argv))


def plan_options(**given: Any) -> PlanOptions:
    """The options that a command line with these would give, by their names without dashes; see `score_options`.

    >>> plan_options(model="m.onnx", stages=3).split.stages
    3

    Raises:
        UsageError: as `parse` does, in the same words; also for a name that is no option.
    """
    p = parser()
    return _read(p.parse_args(to_argv(p, given)))


def _read(options: argparse.Namespace) -> PlanOptions:
    """The values of what argparse has found.

    Raises:
        UsageError: options do not go together.
    """
    check_not_empty(options)
    check_no_passwords(options)
    read_binding(options)
    options.encoding = read_encoding(options.encoding)
    if options.sample is None:
        of_rows = ("columns", "types", "narrow", "prepare", "input_format", "encoding")
        given = [name for name in of_rows if getattr(options, name)]
        given += ["nulls"] if options.nulls != NO_NULLS else []
        given += [name for name in ("csv_header", "delimiter") if getattr(options, name) is not None]
        if given:
            raise UsageError(f"--{given[0]} is for sample rows; give them with --sample FILE, or leave it out")
    if options.measured is not None and options.plan is None:
        raise UsageError("--measured is of a run of a plan; give that plan with --plan plan.json")
    _check_range(options)
    _check_strategy(options)
    _read_shards(options)
    if options.plan is not None and options.shard_plan is None:
        given = [name for name in _OF_PLANNING if getattr(options, name) is not None]
        given += ["stages"] if options.stages != "auto" else []
        if given:
            raise UsageError(f"--{given[0]} is for making a plan, and --plan names one; leave one of them out")
    options.stage_memory = None if options.stage_memory is None else parse_bytes(options.stage_memory)
    options.bandwidth = None if options.bandwidth is None else parse_bandwidth(options.bandwidth)
    options.input, options.prepare = tuple(options.sample or ()), tuple(options.prepare)
    options.keep = options.finish = ()
    options.model_version = options.limit = options.where = options.key = options.sql_config = options.replay = None
    return PlanOptions(**groups_of(options, PLAN_GROUPS), debug=options.debug)


def _check_range(options: argparse.Namespace) -> None:
    """Raise where `--workers 1..N` does not go with what else is asked for."""
    if options.workers is None or worker_counts(options.workers) is None:
        return
    given = [name for name in ("strategy", "shards", "plan") if getattr(options, name) is not None]
    given += ["stages"] if options.stages != "auto" else []
    given += ["simulate"] if options.simulate else []
    if given:
        raise UsageError(
            f"--workers {options.workers.strip()} compares splits by depth over each number of workers, and "
            f"--{given[0]} is for one number: give a number, or leave --{given[0]} out"
        )


_OF_ONE_SPLIT = ("plan", "shards", "save_stages", "save_shards", "write_model", "report", "measured")


def _check_strategy(options: argparse.Namespace) -> None:
    if options.simulate and options.strategy is None:
        options.strategy = "auto"
    if options.strategy is None:
        return
    given = [name for name in _OF_ONE_SPLIT if getattr(options, name) is not None]
    given += ["stages"] if options.stages != "auto" else []
    if given:
        raise UsageError(
            f"--strategy chooses how to split, and --{given[0]} is for one split: leave one of them out, or plan the "
            "split that is chosen in a second run"
        )


def _check_both(options: argparse.Namespace) -> None:
    """Raise for what does not go with a model split by depth and by width."""
    given = [name for name in ("plan", "save_shards", "write_model", "report") if getattr(options, name) is not None]
    if given:
        raise UsageError(f"--{given[0]} is for a model split by depth or by width, not by both; leave it out")
    if options.save_stages is None or "://" in options.save_stages:
        raise UsageError("--stages and --shards together divide saved stages; add --save_stages DIR, on this machine")


_OF_AUTO = ("stage_memory", "micro_batch", "threads")
"""Options of planning that `--shards auto` looks at."""

_OF_STAGES = ("stage_memory", "bandwidth", "workers", "micro_batch", "threads", "save_stages", "measured")


def _read_shards(options: argparse.Namespace) -> None:
    """Take a plan of shards as `--shards`, and raise for options that are not for a model divided by width."""
    from beamsplit.pipelines.execution.shard_source import read_shard_plan

    options.shard_plan = read_shard_plan(options.plan) if options.plan is not None else None
    if options.shard_plan is not None:
        if options.shards not in (None, options.shard_plan.shards):
            raise UsageError(
                f"--plan {options.plan} has {options.shard_plan.shards} shards and --shards says {options.shards}; "
                "leave --shards out"
            )
        options.shards = options.shard_plan.shards
    if options.shards is None:
        if options.save_shards is not None:
            raise UsageError("--save_shards is for a model divided by width; add --shards N")
        return
    if options.plan is not None and options.shard_plan is None:
        raise UsageError(
            f"--shards divides a model by width, and --plan {options.plan} is no plan of that; leave one out"
        )
    auto = options.shards == "auto"
    if options.stages != "auto":
        if auto:
            raise UsageError("--shards auto looks at the whole model, and --stages cuts it; give a number of shards")
        _check_both(options)
        return
    given = [name for name in _OF_STAGES if getattr(options, name) is not None and not (auto and name in _OF_AUTO)]
    if given and given[0] in _OF_AUTO:
        raise UsageError(
            f"--{given[0]} is for a model split by depth or for --shards auto, and --shards is {options.shards}; leave "
            "one of them out"
        )
    if given:
        raise UsageError(f"--{given[0]} is for a model split by depth, and --shards divides it by width; leave it out")
