"""The choice among all candidates: the most rows a second that fits, with a proven bound, and why."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beamsplit.models.cost.cluster import PROCESS_BYTES, ClusterWorker, format_bytes, format_rate, option_bytes
from beamsplit.models.errors import UsageError
from beamsplit.models.split.verdict import EVEN
from beamsplit.models.strategy.candidate import Candidate, candidates
from beamsplit.models.strategy.simulate import simulate
from beamsplit.models.strategy.teams import INLINE, Links
from beamsplit.models.strategy.width import Width


@dataclass(frozen=True)
class Strategy:
    """What was chosen, and what from."""

    model: str
    """File name; empty where it is not told."""

    micro_batch: int
    """Rows that the seconds are for."""

    workers: int
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    """The best first, those that do not fit last."""

    bound: float
    """Rows a second that no way can pass: all workers busy all the time, and nothing sent."""

    verdict: str

    source: str = "measured"
    """Of the nodes' seconds: `measured` or `estimate`."""

    cores: int | None = None
    """That all workers share; None where each has its own."""

    exchange: str = ""
    """What a block costs from worker to worker, and what of that was measured; empty in one process."""

    process_bytes: float = PROCESS_BYTES
    """Memory of a worker's process beside weights and activations."""

    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """How much more the bound is than what was chosen, as a share of it."""
        return self.bound / self.chosen.rows_per_second - 1 if self.chosen.rows_per_second else math.inf


@dataclass(frozen=True)
class LeftOut:
    """A candidate that failed on this machine."""

    why: str


Measure = Callable[[Sequence[Candidate]], "Sequence[float | LeftOut | None]"]
"""Rows a second of candidates on this machine; None where one is not run here."""


def choose(
    widths: Sequence[Width],
    workers: Sequence[ClusterWorker],
    *,
    kind: str = "auto",
    measure: Measure | None = None,
    links: Links = INLINE,
    cores: int | None = None,
) -> Strategy:
    """Predict every candidate, run the best of each kind where that can be, and take the fastest that fits.

    What is as fast as the best within 3 % and simpler comes first: fewer shards, then fewer stages.

    Args:
        widths: the model whole, and over each number of shards it can be divided over.
        workers: to use.
        kind: one of `kinds.KINDS`; `stages` and `shards` also take both at once.
        measure: runs candidates on this machine; None where the workers are elsewhere.
        links: how the workers of a team meet.
        cores: that all workers share; None where each has its own.

    Raises:
        UsageError: nothing of that kind fits; the line says how much memory there is a way for.
    """
    whole = widths[0]
    rows = whole.profile.rows
    every = [one for one in candidates(widths, workers, rows, whole.graph.most_stages, links) if _is_of(one, kind)]
    if cores is not None:
        every = [_taking_turns(one, rows, cores) for one in every]
    failed: list[str] = []
    if measure is not None:
        every, failed = _measured(every, measure)
    every.sort(key=lambda one: (not one.fits, -_rate(one)))
    if not every or not every[0].fits:
        raise UsageError(_why_not(every, workers, kind))
    fast = [one for one in every if one.fits and _rate(one) * EVEN >= _rate(every[0])]
    chosen = min(fast, key=lambda one: (one.shards, one.stages))
    speed = sum(one.speed for one in workers) * min(1.0, (cores or len(workers)) / len(workers))
    total = math.fsum(whole.problem(math.inf, links).seconds)
    bound = max(rows * speed / max(total, 1e-12), chosen.rows_per_second)
    return Strategy(
        "",
        rows,
        len(workers),
        chosen,
        tuple([chosen, *(one for one in every if one is not chosen)]),
        bound,
        _verdict(chosen, every, workers),
        whole.profile.source,
        cores,
        notes=tuple(failed),
    )


def _taking_turns(one: Candidate, rows: int, cores: int) -> Candidate:
    """With the rows a second of workers that are more than their cores."""
    if not one.fits or one.workers <= cores:
        return one
    return dataclasses.replace(one, rows_per_second=simulate(one, rows, cores=cores).rows_per_second)


