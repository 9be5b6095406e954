"""Cuts along one order of the units: position p lies before the p-th unit of the order."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from beamsplit.models.split.solver.kept import kept_along
from beamsplit.models.split.solver.problem import CHAIN, Bools, Floats, Ints, Problem


class Cuts(Protocol):
    """Places where a stage may begin and end, from nothing done (the first) to all done (the last)."""

    starts: Floats
    """Seconds of all units before a place, where a stage begins; [places]."""

    ends: Floats
    """The same where a stage ends. They differ only where a place stands for many."""

    crossing: Floats
    """Bytes over each place."""

    allowed: Bools
    """Whether a cut may lie there."""

    def lowest(self, key: Floats, memory_bytes: float) -> Floats:
        """For each place, the lowest key of the places where a stage that ends there may begin.

        Args:
            key: [rows, places]; infinite where no stage begins.
            memory_bytes: what the stage may hold.
        """

    def starts_of(self, place: int, memory_bytes: float) -> Ints:
        """The places where a stage that ends at this place may begin."""

    def kept(self, starts: Ints, ends: Ints) -> Floats:
        """Bytes that cross both ends and that a stage between does not move over direct links; [starts, ends]."""


class Chain:
    """All cuts of one order. Positions are the places."""

    def __init__(self, problem: Problem, order: Sequence[int] | None = None) -> None:
        units = len(problem.seconds)
        self.problem = problem
        self.order: Ints = np.array(range(units) if order is None else order, dtype=np.int64)
        place = np.empty(units, dtype=np.int64)
        place[self.order] = np.arange(units)
        self.starts: Floats = np.concatenate([[0.0], np.cumsum(problem.work[self.order])])
        self.ends = self.starts
        self.crossing, self.allowed = problem.crossing(place, units)
        self._place = place
        self._windows: dict[float, Ints] = {}

    def lowest(self, key: Floats, memory_bytes: float) -> Floats:
        """See `Cuts`."""
        found = np.full_like(key, math.inf)
        if memory_bytes >= self.whole_bytes:
            np.minimum.accumulate(key[:, :-1], axis=1, out=found[:, 1:])
            return found
        # Lowest of a window by two overlapping runs of a power of two (a sparse table).
        first = self.window(memory_bytes)
        place = np.arange(len(first))
        width = place - first
        power = np.zeros(len(first), dtype=np.int64)
        power[width > 0] = np.frexp(width[width > 0])[1] - 1
        run = key
        for step in range(int(power.max()) + 1):
            at = np.flatnonzero((power == step) & (width > 0))
            found[:, at] = np.minimum(run[:, first[at]], run[:, at - (1 << step)])
            if 2 << step <= key.shape[1]:
                run = np.minimum(run[:, : run.shape[1] - (1 << step)], run[:, 1 << step :])
        return found

    def starts_of(self, place: int, memory_bytes: float) -> Ints:
        """See `Cuts`."""
        first = 0 if memory_bytes >= self.whole_bytes else int(self.window(memory_bytes)[place])
        return np.arange(first, place)

    def levels(self) -> Iterator[tuple[int, int]]:
        """See `pairs.Places`."""
        return ((place, place + 1) for place in range(1, len(self.starts)))

    def inside(self, starts: Ints, ends: Ints) -> Bools:
        """See `pairs.Places`."""
        found: Bools = starts[:, None] < ends[None, :]
        return found

    def kept(self, starts: Ints, ends: Ints) -> Floats:
        """See `Cuts`."""
        if self.problem.links == CHAIN:
            return np.zeros((len(starts), len(ends)))
        return self._kept[np.ix_(starts, ends)]

    @cached_property
    def _kept(self) -> Floats:
        return kept_along(self.problem, self._place)

    def fits(self, starts: Ints, ends: Ints, memory_bytes: float) -> Bools:
        """See `pairs.Places`."""
        if memory_bytes >= self.whole_bytes:
            return np.ones((len(starts), len(ends)), dtype=np.bool_)
        found: Bools = starts[:, None] >= self.window(memory_bytes)[ends][None, :]
        return found

    def stage_of(self, places: Sequence[int]) -> tuple[int, ...]:
        """The stage of each unit, for the places where stages begin and end."""
        stages = np.empty(len(self.order), dtype=np.int64)
        for stage, (begin, end) in enumerate(itertools.pairwise(places)):
            stages[self.order[begin:end]] = stage
        return tuple(int(stage) for stage in stages)

    @cached_property
    def whole_bytes(self) -> float:
        """Bytes that one stage of everything holds."""
        used = math.fsum(weight.nbytes for weight in self.problem.weights if weight.users)
        return used + float(self.problem.activations.max())

    def window(self, memory_bytes: float) -> Ints:
        """For each place, the first one where a stage that ends there may begin and fit; itself if none."""
        if memory_bytes not in self._windows:
            self._windows[memory_bytes] = self._slide(memory_bytes)
        return self._windows[memory_bytes]

    def _slide(self, memory_bytes: float) -> Ints:
        problem = self.problem
        nbytes = [weight.nbytes for weight in problem.weights]
        users = [0] * len(nbytes)
        activations = problem.activations[self.order]
        # Positions of activations that are the largest of all that follow, the largest first.
        largest: deque[int] = deque()
        first = np.zeros(len(self.order) + 1, dtype=np.int64)
        held, begin = 0.0, 0
        for end, unit in enumerate(self.order.tolist()):
            for weight in problem.weights_of[unit]:
                users[weight] += 1
                if users[weight] == 1:
                    held += nbytes[weight]
            while largest and activations[largest[-1]] <= activations[end]:
                largest.pop()
            largest.append(end)
            while begin <= end and held + activations[largest[0]] > memory_bytes:
                for weight in problem.weights_of[int(self.order[begin])]:
                    users[weight] -= 1
                    if users[weight] == 0:
                        held -= nbytes[weight]
                if largest[0] == begin:
                    largest.popleft()
                begin += 1
                if begin > end:
                    held = 0.0
            first[end + 1] = begin
        return first
