"""Fit a model to data before anything runs: bind inputs, find the rows axes, shape the outputs, choose the batch.

model file -> session -> signature -+
                                    +-> candidates of rows axes -> bind -> run sample rows -> ScoringPlan
schema, --columns, --set -----------+                              (together and alone)
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.binding import Binding, bind
from beamsplit.models.binding.bound_input import shorten
from beamsplit.models.binding.data_facts import DataFacts
from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import zipmap_note
from beamsplit.models.fitting.constant_axes import with_constants
from beamsplit.models.fitting.feature_names import check_features
from beamsplit.models.fitting.fitted import SAMPLE_RUN_ROWS, Fit
from beamsplit.models.fitting.fixed_batch import FixedBatch
from beamsplit.models.fitting.fixed_batch_ways import Way, fixed_ways, whole_ways
from beamsplit.models.fitting.named_sizes import bind_by_sizes, without_names
from beamsplit.models.fitting.output_columns import SeenOutputs, output_columns
from beamsplit.models.fitting.tried_rows import ALL_RUNS, FEW_ROWS, Look, run_row, try_rows
from beamsplit.models.graph.model_file import (
    DROP_ZIPMAP,
    DYNAMIC_ROWS,
    ModelFile,
    check_model_file,
    needed_rewrites,
    varies_with_data,
)
from beamsplit.models.graph.random_draws import drawn_by
from beamsplit.models.graph.signature import Signature
from beamsplit.models.independence.judge import PROBE_ROWS, judge
from beamsplit.models.independence.proof import Proof, prove
from beamsplit.models.independence.rows_axis import AxesCheck, check_axes, input_axes_candidates, named_rows
from beamsplit.models.planning_budget import UNLIMITED, PlanningBudget
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.session import Session, SessionOptions, get_session
from beamsplit.models.running.still_session import still
from beamsplit.models.scoring.scorer import Array, ScoringPlan

__all__ = ["ALL_RUNS", "SAMPLE_RUN_ROWS", "DataFacts", "Fit", "fit"]

SCALES = "; --coupled_rows accept runs them together, those of like size, which is faster"
"""What may be done about scales that the model sets from all rows of a run."""

AUDIT = "--audit compares rows of the job with each alone"
"""What may be done where a sample need not show it."""

LIST_ROWS = 8
"""Sample rows run where an output is as long as the values make it, to see one that is not 1 long."""


@dataclass(frozen=True)
class _Data:
    schema: pa.Schema
    sample: pa.RecordBatch | None
    facts: DataFacts
    budget: PlanningBudget


@dataclass(frozen=True)
class _Attempt:
    binding: Binding
    check: AxesCheck | None
    feeds: dict[str, Array] | None
    outputs: dict[str, Array] | None
    sample: pa.RecordBatch | None
    proof: Proof
    told: str = ""
    """Whether rows are independent, in words."""

    most_rows: int | None = None
    """As many rows as were seen to keep apart in one run, where that is not proven for any number."""

    first: dict[str, Array] | None = None
    """Outputs of the first row alone."""

    run_seconds: tuple[tuple[int, float], ...] = ()
    """As in `Fit`."""


def fit(
    path: str,
    options: SessionOptions,
    schema: pa.Schema,
    sample: pa.RecordBatch | None,
    facts: DataFacts,
    budget: PlanningBudget = UNLIMITED,
) -> Fit:
    """Bring a model and data together.

    Args:
        path: the ONNX file.
        options: providers and threads of the session to try with.
        schema: columns as they reach the model (after `--prepare`).
        sample: a few rows of that schema; None or empty where there are none.
        facts: what the user said.
        budget: for runs of a model that takes long for a row; rows that are not proven to be independent then run one
            by one, unprobed.

    Raises:
        UsageError: the model cannot be loaded, or its inputs cannot be bound to the columns.
    """
    check_model_file(path)
    constants = frozenset(facts.sets)
    rewrites = needed_rewrites(get_session(ModelFile(path), options).raw, constants)
    notes = [zipmap_note(path)] if DROP_ZIPMAP in rewrites else []
    base = ModelFile(path, tuple(name for name in rewrites if name != DYNAMIC_ROWS))
    signature = get_session(base, options).signature

    data = _Data(schema, sample, facts, budget)

    def fit_one(model: ModelFile, axes: Mapping[str, int] | None = None, *, row_by_row: bool = False) -> Fit:
        guesses = None if axes is None else [axes]
        return _fit(get_session(model, options), data, notes, guesses, row_by_row=row_by_row)

    def bind_inputs(signature: Signature, axes: Mapping[str, int | None]) -> Binding:
        full = with_constants(axes, signature, facts.sets)
        # Whether the model takes sizes that its names forbid shows when it is fitted so.
        return bind_by_sizes(partial(_bind, signature, full, data), lambda *_: True, sample)

    best: Fit | None = None
    first_error: UsageError | None = None
    for way in _ways(signature, constants):
        try:
            if way is None:
                made = fit_one(base)
            else:
                made = FixedBatch(base, signature, way, constants, options).fit(fit_one, bind_inputs)
        except UsageError as error:
            first_error = first_error or error
            continue
        if best is None or (made.sample is not None and best.sample is None):
            best = made
        if best.sample is not None or sample is None or not sample.num_rows:
            return best
    if best is None:
        raise first_error or UsageError("the model has no input that can carry rows")
    return best


def _ways(signature: Signature, constants: frozenset[str]) -> Iterator[Way | None]:
    """How the rows may lie, the most plausible first; None is on an axis of open size."""
    guesses = input_axes_candidates(signature, constants)
    fixed = list(fixed_ways(signature, constants))
    usual = [way for way in fixed if not way.exact]
    yield from usual
    if guesses or not fixed:
        yield None
    yield from (way for way in fixed if way.exact)
    yield from whole_ways(signature, constants, guesses)


def _fit(
    session: Session,
    data: _Data,
    notes: list[str],
    guesses: Sequence[Mapping[str, int | None]] | None = None,
    *,
    row_by_row: bool,
) -> Fit:
    model, signature, sample = session.model, session.signature, data.sample
    if guesses is None:
        constants = frozenset(data.facts.sets)
        guesses = input_axes_candidates(signature, constants) or [dict.fromkeys(spec.name for spec in signature.inputs)]
    # What is drawn at random tells nothing of the rows.
    attempt = _best_attempt(still(session), guesses, data, row_by_row)
    notes = [*notes, *_by_position(attempt.binding, session)]
    drawn = drawn_by(model.path)
    if drawn:
        notes.append(f"the model draws random numbers ({', '.join(drawn)}): each run of it gives others")
    check, proof, told = attempt.check, attempt.proof, attempt.told
    if not row_by_row:
        missing = [name for name, axis in check.outputs.items() if axis is None] if check is not None else []
        if missing:
            row_by_row = True
            why = " (as long as the values of the rows make it)" if proof.counts.intersection(missing) else ""
            notes.append(
                f"output {', '.join(missing)} carries no rows{why}: rows run one by one, and each gets its own"
            )
        elif check is not None and not check.independent:
            row_by_row = True
            more = "" if data.facts.together or proof.ends or not proof.scales else SCALES
            notes.append(f"rows influence one another ({check.message}): rows run one by one{more}")
        elif check is not None and check.message:
            notes.append(check.message)
        elif check is not None and proof.ends is not None:
            notes.append(f"rows are probed, not proven, to be independent ({proof.ends}): {AUDIT}")
        elif attempt.run_seconds and check is None:
            row_by_row = True
            notes.append(
                f"rows are not proven to be independent ({proof.ends}), and to probe them takes longer than planning "
                "may: rows run one by one (--plan_seconds 60 gives it more time)"
            )
        elif check is None and not proof.holds and sample is not None and sample.num_rows:
            row_by_row = True
            notes.append(f"rows are {proof.line}, and no sample row could be run: rows run one by one")
    if row_by_row:
        told = f"{proof.line}; they run one by one"
    if row_by_row and attempt.feeds is not None and attempt.sample is not None:
        bound, tried = attempt.binding.open(attempt.sample), attempt.sample.num_rows if proof.counts else 1
        attempt = replace(attempt, outputs=attempt.first)
        for row in range(1, min(LIST_ROWS, tried)):
            other = run_row(session, bound, row)
            if other is not None and any(other[name].shape[:1] != (1,) for name in proof.counts):
                # One that shows that an axis is no batch of one row, but a list.
                attempt = replace(attempt, outputs=other)
                break
    if attempt.outputs is None and sample is not None and sample.num_rows:
        notes.append("none of the sample rows could be scored: shapes are taken from the model's signature")
    fixed = all(None not in bound.row_shape for bound in attempt.binding.inputs)
    outputs = output_columns(
        signature,
        SeenOutputs(None if check is None else check.outputs, attempt.outputs, proof.counts),
        row_by_row=row_by_row,
        steady=fixed and not varies_with_data(model.path),
        symbols={1, *_rows_symbols(signature, attempt.binding)},
    )
    alike = bool(proof.scales) and not row_by_row
    # Blocks of N are as long as they are, however many rows are fed.
    most = attempt.most_rows if blocks_of(model.rewrites) is None else None
    plan = ScoringPlan(model, attempt.binding, outputs, 1, row_by_row=row_by_row, alike=alike, most_rows=most)
    return Fit(plan, session, attempt.sample, tuple(notes), told, drawn, attempt.run_seconds)


def _rows_symbols(signature: Signature, binding: Binding) -> Iterator[str]:
    """The names that inputs declare on the axis of the rows."""
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    for bound in binding.inputs:
        symbol = (shapes[bound.name] or ())[bound.rows_axis : bound.rows_axis + 1]
        if symbol and isinstance(symbol[0], str) and symbol[0] != "?":
            yield symbol[0]


def _by_position(binding: Binding, session: Session) -> Iterator[str]:
    """Notes on columns that nobody named.

    Raises:
        UsageError: the model's metadata name others.
    """
    for bound in binding.inputs:
        if bound.name not in binding.by_position:
            continue
        metadata = session.raw.get_modelmeta().custom_metadata_map
        told = check_features(metadata, bound.columns, f"the model's input {bound.name!r}")
        if told is None and len(bound.columns) > 1:
            yield (
                f"input {bound.name!r} takes {len(bound.columns)} columns in the order of the file "
                f"({shorten(bound.columns)}); if the model has another, say it with --columns {bound.name}=…"
            )


def _best_attempt(
    session: Session,
    guesses: Sequence[Mapping[str, int | None]],
    data: _Data,
    row_by_row: bool,
) -> _Attempt:
    """The first guess of the rows' axes that binds and keeps rows apart, else the best that binds."""
    first_error: UsageError | None = None
    best: _Attempt | None = None
    signature = session.signature
    named = False
    for guess in guesses:
        if named and not named_rows(signature, guess):
            # Rows ran on the axis that the model calls the batch: that they meet there makes no other the rows' axis.
            continue
        axes = with_constants(guess, signature, data.facts.sets)
        try:
            binding = bind_by_sizes(
                partial(_bind, signature, axes, data),
                lambda bound, rows, row: run_row(session, bound.open(rows), row),
                data.sample,
            )
        except UsageError as error:
            first_error = first_error or error
            continue
        # Rows may be left unprobed only where nothing else could be the rows' axis.
        sure = len(guesses) == 1 or named_rows(signature, guess)
        attempt = _try(session, binding, axes, data if sure else replace(data, budget=UNLIMITED), row_by_row)
        if _settles(attempt, data.sample, row_by_row):
            return attempt
        if best is None or _worth(attempt) > _worth(best):
            best = attempt
        named = named or (attempt.feeds is not None and named_rows(signature, guess))
    if best is None:
        raise first_error or UsageError("the model has no input that can carry rows")
    return best


