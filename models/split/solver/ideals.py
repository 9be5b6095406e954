"""Cuts of a graph: every down-set of units ("ideal") is a place (Tarnawski et al. 2020, section 4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from beamsplit.models.split.solver.kept import KeptOfIdeals, kept_of_ideals
from beamsplit.models.split.solver.problem import CHAIN, Bools, Floats, Ints, Problem

Words = NDArray[np.uint64]

MOST_AT_ONCE = 4_000_000
"""Pairs of ideals that are compared at once."""


class Ideals:
    """All cuts of a graph with few of them. Places are ideals, fewer units first."""

    def __init__(self, problem: Problem, members: list[int], parents: list[list[int]]) -> None:
        units = len(problem.seconds)
        self.members = members
        bits = _unpacked(members, units)
        self._bits: Bools = bits
        # Summed in order: a matrix product may round otherwise on another machine.
        self.starts: Floats = np.zeros(len(members))
        for unit in range(units):
            self.starts += np.where(bits[:, unit], problem.work[unit], 0.0)
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
        for begin, end in _runs([mask.bit_count() for mask in members]):
            flat = [parent for at in range(begin, end) for parent in parents[at]]
            offsets = np.cumsum([0, *(len(parents[at]) for at in range(begin, end))])[:-1]
            self._levels.append((begin, end, np.array(flat, dtype=np.int64), np.array(offsets, dtype=np.int64)))
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
        return np.flatnonzero(self.inside(np.arange(place), np.array([place], dtype=np.int64))[:, 0])

    def levels(self) -> Iterator[tuple[int, int]]:
        """See `pairs.Places`."""
        for begin, end, _, _ in self._levels:
            step = max(1, MOST_AT_ONCE // begin)
            yield from ((at, min(at + step, end)) for at in range(begin, end, step))

    def inside(self, starts: Ints, ends: Ints) -> Bools:
        """See `pairs.Places`."""
        outside = np.zeros((len(starts), len(ends)), dtype=np.bool_)
        for word in range(self._words.shape[1]):
            outside |= (self._words[starts, word][:, None] & ~self._words[ends, word][None, :]) != 0
        return ~outside & (starts[:, None] < ends[None, :])

    def kept(self, starts: Ints, ends: Ints) -> Floats:
        """See `Cuts`."""
        if self._problem.links == CHAIN:
            return np.zeros((len(starts), len(ends)))
        return self._kept.between(starts, ends)

    def fits(self, starts: Ints, ends: Ints, memory_bytes: float) -> Bools:
        """See `pairs.Places`."""
        problem = self._problem
        whole = math.fsum(weight.nbytes for weight in problem.weights if weight.users) + problem.activations.max()
        if memory_bytes >= whole:
            return np.ones((len(starts), len(ends)), dtype=np.bool_)
        first, last = self._bits[starts], self._bits[ends]
        held = np.zeros((len(starts), len(ends)))
        for unit in np.argsort(problem.activations, kind="stable"):
            held[~first[:, unit][:, None] & last[:, unit][None, :]] = problem.activations[unit]
        for weight in problem.weights:
            users = sorted(set(weight.users))
            held += weight.nbytes * (last[:, users].sum(axis=1)[None, :] > first[:, users].sum(axis=1)[:, None])
        found: Bools = held <= memory_bytes
        return found

    def stage_of(self, places: Sequence[int]) -> tuple[int, ...]:
        """The stage of each unit, for the places where stages begin and end."""
        behind = np.sum([~self._bits[place] for place in places[1:-1]], axis=0, dtype=np.int64)
        return tuple(int(stage) for stage in np.broadcast_to(behind, (self._bits.shape[1],)))

    @cached_property
    def _words(self) -> Words:
        """The members as 64 units a word: [ideals, words]."""
        packed = np.packbits(self._bits, axis=1, bitorder="little")
        spare = -packed.shape[1] % 8
        return np.pad(packed, ((0, 0), (0, spare))).view(np.uint64)

    @cached_property
    def _kept(self) -> KeptOfIdeals:
        return kept_of_ideals(self._problem, self._bits)

    @cached_property
    def memory(self) -> Floats:
        """Bytes of the stage between two ideals [begin, end]; infinite where the first is not inside the second."""
        bits, problem = self._bits, self._problem
        inside = (bits.astype(np.float64) @ (~bits).T.astype(np.float64)) == 0
        np.fill_diagonal(inside, False)
        memory = np.zeros(inside.shape)
        for unit in np.argsort(problem.activations, kind="stable"):
            memory[~bits[:, unit][:, None] & bits[:, unit][None, :]] = problem.activations[unit]
        for weight in problem.weights:
            count = bits[:, sorted(set(weight.users))].sum(axis=1)
            memory += weight.nbytes * (count[None, :] > count[:, None])
        return np.where(inside, memory, math.inf)


def _unpacked(members: Sequence[int], units: int) -> Bools:
    size = (units + 7) // 8
    data = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in members), dtype=np.uint8)
    bits = np.unpackbits(data.reshape(len(members), size), axis=1, bitorder="little")[:, :units]
    return bits.astype(np.bool_)


def _runs(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of equal sizes behind the first place."""
    begin = 0
    for _, run in itertools.groupby(sizes):
        end = begin + len(list(run))
        if begin:
            yield begin, end
        begin = end


def ideals(problem: Problem, most: int) -> Ideals | None:
    """All ideals, or None where there are more than `most`."""
    needs = [sum(1 << earlier for earlier in units) for units in problem.before]
    first = sum(1 << unit for unit, need in enumerate(needs) if not need)
    members: list[int] = [0]
    ready: list[int] = [first]
    parents: list[list[int]] = [[]]
    number = {0: 0}
    at = 0
    while at < len(members):
        mask, left = members[at], ready[at]
        while left:
            bit = left & -left
            left ^= bit
            larger = mask | bit
            known = number.get(larger)
            if known is None:
                if len(members) >= most:
                    return None
                known = number[larger] = len(members)
                members.append(larger)
                parents.append([])
                unit = bit.bit_length() - 1
                more = sum(1 << later for later in problem.after[unit] if not needs[later] & ~larger)
                ready.append(ready[at] & ~bit | more)
            parents[known].append(at)
        at += 1
    return Ideals(problem, members, parents)
