"""Which options go together: one table, from which refusals, help and docs come."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.division import ROWS, Parallelism
from beamsplit.pipelines.options.registry import check_registry
from beamsplit.pipelines.options.replay import check_replay
from beamsplit.pipelines.options.schemes import Mode, is_table, is_topic
from beamsplit.pipelines.options.sql import check_sql
from beamsplit.pipelines.options.values import ScoreOptions, is_given


def mode_of(options: ScoreOptions) -> Mode:
    """What the options read.

    >>> from beamsplit.pipelines.options.score import score_options
    >>> mode_of(score_options(model="m.onnx", input="kafka://h:1/t", output="o.csv", until_end=True))
    <Mode.RANGE: 'range'>
    """
    if not any(map(is_topic, options.source.input)):
        return Mode.FILES
    return Mode.RANGE if options.stream.until_end and not is_topic(options.sink.output) else Mode.STREAM


_TABLE = f"""
                     read from                 the model
option               files   range   stream    whole   stages  plan    shards  auto    strategy
num_shards           file    yes     -         yes     yes     yes     yes     yes     yes
overwrite            yes     yes     -         yes     yes     yes     yes     yes     yes
append               table   table   -         yes     yes     yes     yes     yes     yes
merge_on             table   table   -         yes     yes     yes     yes     yes     yes
overwrite_where      table   table   -         yes     yes     yes     yes     yes     yes
lance_index          table   table   -         yes     yes     yes     yes     yes     yes
commit_id            table   table   -         yes     yes     yes     yes     yes     yes
resume               file    -       -         yes     yes     yes     yes     yes     yes
input_format         yes     -       -         yes     yes     yes     yes     yes     yes
delimiter            yes     -       -         yes     yes     yes     yes     yes     yes
limit                yes     -       -         yes     yes     yes     yes     yes     yes
replay               yes     yes     -         yes     yes     yes     yes     yes     yes
where                yes     -       -         yes     yes     yes     yes     yes     yes
key                  yes     -       -         yes     yes     yes     yes     yes     yes
sql_config           yes     table   -         yes     yes     yes     yes     yes     yes
encoding             yes     -       -         yes     yes     yes     yes     yes     yes
csv_header           yes     -       -         yes     yes     yes     yes     yes     yes
types                yes     -       -         yes     yes     yes     yes     yes     yes
partition            yes     -       -         yes     yes     yes     yes     yes     yes
capacities           yes     -       -         yes     yes     yes     yes     yes     yes
dry_run              yes     -       -         yes     yes     yes     yes     yes     yes
{ROWS}
format               -       yes     yes       yes     yes     yes     yes     yes     yes
output_format        topic   -       yes       yes     yes     yes     yes     yes     yes
schema               -       yes     yes       yes     yes     yes     yes     yes     yes
schema_registry      topic   yes     yes       yes     yes     yes     yes     yes     yes
subject_strategy     topic   yes     yes       yes     yes     yes     yes     yes     yes
input_record         -       yes     yes       yes     yes     yes     yes     yes     yes
output_record        topic   -       yes       yes     yes     yes     yes     yes     yes
register_schema      topic   -       yes       yes     yes     yes     yes     yes     yes
kafka_config         topic   yes     yes       yes     yes     yes     yes     yes     yes
group                -       yes     yes       yes     yes     yes     yes     yes     yes
start                -       yes     yes       yes     yes     yes     yes     yes     yes
max_latency_ms       -       -       yes       yes     yes     yes     yes     yes     yes
delivery             -       -       yes       yes     yes     yes     yes     yes     yes
event_time           -       -       yes       yes     yes     yes     yes     yes     yes
transaction_ms       -       -       yes       yes     yes     yes     yes     yes     yes
model_updates        -       -       yes       yes     -       -       -       -       yes
model_check          -       -       yes       yes     -       -       -       -       yes
model_check_tolerance -       -       yes       yes     -       -       -       -       yes
on_gap               -       yes     yes       yes     yes     yes     yes     yes     yes
until_end            -       yes     yes       yes     yes     yes     yes     yes     yes
stop_after_idle      -       -       yes       yes     yes     yes     yes     yes     yes
prism_location       -       -       yes       yes     yes     yes     yes     yes     yes
"""
"""Options that do not go with everything. `topic`: where --output or --errors names a topic; `file`: where they do
not; `table`: where --output names a table; `deep`: where stages are divided; `way`: what divides a model by itself. The
column `auto` is --shards auto, `shards` a number of them."""

COLUMNS = ("files", "range", "stream", "whole", "stages", "plan", "shards", "auto", "strategy")

GOES_WITH: Mapping[str, Mapping[str, str]] = {
    option: dict(zip(COLUMNS, marks, strict=True))
    for option, *marks in (line.split() for line in _TABLE.strip().splitlines()[2:])
}
"""Option -> column -> `yes`, `-`, or on what it depends."""


READ_FROM = {
    ("yes", "yes", "yes"): "",
    ("yes", "-", "-"): "files only",
    ("yes", "yes", "-"): "not for a stream",
    ("file", "yes", "-"): "where files are written",
    ("file", "-", "-"): "from files to files only",
    ("table", "table", "-"): "where a table is written",
    ("yes", "table", "-"): "where a table is read or written",
    ("topic", "-", "yes"): "where a topic is written",
    ("topic", "yes", "yes"): "topics only",
    ("-", "yes", "yes"): "topics only",
    ("-", "-", "yes"): "streams only",
}
"""What is read (files, a topic up to its end to files, a stream) -> in words what an option is for."""

DIVIDED_BY = {"stages": "--stages", "plan": "--plan", "shards": "--shards N", "auto": "--shards auto"}
"""Column -> what has a model divided so."""


def note_of(option: str) -> str:
    """What an option does not go with, in words; empty where it goes with everything.

    >>> note_of("limit"), note_of("replan"), note_of("seed")
    ('files only', 'files only; not with --shards, --strategy', '')
    """
    marks = GOES_WITH.get(option)
    if marks is None:
        return ""
    ways = {**DIVIDED_BY, "strategy": "--strategy"}
    apart = [typed for column, typed in ways.items() if marks[column] == "-" and typed.split()[0] != f"--{option}"]
    if "--shards N" in apart and "--shards auto" in apart:
        apart = [typed.removesuffix(" N") for typed in apart if typed != "--shards auto"]
    read = READ_FROM[marks["files"], marks["range"], marks["stream"]]
    return "; ".join(filter(None, [read, f"not with {', '.join(apart)}" if apart else ""]))


def refused(options: ScoreOptions, column: str, among: Collection[str] | None = None) -> list[str]:
    """Options that are given and do not go with a column of the table, in its order.

    Args:
        options: of the job.
        column: one of `COLUMNS`.
        among: the options that are asked about; None for all.
    """
    rows = GOES_WITH if among is None else {name: GOES_WITH[name] for name in among}
    return [name for name, marks in rows.items() if marks[column] == "-" and is_given(options, name)]


def check_mode(options: ScoreOptions) -> Mode:
    """What is read; raises for options that do not go with that.

    Raises:
        UsageError: there is one; names both sides and the fix.
    """
    mode = mode_of(options)
    check_replay(options, mode)
    _check_resume(options, mode)
    {Mode.FILES: _check_files, Mode.RANGE: _check_range, Mode.STREAM: check_stream}[mode](options)
    check_registry(options)
    if mode is not Mode.STREAM:
        _check_table(options)
        check_sql(options)
    return mode


def _check_table(options: ScoreOptions) -> None:
    sink = options.sink
    if not is_table(sink.output):
        given = [name for name, marks in GOES_WITH.items() if marks["files"] == "table" and is_given(options, name)]
        if given:
            raise UsageError(
                f"--{given[0]} is for tables, and --output {sink.output} is none; type --output delta:FOLDER, or leave "
                f"--{given[0]} out"
            )
        return
    ways = [name for name in ("overwrite", "append", "merge_on", "overwrite_where") if getattr(sink, name)]
    if len(ways) > 1:
        raise UsageError(
            f"--{ways[0]} and --{ways[1]} say both what becomes of the rows of {sink.output}; leave one of them out"
        )
    if sink.num_shards:
        raise UsageError(f"--num_shards is for files, and --output {sink.output} is a table; leave it out")
    if sink.lance_index and not sink.output.startswith("lance:"):
        raise UsageError(
            f"--lance_index is for Lance datasets, and --output {sink.output} is none; type --output lance:FOLDER, or "
            "leave --lance_index out"
        )


OF_OUTPUT = ("output_format", "schema_registry", "subject_strategy", "output_record", "register_schema")
"""Options of an output that is a topic, whatever is read."""


def _check_files(options: ScoreOptions) -> None:
    output, errors, replay = options.sink.output, options.sink.errors or "", options.source.replay or ""
    of_topics = {
        **dict.fromkeys(OF_OUTPUT, is_topic(output)),
        "kafka_config": any(map(is_topic, (output, errors, replay))),
    }
    given = [
        name
        for name, marks in GOES_WITH.items()
        if is_given(options, name) and (marks["files"] == "-" or (marks["files"] == "topic" and not of_topics[name]))
    ]
    if given:
        raise UsageError(
            f"--{given[0]} is for a stream, and --input {options.source.input[0]} is none; "
            "type --input kafka://HOST:PORT/TOPIC, or leave it out"
        )
    if is_topic(output) and options.sink.num_shards:
        raise UsageError(f"--num_shards is for files, and --output {output} is a topic; leave it out")


RESUMABLE_TABLES = ("delta", "iceberg", "lance")
"""Schemes of tables that are files which a commit adds: their modules in `sinks/` have `folder_of(output)`."""


def _check_resume(options: ScoreOptions, mode: Mode) -> None:
    """Raise where what is finished cannot be kept."""
    sink, names = options.sink, options.source.input
    if not sink.resume:
        return
    if mode is Mode.STREAM:
        raise UsageError(
            f"--resume is for files, and a stream goes on at its --group's offsets anyway ({names[0]}); leave it out"
        )
    if mode is Mode.RANGE:
        raise UsageError(
            f"--resume keeps splits of files, and messages of {names[0]} may be gone when it goes on; leave it out, or "
            "write the topic to files first"
        )
    if is_table(sink.output) and sink.output.partition(":")[0] not in RESUMABLE_TABLES:
        raise UsageError(
            f"--resume keeps files until all of them get their names, or are committed to a table of Delta, Iceberg or "
            f"Lance, and --output {sink.output} is another; leave --resume out, or type a file"
        )
    for option, name in (("output", sink.output), ("errors", sink.errors or "")):
        if is_topic(name):
            raise UsageError(
                f"--resume keeps what is finished until files get their names, and messages to --{option} {name} are "
                "sent at once; leave it out, or type a file"
            )
    if options.parallelism.distributed:
        raise UsageError(
            "--resume keeps splits that one worker has scored from end to end, and with --placement distributed rows "
            "go from worker to worker; type --placement inline, or leave --resume out"
        )


def _check_range(options: ScoreOptions) -> None:
    names = options.source.input
    if len(names) != 1:
        raise UsageError(f"--input names {len(names)} inputs, and one topic is read; type one")
    given = refused(options, "range")
    if given:
        raise UsageError(
            f"--{given[0]} does not go with --until_end from the topic {names[0]} to the file "
            f"{options.sink.output}; leave it out"
        )


def check_stream(options: ScoreOptions) -> None:
    """Raise for options that do not go with a stream.

    Raises:
        UsageError: there is one.
    """
    ways = [name for name in ("stages", "plan", "shards") if is_given(options, name)]
    if options.stream.model_updates and any(GOES_WITH["model_updates"][way] == "-" for way in ways):
        raise UsageError(
            f"--model_updates replaces a model that each worker holds whole, and --{ways[0]} divides it; "
            "leave one of them out"
        )
    source, output = options.source.input, options.sink.output
    if mode_of(options) is Mode.STREAM and len(source) == 1 and not is_topic(output):
        raise UsageError(
            f"--input {source[0]} is a stream and --output {output} a file; "
            "type --output kafka://HOST:PORT/TOPIC, or --until_end to read what is there now into files"
        )
    given = refused(options, "stream")
    if given:
        raise UsageError(
            f"--{given[0]} is for an input of files, and --input {options.source.input[0]} is a stream; leave it out"
        )


OF_PARTS = tuple(name for name, marks in GOES_WITH.items() if marks["whole"] in ("-", "way"))
"""Options of a model that is divided."""


def check_parallelism(asked: Parallelism, of_topic: bool) -> None:
    """Raise for options of a division without one, and for those that do not go together.

    Args:
        asked: as it was typed, with a division that is there already.
        of_topic: whether a topic is read.

    Raises:
        UsageError: there is one; names both sides and the fix.
    """
    given = [name for name in OF_PARTS if getattr(asked, name) is not None]
    if asked.strategy is not None:
        both = [name for name in given if GOES_WITH[name]["strategy"] == "-"]
        if both:
            raise UsageError(f"--strategy chooses how to split, and --{both[0]} says how; leave one of them out")
        if of_topic:
            raise UsageError("--strategy times sample rows, which a topic does not give beforehand; leave it out")
    elif asked.shards is not None:
        _check_shards(asked, given, of_topic)
    elif not asked.by_depth and given and not any(GOES_WITH[name]["whole"] == "way" for name in given):
        raise UsageError(f"--{given[0]} is for a model split by depth; add --stages N, or --plan plan.json")
    for name in given:
        # Of those that have a column the other's row tells.
        apart = [] if name in COLUMNS else [one for one in given if GOES_WITH[name].get(one) == "-"]
        if apart and GOES_WITH[name]["whole"] == "way":
            raise UsageError(f"--{name} and --{apart[0]} divide the model each in its way; leave one of them out")
    if asked.strategy is None and asked.plan is not None and asked.stage_memory is not None:
        raise UsageError("--stage_memory is for planning, and --plan names a plan; leave one of them out")


def _check_shards(asked: Parallelism, given: Collection[str], of_topic: bool) -> None:
    if isinstance(asked.shards, int) and asked.shards < 2:
        raise UsageError(f"--shards {asked.shards} divides nothing; give 2 or more, or leave it out")
    auto = asked.shards == "auto"
    column = "auto" if auto else "shards"
    deep = [name for name in ("stages", "plan") if name in given]
    if auto and deep:
        raise UsageError(f"--shards auto looks at the whole model, and --{deep[0]} cuts it; give a number of shards")
    if auto and of_topic:
        raise UsageError("--shards auto times sample rows, which a topic does not give beforehand; give a number")
    if "stage_memory" in given and GOES_WITH["stage_memory"][column] == "deep" and not deep:
        raise UsageError(f"--stage_memory is for --shards auto, and --shards is {asked.shards}; leave one out")
    depth = [name for name in given if GOES_WITH[name][column] == "-"]
    if depth:
        raise UsageError(f"--{depth[0]} is for a model split by depth, and --shards divides it by width; leave it out")
