"""A chain of units through a graph, each of which needs the one before: where a cut lies on it says where all else may.

u1 -> u2 -> ... -> um        place 0: nothing done; place j + 1: u1 to uj are done and the next is not;
                             last place: all done
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from beamsplit.models.split.solver.problem import Bools, Floats, Problem


@dataclass(frozen=True)
class Spine:
    """Places along the chain, in their order; every cut of the graph lies at one, and a later cut at no earlier one."""

    least: Bools
    """Units that are done at least; [places, units]."""

    most: Bools
    """Units that may be done; [places, units]."""


def spine(problem: Problem, most: int) -> Spine:
    """A chain with few units beside it, of at most so many places."""
    needs = needed(problem)
    work = problem.work
    total = work.sum()
    # Work that is neither before nor behind a unit: where the cut lies on the chain says nothing of it.
    beside = total - needs @ work - needs.T @ work + work
    gain = 1 / (1 + 20 * np.maximum(beside, 0) / max(total, 1e-300))
    length, last = gain.copy(), np.full(len(work), -1)
    for unit, units in enumerate(problem.before):
        if units:
            best = max(units, key=lambda one: length[one])
            length[unit] += length[best]
            last[unit] = best
    chain = [int(length.argmax())]
    while last[chain[-1]] >= 0:
        chain.append(int(last[chain[-1]]))
    return _places(needs, _thinned(needs, work, chain[::-1], most - 3))


def needed(problem: Problem) -> Bools:
    """For each unit those that must be done with it: itself and all before; [units, units]."""
    needs = np.eye(len(problem.seconds), dtype=np.bool_)
    for unit, before in enumerate(problem.before):
        for earlier in before:
            needs[unit] |= needs[earlier]
    return needs


def held_at_least(problem: Problem, chain: Spine) -> Floats:
    """Bytes that a stage from one place to another holds: weights and activations of what must be in it;
    [places, places]."""
    places, units = chain.least.shape
    held = np.zeros((places, places))
    users = np.zeros((len(problem.weights), units))
    for at, weight in enumerate(problem.weights):
        users[at, list(weight.users)] = 1
    nbytes = np.array([weight.nbytes for weight in problem.weights])
    for begin in range(places):
        inside = ~chain.most[begin][None, :] & chain.least
        held[begin] = ((users @ inside.T.astype(np.float64)) > 0).T @ nbytes
        held[begin] += np.where(inside, problem.activations[None, :], 0.0).max(axis=1)
    return held


def _places(needs: Bools, chain: list[int]) -> Spine:
    units = len(needs)
    none, every = np.zeros((1, units), dtype=np.bool_), np.ones((1, units), dtype=np.bool_)
    least = np.concatenate([none, none, needs[chain], every])
    most = np.concatenate([none, ~needs.T[chain], every, every])
    return Spine(least, most)


def _thinned(needs: Bools, work: Floats, chain: list[int], most: int) -> list[int]:
    """Without those of the chain whose neighbours are as good: the least work lies free between them."""
    before, behind = needs[chain] @ work, needs.T[chain] @ work
    total = work.sum()
    kept = list(range(len(chain)))

    def free(at: int) -> float:
        low = before[kept[at - 1]] if at else 0.0
        high = total - (behind[kept[at + 1]] if at + 1 < len(kept) else 0.0)
        return float(high - low)

    costs = [free(at) for at in range(len(kept))]
    while len(kept) > max(most, 1):
        at = int(np.argmin(costs))
        del kept[at], costs[at]
        for near in (at - 1, at):
            if 0 <= near < len(kept):
                costs[near] = free(near)
    return [chain[at] for at in kept]
