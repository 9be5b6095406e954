"""Fit a model that fixes how many rows it takes: made dynamic where that gives the same, else in blocks of as many.

as it is, rows alone -+-> in blocks: each row the same beside others as beside its copies? -> refused if not
                      +-> made dynamic: all rows the same as in blocks? -> taken if so
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from beamsplit.models.binding.binding import Binding
from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fitted import Fit
from beamsplit.models.fitting.fixed_batch_beside import differs, find_blocks, unlike_rows
from beamsplit.models.fitting.fixed_batch_ways import Way
from beamsplit.models.graph.model_file import DYNAMIC_ROWS, WHOLE, ModelFile, rewrite
from beamsplit.models.graph.signature import Signature
from beamsplit.models.independence.proof import prove
from beamsplit.models.independence.rows_axis import Run, verify_rows
from beamsplit.models.running.blocks import Blocks
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions, get_session
from beamsplit.models.running.still_session import still

Array = np.ndarray[Any, Any]

_FEW = 3
"""Rows of a batch of one that are run together and alone."""


class FitOne(Protocol):
    """Fits one model file by one guess of its rows' axes, or by all that its open sizes give."""

    def __call__(self, model: ModelFile, axes: Mapping[str, int] | None = None, *, row_by_row: bool = False) -> Fit:
        """Raises UsageError if its inputs cannot be bound so."""


class Bind(Protocol):
    """Binds the inputs of a signature to the data."""

    def __call__(self, signature: Signature, axes: Mapping[str, int]) -> Binding:
        """Raises UsageError if they cannot be bound so."""


