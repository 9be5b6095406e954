"""The stages run one after another in this process, and the check that they give what the whole model gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile, quantises_at_run
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.runs import Runs
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions, get_session
from beamsplit.models.running.still_session import still
from beamsplit.models.split.leeway import TOLERANCES, Leeway, leeway
from beamsplit.models.split.plan import Plan
from beamsplit.models.values.tensors import Array

QUANTISED = 0.02
"""Largest difference of models that quantise as they run: a sum in another order may round to the next of 255 steps."""


def tolerance_of(model: str) -> float | None:
    """How far shards of the model file may be from the whole model; None for what its output types allow."""
    return QUANTISED if quantises_at_run(model) else None


class StageChain:
    """Sessions of a plan's stages, in their order. `run` may be called from many threads at once."""

    def __init__(self, sessions: Sequence[Runs], plan: Plan) -> None:
        """One session a stage of a plan that `save_stages` returned."""
        self.sessions = tuple(sessions)
        self.plan = plan

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """All outputs of the whole model, in its order, for one array an input.

        Raises:
            ModelRunError: a stage failed; the message begins with it.
        """
        blocks = blocks_of(self.plan.rewrites)
        return self._outputs(feeds) if blocks is None else blocks.run(self._outputs, feeds)

    def _outputs(self, feeds: dict[str, Array]) -> list[Array]:
        values = dict(feeds)
        for stage, session in zip(self.plan.stages, self.sessions, strict=True):
            try:
                made = session.run({name: values[name] for name in stage.inputs})
            except ModelRunError as error:
                raise ModelRunError(f"stage {stage.index}: {error}") from error
            kept = {*stage.passes, *self.plan.outputs}
            for later in self.plan.stages[stage.index + 1 :]:
                kept.update(later.inputs)
            values = {name: value for name, value in values.items() if name in kept}
            values.update(zip(stage.outputs, made, strict=True))
        return [values[name] for name in self.plan.outputs]

    def still(self) -> StageChain:
        """The chain of the stages' still twins (`models.graph.random_draws`); itself where none draws."""
        sessions = [still_parts(session) for session in self.sessions]
        same = all(one is other for one, other in zip(sessions, self.sessions, strict=True))
        return self if same else StageChain(sessions, self.plan)


def open_chain(plan: Plan, folder: str, options: SessionOptions) -> StageChain:
    """The chain of the stages saved in the folder.

    Raises:
        UsageError: a stage's file is missing or ONNX Runtime cannot load it.
    """
    missing = [stage for stage in plan.stages if stage.file is None]
    if missing:
        raise UsageError(f"stage {missing[0].index} of the plan has no file: save the stages with --save_stages DIR")
    files = [ModelFile(os.path.join(folder, str(stage.file))) for stage in plan.stages]
    return StageChain([get_session(file, options) for file in files], plan)


@dataclass(frozen=True)
class ChainCheck:
    """How far the chain is from the whole model."""

    differences: dict[str, float]
    """Largest difference of each output, as a share of its largest magnitude; infinite where shapes differ."""

    lines: tuple[str, ...]
    """One line an output for the user."""


class RunsModel(Protocol):
    """What gives all outputs of a model."""

    def run(self, feeds: dict[str, Array]) -> list[Array]:
        """All outputs of the model, in its order, for one array an input."""


def check_chain(
    whole: Session, chain: RunsModel, feeds: dict[str, Array], tolerance: float | None = None
) -> ChainCheck:
    """`check_same` for the stages of a model split by depth."""
    fix = "leave --stages and --plan out to run it whole"
    return check_same(whole, chain, feeds, tolerance, of="the stages do", fix=fix)


def check_same(
    whole: Runs, parts: RunsModel, feeds: dict[str, Array], tolerance: float | None = None, *, of: str, fix: str
) -> ChainCheck:
    """Run both on the same rows and compare each output.

    Numbers are compared by their largest difference over the output's largest magnitude; NaN equals NaN, an
    infinity itself. Integers, booleans and strings must be equal. What does not meet that is held against what the
    output is made by, and against how far the whole model's own runs are apart (`models.split.leeway`). A model that
    draws random numbers is compared by its still twin.

    Args:
        whole: the whole model.
        parts: what it was split into.
        feeds: one array an input.
        tolerance: for all floating-point outputs; by default that of `TOLERANCES`.
        of: what was split, with its verb, for the message.
        fix: what to do about a difference.

    Raises:
        UsageError: an output differs by more than the tolerance.
    """
    if isinstance(whole, Session):
        whole, parts = still(whole), still_parts(parts)
    differences, lines, broken = {}, [], []
    given, made = whole.run(feeds), parts.run(feeds)
    room: Leeway | None = None
    for at, (spec, one, other) in enumerate(zip(whole.signature.outputs, given, made, strict=True)):
        limit = TOLERANCES.get(spec.dtype, 0.0)
        if limit and tolerance is not None:
            limit = tolerance
        difference = difference_of(one, other)
        differences[spec.name] = difference
        line, good = f"{spec.name}: largest difference {difference:.2g} of its magnitude", difference <= limit
        if not good and isinstance(whole, Session):
            room = leeway(whole, feeds, given) if room is None else room
            more, good = room.holds(at, spec.name, np.asarray(one), np.asarray(other), limit)
            lines.append(f"{line} ({more})")
        else:
            lines.append(f"{line} (at most {limit:.2g})")
        if not good:
            broken.append(lines[-1])
    if broken:
        raise UsageError(f"{of} not give what the whole model gives: {'; '.join(broken)}: {fix}")
    return ChainCheck(differences, tuple(lines))


def still_parts(parts: RunsModel) -> Any:
    """The still twin of what a model was split into; itself where it draws nothing."""
    if isinstance(parts, Session):
        return still(parts)
    own = getattr(parts, "still", None)
    return parts if own is None else own()


def difference_of(one: Array, other: Array) -> float:
    """Largest difference between two arrays as a share of the largest finite magnitude in the first.

    E.g. `difference_of([1, 2], [1, 2.5])` is 0.25. Infinite where shapes, NaNs or infinities are not the same, and
    where values that are no floating-point numbers are unequal.
    """
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return float("inf")
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else float("inf")
    finite = np.isfinite(one)
    a, b = one.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(finite, np.isfinite(other)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = float(np.abs(a[finite] - b[finite]).max())
    return largest / max(float(np.abs(a[finite]).max()), float(np.finfo(np.float32).tiny))
