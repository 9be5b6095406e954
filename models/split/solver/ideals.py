"""Cuts of a graph: every down-set of units ("ideal") is a place (Tarnawski et al. 2020, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from beamsplit.models.split.solver.problem import Bools, Floats, Ints, Problem


class Ideals:
    """All cuts of a graph with few of them. Places are ideals, fewer units first."""

    def __init__(self, problem: Problem, members: list[int], parents: list[list[int]]) -> None:
        units = len(problem.seconds)
        self.members = members
        bits = np.array([[mask >> unit & 1 for unit in range(units)] for mask in members], dtype=np.bool_)
        self._bits: Bools = bits
        # Summed in order: a matrix product may round otherwise on another machine.
        self.starts: Floats = np.cumsum(np.where(bits, problem.work, 0.0), axis=1)[:, -1]
        self.ends = self.starts
        self.crossing: Floats = np.zeros(len(members))
        self.allowed: Bools = np.ones(len(members), dtype=np.bool_)
        for value in problem.values:
            if not value.consumers and not value.is_output:
                continue
            made = bits[:, value.producer] if value.producer >= 0 else np.ones(len(members), dtype=np.bool_)
            wanted = np.full(len(members), value.is_output)
            wanted |= ~bits[:, list(value.consumers)].all(axis=1)
            self.crossing += value.nbytes * (made & wanted)
            if not value.may_cross:
                self.allowed &= ~(made & wanted)
        self.allowed[0] = self.allowed[-1] = True
        self._levels: list[tuple[int, int, Ints, Ints]] = []
        sizes = [mask.bit_count() for mask in members]
        begin = 1
        while begin < len(members):
            end = begin
            while end < len(members) and sizes[end] == sizes[begin]:
                end += 1
            flat = [parent for at in range(begin, end) for parent in parents[at]]
            offsets = np.cumsum([0, *(len(parents[at]) for at in range(begin, end))])[:-1]
            self._levels.append((begin, end, np.array(flat, dtype=np.int64), np.array(offsets, dtype=np.int64)))
            begin = end
        self._memory: Floats | None = None
        self._problem = problem

    def lowest(self, key: Floats, memory_bytes: float) -> Floats:
        """See `Cuts`."""
        found = np.full_like(key, math.inf)
        if memory_bytes < math.inf:
            fits = self.memory <= memory_bytes
            for row in range(len(key)):
                found[row] = np.where(fits, key[row][:, None], math.inf).min(axis=0)
            return found
        below = key.copy()
        for begin, end, parents, offsets in self._levels:
            found[:, begin:end] = np.minimum.reduceat(below[:, parents], offsets, axis=1)
            np.minimum(below[:, begin:end], found[:, begin:end], out=below[:, begin:end])
        return found

    def starts_of(self, place: int, memory_bytes: float) -> Ints:
        """See `Cuts`."""
        if memory_bytes < math.inf:
            return np.flatnonzero(self.memory[:, place] <= memory_bytes)
        mask = self.members[place]
        return np.array([at for at in range(place) if self.members[at] & ~mask == 0], dtype=np.int64)

    def stage_of(self, places: Sequence[int]) -> tuple[int, ...]:
        """The stage of each unit, for the places where stages begin and end."""
        behind = np.sum([~self._bits[place] for place in places[1:-1]], axis=0, dtype=np.int64)
        return tuple(int(stage) for stage in np.broadcast_to(behind, (self._bits.shape[1],)))

    @property
    def memory(self) -> Floats:
        """Bytes of the stage between two ideals [begin, end]; infinite where the first is not inside the second."""
        if self._memory is None:
            bits, problem = self._bits, self._problem
            inside = (bits.astype(np.float64) @ (~bits).T.astype(np.float64)) == 0
            np.fill_diagonal(inside, False)
            memory = np.zeros(inside.shape)
            for unit in np.argsort(problem.activations, kind="stable"):
                memory[~bits[:, unit][:, None] & bits[:, unit][None, :]] = problem.activations[unit]
            for weight in problem.weights:
                count = bits[:, sorted(set(weight.users))].sum(axis=1)
                memory += weight.nbytes * (count[None, :] > count[:, None])
            self._memory = np.where(inside, memory, math.inf)
        return self._memory


def ideals(problem: Problem, most: int) -> Ideals | None:
    """All ideals, or None where there are more than `most`."""
    needs = [sum(1 << earlier for earlier in units) for units in problem.before]
    members: list[int] = [0]
    parents: list[list[int]] = [[]]
    number = {0: 0}
    at = 0
    while at < len(members):
        mask = members[at]
        for unit, need in enumerate(needs):
            if mask >> unit & 1 or need & ~mask:
                continue
            larger = mask | 1 << unit
            if larger not in number:
                if len(members) >= most:
                    return None
                number[larger] = len(members)
                members.append(larger)
                parents.append([])
            parents[number[larger]].append(at)
        at += 1
    return Ideals(problem, members, parents)
