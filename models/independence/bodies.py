"""If, Loop and Scan: bodies are followed where what they decide is the same for all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from beamsplit.models.independence.dims import unknown
from beamsplit.models.independence.lies import (
    Ends,
    Given,
    Lie,
    Met,
    Numbered,
    Rows,
    Same,
    at,
    missing,
    shape_of,
    the_same,
    wider,
)
from beamsplit.models.independence.reading import Graph, Node

if TYPE_CHECKING:
    from beamsplit.models.independence.walk import Walk

Lies = Mapping[str, Lie]

ROUNDS = 6
"""Tries to find what a loop's states have in common before and after a round."""


def if_else(
    walk: Walk,
    node: Node,
    given: Sequence[Given | None],
    around: Mapping[str, Lie],
    opsets: Mapping[str, int],
    depth: int,
) -> list[Lie]:
    """If: one condition for all rows."""
    condition = given[0]
    the_same(condition, "condition")
    bodies = [_body(node, name) for name in ("then_branch", "else_branch")]
    if isinstance(condition, Same) and condition.content is not None:
        known = condition.content[0].known
        if known is not None:
            bodies = [bodies[0] if known else bodies[1]]
    ends = []
    for body in bodies:
        made = walk.graph(body, around, opsets, depth)
        ends.append([made.get(name, missing(name)) for name in body.outputs])
    if len(ends) == 1:
        return ends[0]
    return [wider(one, other) for one, other in zip(*ends, strict=True)]


def loop(
    walk: Walk,
    node: Node,
    given: Sequence[Given | None],
    around: Mapping[str, Lie],
    opsets: Mapping[str, int],
    depth: int,
) -> list[Lie]:
    """Loop: as many rounds for all rows; states keep their rows, what is collected gets an axis before them."""
    for one in given[:2]:
        the_same(one, "number of rounds")
    body = _body(node, "body")
    states: list[Lie] = [_loose(one) for one in given[2:]]

    def round_of(states: list[Lie]) -> list[Lie]:
        inside = {**around, **dict(zip(body.inputs, [Same(()), Same(()), *states], strict=True))}
        made = walk.graph(body, inside, opsets, depth)
        return [made.get(name, missing(name)) for name in body.outputs]

    made, states = _settled(round_of, states, first=1)
    condition = made[0]
    if not isinstance(condition, Same) or condition.counts_rows:
        raise Ends("how often it goes round depends on the rows")
    return [*states, *(_stacked(one) for one in made[1 + len(states) :])]


def scan(
    walk: Walk,
    node: Node,
    given: Sequence[Given | None],
    around: Mapping[str, Lie],
    opsets: Mapping[str, int],
    depth: int,
) -> list[Lie]:
    """Scan along axes that are not the rows'."""
    if node.opset < 9:
        raise Ends("it is of an opset that is not known")
    body = _body(node, "body")
    count = node.whole("num_scan_inputs")
    first = len(given) - count
    axes = node.ints("scan_input_axes") or [0] * count
    pieces: list[Lie] = [_slice(one, axis) for one, axis in zip(given[first:], axes, strict=True)]
    states: list[Lie] = [_loose(one) for one in given[:first]]

    def round_of(states: list[Lie]) -> list[Lie]:
        inside = {**around, **dict(zip(body.inputs, [*states, *pieces], strict=True))}
        made = walk.graph(body, inside, opsets, depth)
        return [made.get(name, missing(name)) for name in body.outputs]

    made, states = _settled(round_of, states, first=0)
    collected = made[len(states) :]
    places = node.ints("scan_output_axes") or [0] * len(collected)
    return [*states, *(_stacked(one, axis) for one, axis in zip(collected, places, strict=True))]


def _body(node: Node, name: str) -> Graph:
    body = node.graph(name)
    if body is None:
        raise Ends("it has no body")
    return body


def _loose(one: Given | None) -> Lie:
    """A first state: its values are those of the first round only."""
    if isinstance(one, Same):
        the_same(one, "first state")
        return Same(one.shape)
    if one is None:
        raise Ends("a first state is absent")
    return one


def _settled(round_of: Callable[[list[Lie]], list[Lie]], states: list[Lie], first: int) -> tuple[list[Lie], list[Lie]]:
    """(what a round gives, states that hold before and after every round)."""
    for _ in range(ROUNDS):
        made = round_of(states)
        for one in made:
            if isinstance(one, Met):
                return made, [one] * len(states)
        behind = made[first : first + len(states)]
        held = [wider(_plain(before), _plain(after)) for before, after in zip(states, behind, strict=True)]
        if all(_as_loose(a, b) for a, b in zip(held, states, strict=True)):
            return made, held
        states = held
    raise Ends("what its states are is not settled")


def _plain(one: Lie) -> Lie:
    if isinstance(one, Numbered):
        return one.met()
    if isinstance(one, Same):
        the_same(one, "state")
        return Same(one.shape)
    return one


def _as_loose(a: Lie, b: Lie) -> bool:
    """Whether nothing more than names of unknown sizes changed."""
    if isinstance(a, Met | Numbered) or isinstance(b, Met | Numbered) or type(a) is not type(b):
        return False
    if (a.shape is None) != (b.shape is None):
        return False
    return all(
        x == y or (x.known is None and y.known is None) for x, y in zip(a.shape or (), b.shape or (), strict=True)
    )


def _slice(one: Given | None, axis: int) -> Lie:
    shape = shape_of(one)
    axis = at(axis, len(shape))
    made = (*shape[:axis], *shape[axis + 1 :])
    if isinstance(one, Rows):
        if one.axis == axis:
            raise Ends("it goes from row to row")
        return one.shaped(one.axis - (axis < one.axis), made)
    the_same(one, "data")
    return Same(made)


def _stacked(one: Lie, axis: int = 0) -> Lie:
    if isinstance(one, Met):
        return one
    if isinstance(one, Numbered):
        return one.met()
    if one.shape is None:
        return Same()
    axis = at(axis, len(one.shape) + 1)
    made = (*one.shape[:axis], unknown(), *one.shape[axis:])
    if isinstance(one, Rows):
        return one.shaped(one.axis + (axis <= one.axis), made)
    the_same(one, "collected value")
    return Same(made)


BODIES = {"If": if_else, "Loop": loop, "Scan": scan}