def _is_of(one: Candidate, kind: str) -> bool:
    if kind == "auto":
        return True
    return one.kind == "replicas" if kind == "replicas" else kind in one.kind


def _rate(one: Candidate) -> float:
    return one.rows_per_second if one.measured is None else one.measured


def _measured(every: Sequence[Candidate], measure: Measure) -> tuple[list[Candidate], list[str]]:
    """With rows a second as measured for the best of each kind as predicted, and without those that failed, told."""
    best: dict[str, Candidate] = {}
    for one in every:
        if one.fits and (one.kind not in best or one.rows_per_second > best[one.kind].rows_per_second):
            best[one.kind] = one
    seen = dict(zip(map(id, best.values()), measure(list(best.values())), strict=True))
    results = [(_cut(one), seen[id(one)]) for one in best.values()]
    failed = {cut: found for cut, found in results if isinstance(found, LeftOut)}
    rates = {at: rate for at, rate in seen.items() if not isinstance(rate, LeftOut)}
    kept = [dataclasses.replace(one, measured=rates.get(id(one))) for one in every if _cut(one) not in failed]
    return kept, [f"{_parts(*cut)} left out: {why.why}" for cut, why in failed.items()]


def _cut(one: Candidate) -> tuple[int, int]:
    """What the model is divided into, however many workers run it."""
    return one.stages, one.shards


def _verdict(chosen: Candidate, every: Sequence[Candidate], workers: Sequence[ClusterWorker]) -> str:
    """A sentence on what to do, with the numbers that it rests on."""
    said = f"{format_rate(_rate(chosen))} rows/s {'predicted' if chosen.measured is None else 'measured'}"
    said += f", at most {format_bytes(chosen.worker_bytes)} in a worker"
    idle = len(workers) - chosen.workers
    if idle:
        said += f", {idle} of {len(workers)} workers idle"
    whole = next((one for one in every if one.kind == "replicas"), None)
    if whole is not None and not whole.fits:
        why = f"no worker holds the whole model ({format_bytes(whole.needs_bytes)})"
    else:
        other = next((one for one in every if one.fits and one.kind != chosen.kind), None)
        if other is None:
            why = "nothing else fits" if len(every) > 1 else "there is no other way"
        else:
            ratio = _rate(chosen) / _rate(other)
            compared = f"{ratio:.3g}x as fast as" if ratio >= EVEN else "as fast as, and simpler than,"
            why = f"{compared} {other.name}"
    return f"{chosen.name[:1].upper()}{chosen.name[1:]}: {said}; {why}."


def _parts(stages: int, shards: int) -> str:
    counts = (("stage", stages), ("shard", shards))
    return " x ".join(f"{count} {word}s" for word, count in counts if count > 1) or "the whole model"


def _why_not(every: Sequence[Candidate], workers: Sequence[ClusterWorker], kind: str) -> str:
    ways = "no way" if kind == "auto" else f"no way with {kind}"
    most = max(one.memory_bytes for one in workers)
    have = format_bytes(most) if most else f"0 bytes beside the {format_bytes(PROCESS_BYTES)} of their process"
    needs = [one for one in every if one.needs_bytes]
    if not needs:
        count = f"{len(workers)} worker{'s' * (len(workers) != 1)}"
        return (
            f"--strategy {kind}: there is {ways} to run this model on {count}: use --strategy auto, or more --workers"
        )
    least = min(needs, key=lambda one: one.needs_bytes)
    needed, with_process = format_bytes(least.needs_bytes), format_bytes(least.needs_bytes + PROCESS_BYTES)
    return (
        f"{ways} to run this model fits workers of {have}: the least is {needed} in each of "
        f"{least.stages * least.shards} workers ({_parts(least.stages, least.shards)}), {with_process} "
        f"with the process itself: give --stage_memory {option_bytes(least.needs_bytes)}, or that much with the "
        "process in cluster.json, more workers or a smaller --micro_batch"
    )
