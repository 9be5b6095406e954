"""`bs.Score`: an ONNX model as a PTransform, between other people's transforms."""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import DirectOptions, PortableOptions
from apache_beam.pvalue import PCollection
from apache_beam.typehints import typehints
from apache_beam.typehints.row_type import RowTypeConstraint

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import disown, own
from beamsplit.pipelines.api.arguments import check_rows, sample_given, schema_given
from beamsplit.pipelines.api.element_schema import signature_of_model
from beamsplit.pipelines.api.element_scoring import DICT, ROW, LazyScoring, PlannedScoring
from beamsplit.pipelines.api.metrics import endpoint_given
from beamsplit.pipelines.api.model_options import read_options
from beamsplit.pipelines.api.paths import path_given, shown
from beamsplit.pipelines.api.planned_steps import Place, PlannedSteps, plan_model
from beamsplit.pipelines.api.scorer import Scorer
from beamsplit.pipelines.execution.workers import cores
from beamsplit.pipelines.job.columns import check_keep, check_outputs
from beamsplit.pipelines.sources.kept import read_by_name
from beamsplit.transforms.elements.beam_types import arrow_type, beam_type, field_names, row_fields
from beamsplit.transforms.elements.score_elements import ScoreElements
from beamsplit.transforms.fetch.model_schemes import is_elsewhere
from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint
from beamsplit.transforms.telemetry.serve_metrics import ServeMetrics

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from beamsplit.pipelines.api.model_options import ModelOptions
    from beamsplit.pipelines.options.values import ScoreOptions

MOST_ROWS, MOST_PREPARED_ROWS = 4_096, 256
"""Rows that are scored together, without and with steps of `prepare`."""

MAX_LATENCY_MS = 20
"""How long a row of an unbounded collection waits for others, as of a stream."""

LOCAL = ("DirectRunner", "SwitchingDirectRunner", "BundleBasedDirectRunner", "FnApiRunner", "PrismRunner")
"""Runners whose workers are on this machine."""


class ScoreResult(NamedTuple):
    """What comes out of `Score`.

    >>> ScoreResult(None, None)._fields
    ('predictions', 'errors')
    """

    predictions: PCollection[Any]
    """`keep` columns and the model's outputs, with the windows and timestamps of their elements."""

    errors: PCollection[Any]
    """PCollection of `RowError`: rows that could not be scored, with the windows and timestamps of their elements."""