def _bind(
    signature: Signature,
    axes: Mapping[str, int | None],
    data: _Data,
    unnamed: Collection[str] = (),
) -> Binding:
    return bind(without_names(signature, unnamed), axes, data.schema, data.facts)


def _settles(attempt: _Attempt, sample: pa.RecordBatch | None, row_by_row: bool) -> bool:
    """Whether no other guess need be tried: rows keep apart, or there are no rows to try it with."""
    if sample is None or not sample.num_rows:
        return True
    if row_by_row or (attempt.run_seconds and attempt.check is None):
        return attempt.feeds is not None
    return _worth(attempt) == 3


def _worth(attempt: _Attempt) -> int:
    """0 if no sample row ran, else more the better rows keep apart; a guess of which rows ran is better than one
    of which none did."""
    if attempt.feeds is None:
        return 0
    if attempt.check is None or not attempt.check.independent:
        return 1
    return 3 if all(axis is not None for axis in attempt.check.outputs.values()) else 2


def _try(session: Session, binding: Binding, axes: Mapping[str, int | None], data: _Data, row_by_row: bool) -> _Attempt:
    signature, together = session.signature, data.facts.together
    proof = prove(session.model, signature, axes, {bound.name: bound.row_shape for bound in binding.inputs})
    unlike = proof.ends is not None and not row_by_row
    look = Look(PROBE_ROWS if unlike else SAMPLE_RUN_ROWS, unlike, data.budget)
    tried = try_rows(session, binding, data.sample, look)
    if tried is None:
        return _Attempt(binding, None, None, None, None, proof, proof.line)
    usable, once = tried.sample, ((1, tried.seconds),) if tried.few else ()
    bound = binding.open(usable)
    rows = FEW_ROWS if tried.few else SAMPLE_RUN_ROWS
    indices = np.arange(rows) % usable.num_rows
    if row_by_row or (tried.few and unlike):
        feeds = bound.take(indices[:1])
        return _Attempt(binding, None, feeds, None, usable, proof, proof.line, first=tried.alone[0], run_seconds=once)
    feeds = {name: np.array(values) for name, values in bound.take(indices).items()}
    names = [spec.name for spec in signature.outputs]
    runs: list[list[Array]] = []

    def run(part: Mapping[str, Array]) -> list[Array]:
        runs.append(session.run(dict(part)))
        return runs[-1]

    alone = [list(tried.alone[row].values()) for row in indices.tolist() if row < len(tried.alone)]
    began = time.perf_counter()
    seen = check_axes(run, feeds, axes, names, quantised=bool(proof.scales) and together, alone=alone)
    if tried.few and len(runs) == 1:
        once = (*once, (rows, time.perf_counter() - began))
    # The first run is the one of all rows, and the only one if it fails.
    outputs = dict(zip(names, runs[0], strict=True)) if runs else None
    few = np.arange(min(PROBE_ROWS, max(SAMPLE_RUN_ROWS, usable.num_rows))) % usable.num_rows
    probed = {name: np.array(values) for name, values in bound.take(few).items()}
    check, told, most = judge(session.run, probed, axes, proof, seen, together)
    return _Attempt(binding, check, feeds, outputs, usable, proof, told, most, tried.alone[0], once)
