"""The whole problem as one mixed-integer program, written from the words of the cost model: for small instances.

Whether a period can be kept is linear: with the workers W in a stage, S the sum of their speeds and v the fastest,
work + v * bytes / bandwidth <= period * S holds where it holds for each worker as the fastest and each as the slowest.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

LARGE = 1e3
"""More than anything that is compared; the numbers of the instances are small."""


class Program:
    def __init__(self):
        self.high, self.rows = [], []

    def new(self, high=1.0):
        self.high.append(high)
        return len(self.high) - 1

    def at_least(self, terms, least=0.0):
        self.rows.append((terms, least))

    def feasible(self, whole):
        matrix = np.zeros((len(self.rows), len(self.high)))
        for at, (terms, _) in enumerate(self.rows):
            for variable, factor in terms:
                matrix[at, variable] += factor
        integrality = np.zeros(len(self.high))
        integrality[whole] = 1
        found = milp(
            np.zeros(len(self.high)),
            integrality=integrality,
            bounds=Bounds(0, np.array(self.high)),
            constraints=LinearConstraint(matrix, np.array([least for _, least in self.rows]), np.inf),
        )
        assert found.status in (0, 2), found.message
        return found.status == 0


def can_be(problem, workers, stages, replicate, period):
    """Whether exactly so many stages, each with workers of its own, stay within the period."""
    program, units = Program(), range(len(problem.seconds))
    dealt = [[program.new() for _ in workers] for _ in range(stages)]
    lies = [[program.new() for _ in units] for _ in range(stages)]
    binary = [*itertools.chain(*dealt), *itertools.chain(*lies)]

    def total(variables, factor=1.0):
        return [(one, factor) for one in variables]

    for unit in units:
        program.at_least(total([lies[s][unit] for s in range(stages)]), 1)
        program.at_least(total([lies[s][unit] for s in range(stages)], -1), -1)
        for earlier in problem.before[unit]:
            for s in range(stages):
                program.at_least([*total([lies[t][earlier] for t in range(s + 1)]), (lies[s][unit], -1)])
    for worker in range(len(workers)):
        program.at_least(total([dealt[s][worker] for s in range(stages)], -1), -1)
    for s in range(stages):
        program.at_least(total(lies[s]), 1)
        program.at_least(total(dealt[s]), 1)
        if not replicate:
            program.at_least(total(dealt[s], -1), -1)
        _memory(program, problem, workers, lies[s], dealt[s])
    into, out = _bytes(program, problem, lies, stages)
    for s in range(stages):
        work = [(lies[s][unit], -problem.seconds[unit]) for unit in units]
        speed = [(dealt[s][at], period * worker.speed) for at, worker in enumerate(workers)]
        here = [(dealt[s][at], worker.bandwidth) for at, worker in enumerate(workers)]
        chain = problem.links == "chain"
        before = here + [(dealt[s - 1][at], w.bandwidth) for at, w in enumerate(workers) if chain and s]
        behind = here + [(dealt[s + 1][at], w.bandwidth) for at, w in enumerate(workers) if chain and s + 1 < stages]
        fast = list(zip(dealt[s], workers, strict=True))
        for (top, fastest), (one, slow), (other, slower) in itertools.product(fast, before, behind):
            moved = [(at, -fastest.speed * nbytes / slow) for at, nbytes in into[s]]
            moved += [(at, -fastest.speed * nbytes / slower) for at, nbytes in out[s]]
            present = [(top, -LARGE), (one, -LARGE), (other, -LARGE)]
            program.at_least([*speed, *work, *moved, *present], -3 * LARGE)
    return program.feasible(binary)


def _memory(program, problem, workers, lies, dealt):
    largest = program.new(LARGE)
    held = [(largest, -1.0)]
    for unit, nbytes in enumerate(problem.activation_bytes):
        program.at_least([(largest, 1), (lies[unit], -nbytes)])
    for weight in problem.weights:
        one = program.new()
        held.append((one, -weight.nbytes))
        for user in weight.users:
            program.at_least([(one, 1), (lies[user], -1)])
    for at, worker in enumerate(workers):
        if worker.memory_bytes < math.inf:
            program.at_least([*held, (dealt[at], -LARGE)], -LARGE - worker.memory_bytes)


def _bytes(program, problem, lies, stages):
    """(variable, bytes) of what enters and what leaves each stage; a variable is at least what it has to be."""
    into, out = [[] for _ in range(stages)], [[] for _ in range(stages)]
    always = program.new()
    program.at_least([(always, 1)], 1)

    def within(unit, first, last):
        return [(lies[s][unit], 1.0) for s in range(max(first, 0), min(last, stages))]

    def less(terms):
        return [(at, -factor) for at, factor in terms]

    for value in problem.values:
        if not value.consumers and not value.is_output:
            continue
        home = value.producer
        if not value.may_cross:
            for s in range(stages):
                if home >= 0:
                    for user in value.consumers:
                        program.at_least([(lies[s][user], 1), (lies[s][home], -1)])
                elif s == 0:
                    for user in value.consumers:
                        program.at_least([(lies[0][user], 1)], 1)
            if value.is_output and home >= 0:
                program.at_least([(lies[stages - 1][home], 1)], 1)
        for s in range(stages):
            if problem.links == "direct":
                enters, leaves = program.new(), program.new()
                for user in value.consumers:
                    made = [] if home < 0 else [(lies[s][home], 1.0)]
                    program.at_least([(enters, 1), (lies[s][user], -1), *made])
                    if home >= 0:
                        program.at_least([(leaves, 1), (lies[s][home], -1), (lies[s][user], 1)])
                if value.is_output and home >= 0:
                    program.at_least([(leaves, 1), (lies[s][home], -1)])
                into[s].append((enters, value.nbytes))
                out[s].append((leaves, value.nbytes))
                continue
            for boundary, side in ((s, into), (s + 1, out)):
                crosses = program.new()
                made = [(always, 1.0)] if home < 0 else within(home, 0, boundary)
                for user in value.consumers:
                    program.at_least([(crosses, 1), *less(made), *less(within(user, boundary, stages)), (always, 1)])
                if value.is_output:
                    program.at_least([(crosses, 1), *less(made)])
                side[s].append((crosses, value.nbytes))
    return into, out
