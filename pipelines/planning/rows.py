"""The rows that a model is planned with: sample rows, or rows made up from its input types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.batch_size import find_batch_size
from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.fitting.fitted_batch import BATCH_SIZE_SECONDS
from beamsplit.models.free_memory import free_memory
from beamsplit.models.graph.feeds import find_id_limits, make_feeds
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import DYNAMIC_ROWS, ModelFile, check_model_file, model_bytes, needed_rewrites
from beamsplit.models.graph.random_draws import drawn_by
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.independence.judge import coupling
from beamsplit.models.independence.proof import prove
from beamsplit.models.independence.rows_axis import input_axes_candidates, verify_rows
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.mapped import for_few_runs, unmapped
from beamsplit.models.running.session import (
    ModelRunError,
    Session,
    SessionOptions,
    drop_session,
    get_session,
    resolve_providers,
)
from beamsplit.models.running.still_session import still
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.micro_batch import find_micro_batch
from beamsplit.models.values.tensors import Array
from beamsplit.pipelines.job.made_up import fixed_batch, made_up_rows
from beamsplit.pipelines.job.sample_feeds import check_feeds
from beamsplit.pipelines.options.values import PlanOptions
from beamsplit.pipelines.report.units import show_bytes
from beamsplit.pipelines.sources.csv_header import with_csv_header
from beamsplit.pipelines.sources.sample import facts_of, open_sample
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.read import find_files, format_of, with_encoding

MADE_UP = "rows were made up from the model's input types: give --sample for times and a check on real ones"


REAL = "give real ones with --sample"

NOT_MEASURED = 8
"""Rows of a micro-batch where the model is too large to be timed here."""


@dataclass(frozen=True)
class SampleRows:
    """A model that runs and rows for it."""

    graph: SplitGraph
    model: ModelFile
    """With the rewrites that it needs."""

    session: Session | None
    """The whole model; None where it is too large for this machine."""

    take: Callable[[int], dict[str, Array]]
    """Feeds of so many rows."""

    row_by_row: bool
    """Whether the model takes one row a run."""

    options: SessionOptions
    """Of that session."""

    notes: tuple[str, ...] = ()

    independence: str = ""
    """Whether rows influence one another, in words; empty where that is not known."""

    slow: bool = False
    """Whether it is larger than the memory and so read anew for each run."""

    @property
    def told(self) -> tuple[str, ...]:
        """The notes, and whether rows influence one another."""
        return (*self.notes, f"rows are {self.independence}") if self.independence else self.notes


def rows_for(options: PlanOptions, session: SessionOptions) -> SampleRows:
    """Bring the model and its rows together.

    Args:
        options: of the plan command.
        session: to try the model with.

    Raises:
        UsageError: the model cannot be loaded or cut, or does not take the sample rows.
    """
    path = localize(options.binding.model)
    check_model_file(path)
    if options.split.shards != "auto":
        session = for_few_runs(session, path)
    size, free = model_bytes(path), free_memory()
    too_large = f"the model takes {show_bytes(size)} and this machine has {show_bytes(free)} free"
    if size <= free or session.mapped:
        rows = (
            _made_up(path, session, facts_of(options.binding, text_source=False))
            if not options.source.input
            else _sampled(options, session)
        )
        if size <= free:
            return rows
        return replace(rows, slow=True, notes=(*rows.notes, f"{too_large}: it is run from its file, and not timed"))
    if options.source.input:
        raise UsageError(
            f"--sample {options.source.input[0]}: {too_large}, so it cannot run on rows here; leave --sample out to "
            "plan by an estimate, or plan on a larger machine"
        )
    return _unrun(path, session, too_large)


def rows_of_plan(options: PlanOptions) -> SampleRows:
    """Rows for a model that is planned already: no session stays open.

    Raises:
        UsageError: the model or the sample is gone, or does not fit.
    """
    rows = rows_for(options, SessionOptions(resolve_providers(options.split.providers)))
    if rows.session is not None:
        drop_session(rows.session)
    return rows


def _unrun(path: str, options: SessionOptions, reason: str) -> SampleRows:
    """Of a model that is not loaded: it is planned by an estimate."""
    model = ModelFile(path)
    graph = split_graph(load_graph(model))
    limits = find_id_limits(graph.model)
    inputs = tuple(_spec(value) for value in graph.model.graph.inputs)
    alone = all(spec.shape is not None and spec.shape[:1] == (1,) for spec in inputs)

    def take(rows: int) -> dict[str, Array]:
        return make_feeds(Signature(inputs, ()), rows, id_limits=limits)

    return SampleRows(graph, model, None, take, alone, options, (f"{reason}: nothing was run",))


def _spec(value: ir.Value) -> TensorSpec:
    names = {ir.DataType.FLOAT: "float32", ir.DataType.DOUBLE: "float64"}
    dtype = ir.DataType.FLOAT if value.dtype is None else value.dtype
    shape = None
    if value.shape is not None:
        shape = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    return TensorSpec(str(value.name), names.get(dtype, dtype.name.lower()), shape)


def _sampled(options: PlanOptions, session: SessionOptions) -> SampleRows:
    source = options.source
    found = find_files(source.input, "--sample")
    format = format_of(found, source.input_format)
    files = with_csv_header(with_encoding(found, format, source.encoding), format, source.csv_header, source.delimiter)
    made = open_sample(options.binding, files, format, session).fit
    if made.sample is None:
        raise UsageError(
            f"--sample {source.input[0]} holds no rows that the model takes; give a file that does, or leave it out"
        )
    return _fitted(made, session)


def _fitted(fit: Fit, session: SessionOptions) -> SampleRows:
    """Model and rows that were brought together."""
    sample, scoring = fit.sample, fit.plan
    assert sample is not None
    bound = scoring.binding.open(sample, reuse=False)
    graph = split_graph(load_graph(scoring.model))
    blocks = blocks_of(scoring.model.rewrites)

    def take(rows: int) -> dict[str, Array]:
        check_feeds(rows, bound.take)
        feeds = bound.take(np.arange(rows) % sample.num_rows)
        return feeds if blocks is None else blocks.padded(feeds)

    return SampleRows(
        graph,
        scoring.model,
        fit.session,
        take,
        scoring.row_by_row,
        session,
        fit.notes,
        independence=fit.independence,
    )


def _made_up(path: str, options: SessionOptions, facts: DataFacts) -> SampleRows:
    session = get_session(ModelFile(path), options)
    rewrites = needed_rewrites(session.raw)
    lasting = tuple(name for name in rewrites if name != DYNAMIC_ROWS)
    model = ModelFile(path, lasting)
    if lasting:
        session = get_session(model, options)
    graph = split_graph(load_graph(model))
    limits = find_id_limits(graph.model)
    if facts.sets or fixed_batch(session.signature, ()) > 1:
        # As real rows are fitted: by one rule for constants, and for a batch that is fixed.
        sample = made_up_rows(session.signature, facts.sets, limits)
        made = fit(path, options, sample.schema, sample, facts)
        if made.sample is None:
            told = made.notes[-1] if made.notes else "it fails on them"
            raise UsageError(f"--model {path} does not run on rows made up from its input types ({told}): {REAL}")
        rows = _fitted(made, options)
        return replace(rows, notes=(MADE_UP, *rows.notes))

    def take(rows: int) -> dict[str, Array]:
        return make_feeds(session.signature, rows, id_limits=limits)

    notes: tuple[str, ...] = (MADE_UP,)
    drawn = drawn_by(path)
    if drawn:
        notes += (f"the model draws random numbers ({', '.join(drawn)}): each run of it gives others",)
    alone = False
    if DYNAMIC_ROWS in rewrites:
        why: str | None
        try:
            dynamic = get_session(ModelFile(path, rewrites), options)
            feeds = make_feeds(dynamic.signature, 3, id_limits=limits)
            why = verify_rows(still(session).run, still(dynamic).run, feeds)
            why = why or coupling(still(dynamic), make_feeds(dynamic.signature, 6))
        except UsageError as error:
            why = str(error)
        if why is None:
            session, model = dynamic, ModelFile(path, rewrites)
            graph = split_graph(load_graph(model))
            notes += ("the model's batch is fixed at 1; it was made dynamic",)
        else:
            alone = True
            notes += (f"the model's batch is fixed at 1 and could not be made dynamic ({why})",)
    guesses = input_axes_candidates(session.signature)
    told = prove(model, session.signature, guesses[0]).line if guesses else ""
    try:
        session.run(take(1))
    except ModelRunError as error:
        raise UsageError(
            f"--model {path} does not run on rows made up from its input types ({error}): {REAL}"
        ) from None
    return SampleRows(graph, model, session, take, alone, options, notes, independence=told)


def choose_micro_batch(rows: SampleRows, wanted: int | None, stages: int) -> int:
    """Rows of a micro-batch: given, or measured on the whole model.

    Args:
        rows: of the model.
        wanted: `--micro_batch`.
        stages: of the split, or workers where that is not yet known.
    """
    if rows.row_by_row:
        return 1
    blocks = blocks_of(rows.model.rewrites)
    if blocks is not None:
        return blocks.rows
    if wanted is not None:
        return wanted
    session = rows.session
    if session is None or rows.slow:
        return NOT_MEASURED
    bytes_per_row = _bytes_per_row(rows, session)
    with unmapped(session) as timed:
        if timed is None:
            return NOT_MEASURED
        choice = find_micro_batch(lambda size: timed.run(rows.take(size)), bytes_per_row=bytes_per_row, stages=stages)
    return choice.batch_size


def choose_batch_size(rows: SampleRows, session: Session) -> int:
    """Rows of a run of the whole model, measured as `score` does."""
    if rows.row_by_row:
        return 1
    blocks = blocks_of(rows.model.rewrites)
    if blocks is not None:
        return blocks.rows
    if rows.slow:
        return NOT_MEASURED
    bytes_per_row = _bytes_per_row(rows, session)
    choice = find_batch_size(
        lambda size: session.run(rows.take(size)), bytes_per_row=bytes_per_row, budget_seconds=BATCH_SIZE_SECONDS
    )
    return choice.batch_size


def _bytes_per_row(rows: SampleRows, session: Session) -> int:
    """Bytes of inputs and outputs of one row."""
    feeds = rows.take(2)
    outputs = session.run(feeds)
    return sum(array.nbytes for array in [*feeds.values(), *outputs]) // 2