@dataclass(frozen=True)
class FixedBatch:
    """A model, and the way in which its rows are thought to lie."""

    base: ModelFile
    """With the rewrites that it needs anyway."""

    signature: Signature
    way: Way
    constants: Collection[str]
    options: SessionOptions

    def fit(self, fit_one: FitOne, bind: Bind) -> Fit:
        """Bring it together with the data.

        Raises:
            UsageError: the data cannot be bound so, or rows of a block influence one another.
        """
        axes = self.way.axes
        if not self.way.fits(bind(self.way.signature(self.signature), axes).inputs):
            raise UsageError("columns do not have the axes of the model's inputs")
        sizes = self.way.sizes(self.signature)
        batch = max((size for size in sizes.values() if size is not None), default=1)
        if batch > 1:
            return self._in_blocks(fit_one, batch)
        if self.way.whole or None in sizes.values():
            alone = fit_one(self._model, axes, row_by_row=True)
            note = f"each row is all of {', '.join(self.way.whole or sizes)}: rows run one by one"
            return replace(alone, notes=(*alone.notes, note))
        return self._of_one(fit_one)

    @property
    def _model(self) -> ModelFile:
        return _with(self.base, rewrite(WHOLE, list(self.way.whole))) if self.way.whole else self.base

    def _of_one(self, fit_one: FitOne) -> Fit:
        alone = fit_one(self.base, self.way.axes, row_by_row=True)
        plain = all(axis == 0 for axis in self.way.axes.values())
        changes = [DYNAMIC_ROWS] if plain else []
        reason: str | None = None
        for change in [*changes, rewrite(DYNAMIC_ROWS, dict(self.way.axes))]:
            try:
                together = fit_one(_with(self.base, change), None if change == DYNAMIC_ROWS else self.way.axes)
            except UsageError as error:
                reason = reason or str(error)
                continue
            why = self._unlike_one(alone, together)
            if why is None:
                return replace(
                    together, notes=(*together.notes, "the model's batch is fixed at 1; it was made dynamic")
                )
            reason = reason or why
        note = f"the model's batch is fixed at 1 and could not be made dynamic ({reason}): rows run one by one"
        return replace(alone, notes=(*alone.notes, note))

    def _unlike_one(self, alone: Fit, together: Fit) -> str | None:
        """Why the model made dynamic must not stand for the model as it was; None if it may."""
        if together.plan.row_by_row:
            return "several rows together do not give what each gives alone"
        if together.sample is None:
            return "there are no sample rows to check it with"
        rows = _rows(together, _FEW)
        if any(self.way.axes.values()):
            inputs = tuple((name, axis, 1) for name, axis in self.way.axes.items())
            found = tuple(column.rows_axis for column in together.plan.outputs)
            one = Blocks(inputs, found)
            return differs(
                lambda feeds: one.run(still(alone.session).run, feeds), still(together.session).run, rows, one
            )
        return verify_rows(still(alone.session).run, still(together.session).run, rows, frozenset(self.constants))

    def _in_blocks(self, fit_one: FitOne, batch: int) -> Fit:
        axes = self.way.axes
        sizes = {name: size or 1 for name, size in self.way.sizes(self.signature).items()}
        inputs = tuple((name, axes[name], sizes[name]) for name in axes)
        outputs = [0 if spec.shape is None or batch not in spec.shape else spec.shape.index(batch)
                   for spec in self.signature.outputs]  # fmt: skip
        hinted = Blocks(inputs, tuple(outputs))
        alone = fit_one(_with(self._model, hinted.to_text()), axes, row_by_row=True)
        if alone.sample is None:
            note = f"the model takes {batch} rows a run, and there were no sample rows to check how: by its declaration"
            made = fit_one(_with(self._model, hinted.to_text()), axes)
            return replace(made, plan=replace(made.plan, row_by_row=True), notes=(*made.notes, note))
        raw = get_session(self._model, self.options)
        names = [spec.name for spec in raw.signature.outputs]
        rows, found = self._found(still(raw).run, alone, inputs, names)
        if isinstance(found, str):
            raise UsageError(self._refused(batch, found))
        reason: str | None = "an input is given whole" if self.way.whole else None
        in_blocks = get_session(_with(self._model, found.to_text()), self.options)
        for changed in [] if self.way.whole else self._dynamic_axes(batch):
            try:
                together = fit_one(_with(self.base, rewrite(DYNAMIC_ROWS, changed)), axes)
            except UsageError as error:
                reason = reason or str(error)
                continue
            why: str | None = "several rows together do not give what each gives alone"
            if not together.plan.row_by_row:
                fed = {name: axis for name, axis in changed.items() if name not in axes}
                why = self._unlike_blocks(in_blocks, together, rows, found, fed)
            if why is None:
                note = f"the model's batch is fixed at {batch}; it was made dynamic"
                return replace(together, notes=(*together.notes, note))
            reason = reason or why
        one_by_one = found.rows == 1 or None in found.outputs
        made = fit_one(_with(self._model, found.to_text()), axes, row_by_row=one_by_one)
        if made.plan.row_by_row and not one_by_one:
            raise UsageError(self._refused(batch, made.notes[-1]))
        how = "rows run one by one, each with copies of itself" if one_by_one else f"rows run in blocks of {batch}"
        note = f"the model's batch is fixed at {batch} and could not be made dynamic ({reason}): {how}"
        return replace(made, notes=(*made.notes, note))

    def _found(
        self, run: Run, alone: Fit, inputs: tuple[tuple[str, int, int], ...], names: list[str]
    ) -> tuple[dict[str, Array], Blocks | str]:
        """(sample rows, as many as a block has and one more; how blocks of them are run, or why they must not be)."""
        batch = max(size for _, _, size in inputs)
        reason = "it fails on them"
        # Of the sample rows the first few are known to run; if others do not, these will do.
        for few in (batch + 1, _FEW):
            rows = _rows(alone, batch + 1, few)
            try:
                return rows, find_blocks(run, unlike_rows(rows, inputs), inputs, names)
            except ModelRunError as error:
                reason = str(error)
        if prove(self._model, self.way.signature(self.signature), dict(self.way.axes)).holds:
            try:
                return rows, find_blocks(run, rows, inputs, names)
            except ModelRunError as error:
                reason = str(error)
        return rows, f"whether its rows are independent cannot be shown ({reason})"

    def _dynamic_axes(self, batch: int) -> list[dict[str, int]]:
        """Axes to be made dynamic: also of inputs that no column fills, which may have the batch on one (a state)."""
        states = {
            spec.name: spec.shape.index(batch)
            for spec in self.signature.inputs
            if spec.name in self.constants and spec.shape is not None and batch in spec.shape
        }
        return [{**self.way.axes, **states}, dict(self.way.axes)] if states else [dict(self.way.axes)]

    def _unlike_blocks(
        self, in_blocks: Session, together: Fit, rows: dict[str, Array], blocks: Blocks, states: Mapping[str, int]
    ) -> str | None:
        changed = still(together.session).run

        def run(feeds: dict[str, Array]) -> list[Array]:
            name, axis, _ = blocks.inputs[0]
            count = feeds[name].shape[axis]
            sized = dict(feeds)
            for state, at in states.items():
                # A state that is the same for all rows: as many as there are.
                sized[state] = np.repeat(np.take(feeds[state], [0], at), count, at)
            return changed(sized)

        return differs(still(in_blocks).run, run, rows, blocks)

    def _refused(self, batch: int, reason: str) -> str:
        return (
            f"--model {self.base.path} takes exactly {batch} rows a run, and {reason}: what a row gives alone cannot "
            "be told; export it with a dynamic first dimension"
        )


def _with(model: ModelFile, *changes: str) -> ModelFile:
    return replace(model, rewrites=(*model.rewrites, *changes))


def _rows(fit: Fit, count: int, unlike: int = _FEW) -> dict[str, Array]:
    """So many sample rows, `unlike` of them at most; others are repeated."""
    assert fit.sample is not None
    taken = fit.plan.binding.open(fit.sample, reuse=False).take(np.arange(count) % min(unlike, fit.sample.num_rows))
    return {name: np.array(values) for name, values in taken.items()}
