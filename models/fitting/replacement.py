"""A model that takes the place of another while rows flow: what they must have in common.

signature the same -> every row that the old one scores -> rows keep apart, on the same axes -> golden rows, warm
-> takes over
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import SHOWN, Names, class_names
from beamsplit.models.fitting.model_check import ModelCheck, compare
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.independence.judge import PROBE_ROWS, judge, unlike_first
from beamsplit.models.independence.proof import prove
from beamsplit.models.independence.rows_axis import check_axes
from beamsplit.models.running.runs import Runs
from beamsplit.models.running.session import Session, SessionOptions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.values.row_difference import rows_with_nan

Array: TypeAlias = "np.ndarray[Any, Any]"

CHECK_ROWS = 256
"""Most rows that a new model is tried on."""

_TOGETHER = 3
"""Rows run together and alone: `check_axes` needs as many."""


def load_replacement(
    old: Scorer, path: str, options: SessionOptions, rows: pa.RecordBatch, check: ModelCheck | None = None
) -> Scorer:
    """Load a model in the place of another, try it and warm it.

    Args:
        old: what scores now.
        path: the new model, on this machine.
        options: of its session.
        rows: a few rows as the model gets them.
        check: rows on which it is compared with the old one; None for none.

    Raises:
        UsageError: it cannot take the place; one line with both sides.
    """
    model = ModelFile(path, old.plan.model.rewrites)
    session = Session(model, options)
    difference = signature_difference(old.session.signature, session.signature)
    if difference is not None:
        raise UsageError(f"{difference}; a new model takes and gives what the one before did")
    _check_classes(old.session, session)
    new = Scorer(replace(old.plan, model=model), session)
    check_scores(old, new, rows)
    if not old.plan.row_by_row:
        check_rows_apart(new, rows)
    if check is not None:
        compare(old, new, check)
    new.score(rows)
    return new


def _check_classes(old: Runs, new: Session) -> None:
    """Raise if the new model's scores are those of other classes: predictions would bear the names of the old ones.

    Raises:
        UsageError: with the classes of both.
    """
    if not isinstance(old, Session) or not os.path.exists(old.model.path):
        return  # a model in parts is not replaced
    before, after = (class_names(one.model.path, one.raw.get_modelmeta().custom_metadata_map) for one in (old, new))
    for output in new.signature.outputs:
        was, now = before.told(output.name), after.told(output.name)
        if was != now:
            raise UsageError(
                f"its output {output.name!r} is for the classes {_shown(now)}, and for {_shown(was)} before"
            )


def _shown(names: Names) -> str:
    return ", ".join(map(str, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "") or "that it does not name"


def signature_difference(old: Signature, new: Signature) -> str | None:
    """The first difference of two signatures in one line: names, types, ranks, sizes fixed in both; None for none."""
    for role, before, after in (("input", old.inputs, new.inputs), ("output", old.outputs, new.outputs)):
        there = {spec.name: spec for spec in after}
        for spec in before:
            found = there.pop(spec.name, None)
            if found is None:
                return f"it has no {role} '{spec}', only {_listed(after)}"
            if not _alike(spec, found):
                return f"its {role} '{found}' is '{spec}' before"
        if there:
            return f"it has the {role} '{next(iter(there.values()))}', which is not there before"
    return None


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"'{spec}'" for spec in specs) or "none"


def _alike(old: TensorSpec, new: TensorSpec) -> bool:
    if old.dtype != new.dtype:
        return False
    if old.shape is None or new.shape is None:
        return True
    sizes = zip(old.shape, new.shape, strict=False)
    same = all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    return len(old.shape) == len(new.shape) and same


def check_scores(old: Scorer, new: Scorer, rows: pa.RecordBatch) -> None:
    """Raise if the new model fails on a row that the old one scores, or gives NaN where that gives none.

    Raises:
        UsageError: with how many rows, and the first reason or output.
    """
    before, after = old.score(rows), new.score(rows)
    failed, failed_before = dict(after.failures), dict(before.failures)
    worse = [row for row in failed if row not in failed_before]
    if worse:
        raise UsageError(
            f"it fails on {len(worse)} of {rows.num_rows} rows that the one before scores: {failed[worse[0]]}"
        )
    for column, was, now in zip(old.plan.outputs, before.columns, after.columns, strict=True):
        nan = np.zeros((2, rows.num_rows), bool)
        for at, (scored, values) in enumerate(((before, was), (after, now))):
            nan[at, slice(None) if scored.good is None else scored.good] = rows_with_nan(values)
        # A row that failed before may be NaN now.
        worse = [row for row in np.flatnonzero(nan[1] & ~nan[0]).tolist() if row not in failed_before]
        if worse:
            raise UsageError(
                f"its output {column.field.name!r} is NaN on {len(worse)} of {rows.num_rows} rows on which that of the "
                "one before is not"
            )


def check_rows_apart(new: Scorer, rows: pa.RecordBatch) -> None:
    """Raise if rows influence one another, or lie on other axes of the outputs than planned.

    Raises:
        UsageError: with what was seen.
    """
    plan = new.plan
    bound = plan.binding.open(rows, reuse=False)
    bad = sorted({row for row, _ in bound.bad_rows()})
    good = np.delete(np.arange(rows.num_rows), bad)
    groups = bound.groups(good)
    good = max(groups, key=len) if groups else good
    if not len(good):
        return
    axes: dict[str, int | None] = {one.name: one.rows_axis for one in plan.binding.inputs}
    axes |= {one.name: one.rows_axis for one in plan.binding.constants}
    names = [spec.name for spec in new.session.signature.outputs]
    shapes = {one.name: one.row_shape for one in plan.binding.inputs}
    proof = prove(plan.model, new.session.signature, axes, shapes)
    good = unlike_first(plan.binding, bound, good, PROBE_ROWS)
    feeds = {name: np.array(values) for name, values in bound.take(good[np.arange(_TOGETHER) % len(good)]).items()}
    more = np.arange(min(PROBE_ROWS, max(_TOGETHER, len(good)))) % len(good)
    probed = {name: np.array(values) for name, values in bound.take(good[more]).items()}

    def run(feeds: dict[str, Array]) -> list[Array]:
        return new.session.run(dict(feeds))

    found = check_axes(run, feeds, axes, names, quantised=plan.alike)
    found, told, most = judge(run, probed, axes, proof, found, plan.alike)
    if not found.independent:
        raise UsageError(f"it does not take rows together, as the one before does: {found.message}")
    if most is not None and most < plan.batch_size:
        raise UsageError(f"its rows are {told}, and {plan.batch_size} run together as the one before is run")
    for column in plan.outputs:
        if found.outputs[column.name] != column.rows_axis:
            raise UsageError(
                f"its output {column.name!r} has the rows on axis {found.outputs[column.name]}, "
                f"and {column.rows_axis} is wanted"
            )
