"""What a command was asked for, as frozen values: the command line and the Python API make the same ones.

Functions below the command line take the group that they need, and what settles an open choice gives a new value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from beamsplit.models.binding.nulls import NO_NULLS, Nulls
from beamsplit.pipelines.options.division import Count, Parallelism
from beamsplit.transforms.failures.limit import FailureLimit

if TYPE_CHECKING:
    from beamsplit.models.fitting.tolerance import Tolerance
    from beamsplit.models.shard.plan import ShardPlan


@dataclass(frozen=True)
class BindingOptions:
    """The model, what feeds it, and the steps before and behind it."""

    model: str
    """Path of the ONNX model, or where it lies (`transforms.fetch`)."""

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Input -> the columns that feed it; inputs that are not named take the column of their name."""

    set: Mapping[str, str] = field(default_factory=dict)
    """Input -> its constant, as it is typed: `1,2,3`, `zeros`, `a.npy`."""

    types: Mapping[str, Any] = field(default_factory=dict)
    """Column of files -> its Arrow type."""

    narrow: bool = False
    coupled_rows: str = "alone"
    nulls: Nulls = NO_NULLS
    keep: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    finish: tuple[str, ...] = ()
    model_version: str | None = None
    """`"column"` or `"header"`."""


@dataclass(frozen=True)
class SourceOptions:
    """What is read: files, globs and folders, or one topic."""

    input: tuple[str, ...] = ()
    input_format: str | None = None
    encoding: str | None = None
    csv_header: bool | tuple[str, ...] | None = None
    delimiter: str | None = None
    limit: int | None = None
    """Rows that are read; None for all."""

    replay: str | None = None
    """The errors output whose rows are read, and no others."""

    where: str | None = None
    """The condition that rows are kept by."""

    key: str | None = None
    """The column of which a database's workers read ranges."""

    sql_config: str | None = None
    """A file, or `env:NAME`, with what a database's driver is to know; of an output too."""


@dataclass(frozen=True)
class SinkOptions:
    """Where predictions and rows that fail go, and how many may fail."""

    output: str = ""
    output_format: str | None = None
    """Of messages."""

    errors: str | None = None
    max_failed: FailureLimit | None = None
    num_shards: int | None = None
    overwrite: bool = False
    """Whether outputs and errors that are there are replaced."""

    append: bool = False
    """Whether a table that is there gets the rows."""

    merge_on: tuple[str, ...] = ()
    """Columns by which rows of a table are known that are replaced."""

    overwrite_where: str | None = None
    """The condition of the rows of a table that are replaced."""

    commit_id: str | None = None
    """What a table knows a job's rows by."""

    lance_index: tuple[str, ...] = ()
    """Indexes of a Lance dataset that is written."""

    resume: bool = False
    """Whether what is finished is kept, and a job that was killed goes on where it was."""

    json_nan: str | None = None


@dataclass(frozen=True)
class WorkerOptions:
    """The replicas of the model, and how rows are dealt to them."""

    count: int | None = None
    """None: one a core or GPU."""

    worker_type: str | None = None
    batch_size: Count = "auto"
    partition: str | None = None
    capacities: tuple[float, ...] | str | None = None
    audit: tuple[int, bool] | None = None
    """(about how many rows, whether a difference is only told)."""

    run_timeout: float | None = None
    """Seconds."""

    plan_seconds: float | None = None
    """For runs of the model before the job begins; None: as much as the job is worth."""

    seed: int = 0
    providers: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class StreamOptions:
    """What is for topics only."""

    format: str | None = None
    schema: str | None = None
    kafka_config: str | None = None
    group: str | None = None
    start: str | int | None = None
    max_latency_ms: int | None = None
    delivery: str | None = None
    transaction_ms: int | None = None
    event_time: str | None = None
    model_updates: str | None = None
    model_check: str | None = None
    model_check_tolerance: Tolerance | None = None
    on_gap: str | None = None
    schema_registry: str | None = None
    """Its URL, without user and password."""

    subject_strategy: str | None = None
    input_record: str | None = None
    output_record: str | None = None
    """Full names of records or messages."""

    register_schema: bool = False
    until_end: bool = False
    stop_after_idle: float | None = None