class Score(beam.PTransform[Any, Any]):
    """Scores a collection with an ONNX model, exactly as the command does: every number is what the row alone gives.

    >>> import apache_beam as beam
    >>> import beamsplit as bs
    >>> with beam.Pipeline() as pipeline:
    ...     rows = pipeline | beam.Create([beam.Row(id=7, age=30.0, height=180.0, weight=75.0)])
    ...     scored = rows | bs.Score("examples/mlp.onnx", columns={"x": ["age", "height", "weight"]}, keep="id")
    ...     _ = scored.predictions | beam.Map(lambda row: print(row.id, len(row.logits)))
    7 4

    | elements | predictions |
    |---|---|
    | `beam.Row`, NamedTuple | `beam.Row` with a schema, for SqlTransform, WriteToParquet, WriteToBigQuery |
    | dict | dict |
    | pyarrow RecordBatch, Table (ReadFromParquetBatched) | the same |

    Works on any runner, bounded or not. Predictions and errors have the window and the timestamp of their element.
    Tensors in rows are nested lists.

    Args:
        model: the ONNX file, local, gs:// or s3://.
        schema: of the elements where their type does not tell it: a pyarrow schema, or text as of `--schema`,
            `"id:int64,x:float32[4]"`. Without it each worker plans with the first elements that it gets.
        sample: some rows as they will come (a table, a dict of arrays, ...), to bring model and data together with;
            default: rows made up from the schema.
        max_latency_ms: how long a row of an unbounded collection waits for others (default: 20), while others come and
            the runner's bundle lasts: it is looked at as rows come, since nothing happens in a bundle between two. Of a
            source that holds its bundle open, the last rows of a burst that is longer than this, and than 8 rows, wait
            for the row behind them; give batches there.
        metrics: where each process shows metrics for Prometheus: a port, or `MetricsEndpoint` (default: nowhere).
        options: `columns`, `keep`, `set`, `prepare`, `finish`, `stages`, `placement`, ...: see `ModelOptions`.

    Raises:
        UsageError: when the pipeline is built, for what cannot work; in the words of the command.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        schema: pa.Schema | str | None = None,
        sample: Any = None,
        max_latency_ms: int | None = None,
        metrics: MetricsEndpoint | int | None = None,
        **options: Unpack[ModelOptions],
    ) -> None:
        super().__init__()
        path = path_given("model", model)
        # Workers may have another current folder.
        self._model = path if is_elsewhere(path) else os.path.abspath(path)
        self._given: dict[str, Any] = dict(options)
        self._options = read_options("Score", self._model, self._given)
        self._schema = schema_given(schema)
        self._sample = sample_given(sample, self._schema)
        # Python's own numbers, whose floats have no width that anybody chose.
        self._own_numbers = isinstance(sample, Sequence)
        if self._schema is None and self._sample is not None:
            self._schema = self._sample.schema
        if max_latency_ms is not None and not (type(max_latency_ms) is int and max_latency_ms > 0):
            raise UsageError(f"max_latency_ms is {max_latency_ms!r}; give a whole number of milliseconds above 0")
        self._latency = max_latency_ms
        self._metrics = endpoint_given(metrics, self._model)

    def expand(self, elements: PCollection[Any]) -> ScoreResult:
        """Plan, and wire one step; or, with `placement="distributed"`, the steps of the model's parts."""
        if not isinstance(elements, PCollection):
            raise UsageError(f"Score is applied to {shown(elements)}; apply it to one PCollection, of rows or batches")
        kind = elements.element_type
        check_rows(kind)
        if self._metrics is not None:
            elements = elements | "Metrics" >> ServeMetrics(self._metrics, counted=True)
        fields = row_fields(kind)
        as_dicts = fields is None and _is_dict(kind)
        place = _place(elements)
        options = self._resolved(fields)
        if self._metrics is not None:
            options = replace(options, watching=replace(options.watching, metrics=self._metrics.port))
        linger = self._latency or (None if elements.is_bounded else MAX_LATENCY_MS)
        linger_seconds = None if linger is None else linger / 1000
        most = MOST_PREPARED_ROWS if options.binding.prepare else MOST_ROWS
        of_rows = fields is not None or as_dicts
        numbers = of_rows or (self._own_numbers and kind not in (pa.RecordBatch, pa.Table))
        if options.parallelism.distributed:
            from beamsplit.pipelines.api.distributed import score_distributed

            steps, known = self._planned(options, fields, place, (numbers, False))
            element_type = _element_type(kind, fields, as_dicts, options, steps, known)
            return ScoreResult(*score_distributed(elements, steps, most, linger_seconds, element_type, self._metrics))
        if fields is None and self._schema is None:
            self._check_unplanned()
            scorer = Scorer(self._model, errors="return", **{"threads": _threads(place), **self._given})
            named = [*(n for names in options.binding.columns.values() for n in names), *options.binding.keep]
            lazy = LazyScoring(
                scorer, options.binding.keep, tuple(n for n in named if n != "*"), bool(options.binding.prepare)
            )
            element_type = dict[str, Any] if as_dicts else kind if kind in (pa.RecordBatch, pa.Table) else Any
            return ScoreResult(*(elements | ScoreElements(lazy, most, linger_seconds, element_type)))
        steps, known = self._planned(options, fields, place, (numbers, of_rows))
        form = ROW if fields is not None else DICT if as_dicts else None
        scoring = PlannedScoring(steps, options.binding.keep, form)
        element_type = _element_type(kind, fields, as_dicts, options, steps, known)
        return ScoreResult(*(elements | ScoreElements(scoring, most, linger_seconds, element_type)))

    def _resolved(self, fields: list[tuple[str, Any]] | None) -> ScoreOptions:
        """The options with the columns that `keep="*"` means, where they are known."""
        names = [name for name, _ in fields] if fields is not None else self._schema and self._schema.names
        if self._options.binding.keep == ("*",) and names:
            return replace(self._options, binding=replace(self._options.binding, keep=tuple(names)))
        return self._options

    def _planned(
        self,
        options: ScoreOptions,
        fields: list[tuple[str, Any]] | None,
        place: Place,
        rows: tuple[bool, bool],
    ) -> tuple[PlannedSteps, dict[str, Any]]:
        """(the steps, the types of the elements' fields).

        Args:
            options: with the columns to keep.
            fields: of elements that tell them.
            place: where workers are.
            rows: whether elements hold Python's own numbers; whether columns that are kept, and that nothing reads, are
                left out.

        Raises:
            UsageError: it cannot be planned so.
        """
        numbers, own = rows
        known = dict(fields or ())
        kinds = {name: arrow_type(kind) for name, kind in known.items()}
        schema = self._schema
        if schema is None:
            if fields is None:
                raise UsageError(
                    "--placement distributed is planned when the pipeline is built, and what the elements hold is not "
                    "known; say it with schema=... or sample=..."
                )
            schema = pa.schema([(name, kind) for name, kind in kinds.items() if kind is not None])
        binding = options.binding
        passed: tuple[str, ...] = ()
        if own and not binding.prepare:
            read = read_by_name(signature_of_model(binding.model, frozenset(binding.set)), binding.columns, binding.set)
            passed = tuple(name for name in binding.keep if name not in read)
            known_names = [*schema.names, *(name for name in known if name not in schema.names)]
            check_keep(passed, pa.schema([(name, pa.null()) for name in known_names]))
            schema = pa.schema([field for field in schema if field.name not in passed])
        options = replace(
            options,
            binding=replace(binding, keep=tuple(name for name in binding.keep if name not in passed)),
        )
        sample = self._sample
        if sample is not None and sample.schema != schema:
            sample = sample.select(schema.names)
        try:
            steps = plan_model(options, schema, sample, replace(place, text_source=numbers))
        except UsageError as error:
            untyped = [name for name, kind in kinds.items() if kind is None and name not in schema.names]
            if not untyped:
                raise
            told = ", ".join(f"{name}: {known[name]}" for name in untyped)
            raise UsageError(f"{error} (what {told} holds is not told by the type; say it with schema=...)") from None
        check_outputs(passed, steps.made.names)
        return steps, known

    def _check_unplanned(self) -> None:
        """Look at what can be known before the elements are.

        Raises:
            UsageError: the model cannot be loaded, or has no such inputs.
        """
        binding = self._options.binding
        if self._options.stream.model_updates:
            raise UsageError(
                "--model_updates watches for models of the elements' columns, which are not known; say them with "
                "schema=... or sample=..."
            )
        signature = signature_of_model(binding.model, frozenset(binding.set))
        check_outputs(binding.keep, [spec.name for spec in signature.outputs])
        names = [spec.name for spec in signature.inputs]
        for option, given in (("columns", binding.columns), ("set", binding.set)):
            for name in given:
                if name not in names:
                    raise UsageError(f"--{option} {name}=…: the model has no input {name!r}, it has {', '.join(names)}")


