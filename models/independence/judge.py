"""What is made of the proof, of runs of sample rows and of the probe: whether rows may run together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from beamsplit.models.independence.crowd import crowd
from beamsplit.models.independence.probe import MOST_BYTES, ROWS, most_unlike, probe
from beamsplit.models.independence.proof import Proof, prove
from beamsplit.models.independence.rows_axis import Array, AxesCheck, Run
from beamsplit.models.running.session import Session

PROBE_ROWS = ROWS


def judge(
    run: Run,
    feeds: Mapping[str, Array],
    axes: Mapping[str, int | None],
    proof: Proof,
    seen: AxesCheck,
    together: bool = False,
) -> tuple[AxesCheck, str, int | None]:
    """(the axes of the outputs and whether rows are independent, that in words, most rows of a run; None for any).

    Args:
        run: runs the model.
        feeds: of a few rows, the most unlike ones where the proof ends.
        axes: of the inputs.
        proof: what the graph says.
        seen: what runs of three rows, two and one showed.
        together: whether rows may run together that meet only in scales of all rows of a run.
    """
    outputs = {name: _axis(name, axis, proof) for name, axis in seen.outputs.items()}
    check = replace(seen, outputs=outputs)
    if all(axis is None for axis in outputs.values()):
        return replace(check, independent=False), proof.line, None
    if proof.ends is not None:
        if not check.independent:
            return check, proof.line, None
        if all(feeds[name].size == 0 for name, axis in axes.items() if axis is not None):
            return check, f"{proof.line}; no row holds a value that could influence another", None
        reason, runs = probe(run, feeds, axes, list(outputs.items()))
        if reason is None and not runs:
            none = f"{proof.ends}, and no sample row could be replaced to probe it"
            return replace(check, independent=False, message=none), proof.line, None
        most = None
        if reason is None:
            reason, most = crowd(run, feeds, axes, list(outputs.items()))
        if reason is not None:
            return replace(check, independent=False, message=f"{reason}; {proof.ends}"), proof.line, None
        probed = f"probed: in {runs} runs with rows replaced no other row changed, nor among {most} rows"
        return check, f"{proof.line}; {probed}, the most that run together", most
    if proof.scales:
        if not together:
            message = proof.line.removeprefix("independent but for ")
            return replace(check, independent=False, message=message), proof.line, None
        return check, f"{proof.line}; accepted: those of like size run together", None
    if proof.random and not math.isinf(seen.largest_difference):
        return replace(check, independent=True, message=""), proof.line, None
    return check, proof.line, None


def _axis(name: str, axis: int | None, proof: Proof) -> int | None:
    """The axis of the rows in an output: what the graph says is before what a few runs show."""
    return None if name in proof.counts else proof.outputs.get(name, axis)


class _Bound(Protocol):
    """A `BoundBlock`."""

    def take(self, indices: Array) -> dict[str, Array]: ...


class _BoundInput(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def rows_axis(self) -> int: ...


class _Binding(Protocol):
    @property
    def inputs(self) -> tuple[_BoundInput, ...]: ...


def unlike_first(binding: _Binding, bound: _Bound, rows: Array, count: int) -> Array:
    """Those rows, the most unlike of them first.

    Args:
        binding: of the inputs.
        bound: sample rows.
        rows: positions of one shape, none of them bad.
        count: of unlike ones.
    """
    if len(rows) < 3:
        return rows
    one = sum(values.nbytes for values in bound.take(rows[:1]).values())
    looked = rows[: max(count, MOST_BYTES // max(1, one))]
    feeds = bound.take(looked)
    columns = [np.moveaxis(feeds[each.name], each.rows_axis, 0) for each in binding.inputs]
    first = looked[most_unlike(columns, count)]
    return np.concatenate([first, rows[~np.isin(rows, first)]])


def coupling(session: Session, feeds: Mapping[str, Array]) -> str | None:
    """Why rows of a model influence one another, or may; None where they are proven not to, or a probe shows nothing.

    Args:
        session: of the model, whose inputs all have the rows on the first axis.
        feeds: unlike rows.
    """
    axes: dict[str, int | None] = dict.fromkeys(feeds, 0)
    proof = prove(session.model, session.signature, axes)
    if proof.holds:
        return None
    if proof.ends is None:
        return f"rows are {proof.line}"
    reason, runs = probe(session.run, feeds, axes, [(spec.name, 0) for spec in session.signature.outputs])
    return reason if reason is not None or runs else f"rows are {proof.line}, and no run could probe it"