@dataclass(frozen=True)
class RunnerOptions:
    """Which of Beam's runners, and what it must know."""

    name: str = "DirectRunner"
    job_name: str | None = None
    flink_master: str | None = None
    parallelism: int | None = None
    """Tasks of a step side by side."""

    checkpoint: int | None = 10_000
    """Milliseconds; None for none."""

    flink_job_server_jar: str | None = None
    prism_location: str | None = None


@dataclass(frozen=True)
class WatchingOptions:
    """What is shown and told of a job."""

    dry_run_plan: bool = False
    dry_run: str | None = None
    summary: str | None = None
    metrics: int | None = None
    """The first port that a process shows its metrics at; 0 for any."""

    metrics_host: str = "127.0.0.1"
    metrics_targets: str | None = None
    """Folder in which each process tells where it does."""

    log_format: str = "text"
    quiet: bool = False
    debug: bool = False


@dataclass(frozen=True)
class ScoreOptions:
    """All that `score` was asked for, checked as far as that can be without looking at the data."""

    binding: BindingOptions
    source: SourceOptions = SourceOptions()
    sink: SinkOptions = SinkOptions()
    workers: WorkerOptions = WorkerOptions()
    parallelism: Parallelism = field(default_factory=Parallelism)
    stream: StreamOptions = StreamOptions()
    runner: RunnerOptions = RunnerOptions()
    watching: WatchingOptions = WatchingOptions()


@dataclass(frozen=True)
class SplitOptions:
    """How `plan` is to divide a model, and for which workers."""

    stages: Count = "auto"
    shards: Count | None = None
    strategy: str | None = None
    simulate: bool = False
    workers: str | None = None
    """A number, or the path of a cluster.json."""

    micro_batch: int | None = None
    stage_memory: float | None = None
    """Bytes."""

    bandwidth: float | None = None
    """Bytes a second."""

    providers: str = "auto"
    threads: int | None = None
    plan: str | None = None
    shard_plan: ShardPlan | None = None
    """What `plan` names, where that is one of shards."""


@dataclass(frozen=True)
class WrittenOptions:
    """What `plan` writes."""

    output: str | None = None
    save_stages: str | None = None
    save_shards: str | None = None
    write_model: str | None = None
    report: str | None = None
    measured: str | None = None


@dataclass(frozen=True)
class PlanOptions:
    """All that `plan` was asked for."""

    binding: BindingOptions
    source: SourceOptions = SourceOptions()
    """The sample; without input rows are made up."""

    split: SplitOptions = SplitOptions()
    written: WrittenOptions = WrittenOptions()
    debug: bool = False


SCORE_GROUPS: Mapping[str, type[Any]] = {
    "binding": BindingOptions,
    "source": SourceOptions,
    "sink": SinkOptions,
    "workers": WorkerOptions,
    "parallelism": Parallelism,
    "stream": StreamOptions,
    "runner": RunnerOptions,
    "watching": WatchingOptions,
}

PLAN_GROUPS: Mapping[str, type[Any]] = {
    "binding": BindingOptions,
    "source": SourceOptions,
    "split": SplitOptions,
    "written": WrittenOptions,
}

_TYPED_AS = {("workers", "count"): "workers", ("runner", "name"): "runner"}
"""Fields with another name than their option."""


def option_of(group: str, name: str) -> str:
    """The option that a field of `ScoreOptions` is given by, without dashes.

    >>> option_of("workers", "count")
    'workers'
    """
    return _TYPED_AS.get((group, name), name)


_PLACES = {
    option_of(group, one.name): (group, one.name) for group, values in SCORE_GROUPS.items() for one in fields(values)
}


def value_of(options: ScoreOptions, option: str) -> Any:
    """What was said for an option, by its name without dashes.

    >>> value_of(ScoreOptions(BindingOptions("m.onnx")), "checkpoint")
    10000
    """
    group, name = _PLACES[option]
    return getattr(getattr(options, group), name)


def is_given(options: ScoreOptions, option: str) -> bool:
    """Whether an option says other than its default."""
    group, name = _PLACES[option]
    one = next(one for one in fields(SCORE_GROUPS[group]) if one.name == name)
    default = one.default if one.default_factory is MISSING else one.default_factory()
    return bool(value_of(options, option) != default)