def _is_dict(kind: Any) -> bool:
    if isinstance(kind, typehints.DictConstraint) or kind is dict:
        return True
    origin = getattr(kind, "__origin__", None)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _element_type(
    kind: Any,
    fields: list[tuple[str, Any]] | None,
    as_dicts: bool,
    options: ScoreOptions,
    steps: PlannedSteps,
    known: Mapping[str, Any],
) -> Any:
    """The type of the predictions."""
    if fields is None:
        return dict[str, Any] if as_dicts else kind if kind in (pa.RecordBatch, pa.Table) else Any
    keep = options.binding.keep
    made = {field.name: beam_type(field) for field in steps.made}
    kept = [(name, known[name] if name in known else made[name]) for name in keep]
    found = dict([*kept, *((name, one) for name, one in made.items() if name not in keep)])
    return RowTypeConstraint.from_fields(list(zip(field_names(tuple(found)), found.values(), strict=True)))


def _place(elements: PCollection[Any]) -> Place:
    """Where workers are: with whoever builds the pipeline, or elsewhere."""
    pipeline = elements.pipeline
    options = pipeline.options
    if type(pipeline.runner).__name__ not in LOCAL:
        here = options.view_as(PortableOptions).environment_type == "LOOPBACK"
        return Place(folder=_parts_folder() if here else None)
    workers = options.view_as(DirectOptions).direct_num_workers
    return Place(workers=cores() if workers == 0 else workers or 1, folder=_parts_folder())


def _threads(place: Place) -> int:
    return max(1, cores() // place.workers) if place.workers else 1


@functools.cache
def _parts_folder() -> str:
    """For the files of stages and shards that are not saved; gone with this process."""
    folder = tempfile.mkdtemp(prefix="beamsplit-parts-")
    own(folder)
    atexit.register(disown, folder)
    return folder
