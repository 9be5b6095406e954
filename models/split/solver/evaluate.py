"""What any split costs, and the two splits that published tools make."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from beamsplit.models.split.solver.problem import CHAIN, Balance, CannotSplit, Floats, Problem, Worker, check_workers

EXACT = ("chain", "ideals")
"""Methods that compare all there is."""


def evaluate(
    problem: Problem,
    stage_of: Sequence[int],
    workers_of: Sequence[Sequence[int]],
    workers: Sequence[Worker],
    *,
    lower_bound: float | None = None,
    method: str = "given",
) -> Balance:
    """The numbers of one given split; the model of cost that `balance` minimises.

    Stage s on the workers W, with S the sum of their speeds and v the fastest one's, costs per micro-batch

        compute / S  +  v / S * (bytes in / slower end's bandwidth + bytes out / slower end's bandwidth)   seconds

    (Archer et al. 2023, arXiv 2311.03703, section 2; replicas as in PipeDream, Narayanan et al. 2019; links as in
    PipeEdge, Hu et al. 2022). Replicas take micro-batches in proportion to their speed, so the fastest takes v / S of
    them and moves the most bytes; r equal replicas cost 1 / r of one. An end of a link is as slow as the slowest of
    its replicas. What a stage only hands on is counted in and out of it: a value crosses every cut between its
    producer and its last consumer. The model's inputs enter the first stage and its outputs leave the last at that
    stage's own bandwidth. With direct links (`Problem.links`) a value is counted out of its producer's stage once and
    into each other stage that reads it once, at that stage's own bandwidth: stages between have nothing of it.

    Args:
        stage_of: stage of each unit, 0 to K - 1, none empty.
        workers_of: for each stage, the indices of its workers; no worker has two stages.
        lower_bound: seconds, proven elsewhere. By default all work over the speed of all workers.
        method: how the split was found; where that is exact, it proves the bound too.

    Raises:
        ValueError: a stage or worker that does not exist or is used twice, a unit before what it reads, or a value
            cut that may not cross.
    """
    check_workers(workers)
    stages = len(workers_of)
    _check_split(problem, stage_of, workers_of, len(workers))
    place = np.array(stage_of, dtype=np.int64)
    into, out, allowed = problem.traffic(place, stages)
    if not allowed.all():
        raise ValueError(f"the cut before stage {int(np.argmin(allowed))} parts a value that may not cross")
    compute = [math.fsum(second for second, at in zip(problem.seconds, stage_of, strict=True) if at == s)
               for s in range(stages)]  # fmt: skip
    memory = stage_memory(problem, stage_of, stages)
    bandwidth = [min(workers[w].bandwidth for w in team) for team in workers_of]
    # The world outside the pipeline slows nobody.
    ends = [math.inf, *(bandwidth if problem.links == CHAIN else [math.inf] * stages), math.inf]
    seconds, shares = [], []
    for s, team in enumerate(workers_of):
        speeds = [workers[w].speed for w in team]
        whole = math.fsum(speeds)
        transfer = into[s] / min(ends[s], bandwidth[s]) + out[s] / min(bandwidth[s], ends[s + 2])
        shares.append(compute[s] / whole)
        seconds.append(float(compute[s] / whole + max(speeds) / whole * transfer))
    if lower_bound is None:
        lower_bound = math.fsum(problem.seconds) / math.fsum(worker.speed for worker in workers)
    return Balance(
        stage_of=tuple(int(at) for at in stage_of),
        workers_of=tuple(tuple(int(w) for w in team) for team in workers_of),
        period=max(seconds),
        lower_bound=min(lower_bound, max(seconds)),
        stage_seconds=tuple(seconds),
        stage_compute=tuple(shares),
        stage_memory=tuple(memory),
        bytes_in=tuple(float(b) for b in into),
        bytes_out=tuple(float(b) for b in out),
        fits=all(memory[s] <= workers[w].memory_bytes for s, team in enumerate(workers_of) for w in team),
        method=method,
        links=problem.links,
        bound_by=method if method in EXACT else "work",
    )


def stage_memory(problem: Problem, stage_of: Sequence[int], stages: int) -> list[float]:
    """Bytes of each stage: its distinct weights and the largest activations of one of its units."""
    activations = [0.0] * stages
    for unit, stage in enumerate(stage_of):
        activations[stage] = max(activations[stage], float(problem.activations[unit]))
    held: list[list[float]] = [[] for _ in range(stages)]
    for weight in problem.weights:
        for stage in {stage_of[user] for user in weight.users}:
            held[stage].append(weight.nbytes)
    return [math.fsum(nbytes) + most for nbytes, most in zip(held, activations, strict=True)]


def equal_weight_bytes(problem: Problem, stages: int) -> tuple[int, ...]:
    """Published tools' split: as many weight bytes in each stage, units in the order given.

    A weight counts at its first user. Cuts move to the nearest place where a cut is allowed.

    Raises:
        CannotSplit: fewer places to cut than wanted.
    """
    held = np.zeros(len(problem.seconds))
    for weight in problem.weights:
        if weight.users:
            held[min(weight.users)] += weight.nbytes
    return _cut_evenly(problem, held, stages) if held.sum() > 0 else equal_count(problem, stages)


def equal_count(problem: Problem, stages: int) -> tuple[int, ...]:
    """Published tools' split: as many units in each stage, in the order given. Raises as `equal_weight_bytes`."""
    return _cut_evenly(problem, np.ones(len(problem.seconds)), stages)


def _cut_evenly(problem: Problem, amount: Floats, stages: int) -> tuple[int, ...]:
    units = len(amount)
    _, allowed = problem.crossing(np.arange(units), units)
    places = np.flatnonzero(allowed)[1:-1]
    if not 1 <= stages <= len(places) + 1:
        raise CannotSplit(
            f"{stages} stages are wanted, the order given can be cut into 1 to {len(places) + 1}",
            most_stages=len(places) + 1,
        )
    until = np.cumsum(amount)[places - 1]
    stage_of = np.zeros(units, dtype=np.int64)
    least = 0
    for cut in range(1, stages):
        # Leave as many places as there are cuts to come.
        choice = until[least : len(places) - (stages - 1 - cut)]
        least += int(np.argmin(np.abs(choice - amount.sum() * cut / stages))) + 1
        stage_of[places[least - 1] :] = cut
    return tuple(int(stage) for stage in stage_of)


def _check_split(problem: Problem, stage_of: Sequence[int], workers_of: Sequence[Sequence[int]], workers: int) -> None:
    if len(stage_of) != len(problem.seconds):
        raise ValueError(f"stage_of has {len(stage_of)} entries for {len(problem.seconds)} units")
    if set(stage_of) != set(range(len(workers_of))):
        raise ValueError(f"stages {sorted(set(stage_of))} are used, wanted each of 0 to {len(workers_of) - 1}")
    used = [worker for team in workers_of for worker in team]
    if any(not team for team in workers_of) or len(set(used)) < len(used):
        raise ValueError(f"each stage wants workers of its own, workers_of is {[list(team) for team in workers_of]}")
    if any(not 0 <= worker < workers for worker in used):
        raise ValueError(f"workers {sorted(used)} are used, there are 0 to {workers - 1}")
    for unit, units in enumerate(problem.before):
        for earlier in units:
            if stage_of[earlier] > stage_of[unit]:
                raise ValueError(
                    f"unit {unit} in stage {stage_of[unit]} reads from unit {earlier} in the later stage "
                    f"{stage_of[earlier]}"
                )
