"""Where the curves are drawn that tell what more workers, or more memory in each, bring."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beamsplit.models.split.frontier import fastest, leanest
from beamsplit.models.split.plan import FrontierPoint, Plan
from beamsplit.pipelines.report.units import show_bytes, show_rate

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520.0, 300.0, 76.0, 496.0, 34.0, 250.0
"""Of a chart and of the room for its points."""

MOST_TEXTS = 9
"""Points of a line that have their text beside them."""


@dataclass(frozen=True)
class Tick:
    """A number on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Point:
    """One way to use the workers."""

    x: float
    y: float
    best: bool
    """Whether the line goes through it."""

    text: str
    hint: str


@dataclass(frozen=True)
class Curve:
    """A chart of points, some of them joined."""

    points: tuple[Point, ...]
    line: str
    """The joined ones, for a polyline."""

    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = RIGHT
    bottom: float = BOTTOM


@dataclass(frozen=True)
class Frontier:
    """Both curves."""

    by_workers: Curve
    by_memory: Curve
    most: int
    """Workers of the second."""


def draw_frontier(plan: Plan) -> Frontier:
    """The curves of a plan that has ways for several numbers of workers."""
    counts = sorted({one.workers for one in plan.frontier})
    best = fastest(plan.frontier)
    texts = []
    for at, one in enumerate(best):
        gain = one.rows_per_second / best[at - 1].rows_per_second - 1 if at else 0.0
        texts.append(f"{gain:+.0%}" if at and len(best) <= MOST_TEXTS else "")
    line = [(float(count), one, text) for count, one, text in zip(counts, best, texts, strict=True)]
    by_workers = _curve(line, plan.frontier, lambda one: float(one.workers), _count_ticks(counts))
    most = [one for one in plan.frontier if one.workers == counts[-1]]
    lean = leanest(plan.frontier)
    labelled = len(lean) <= MOST_TEXTS
    line = [(one.worker_bytes, one, f"{one.stages}" if labelled and one.stages > 1 else "") for one in lean]
    largest = max(one.worker_bytes for one in most)
    ticks = [(largest * share, show_bytes(largest * share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return Frontier(by_workers, _curve(line, most, lambda one: one.worker_bytes, ticks), counts[-1])


def _count_ticks(counts: Sequence[int]) -> list[tuple[float, str]]:
    step = math.ceil(len(counts) / 16)
    return [(float(count), str(count)) for count in counts[::step]]


def _on_axis(rate: float) -> str:
    """A rate in the room beside an axis, of three digits where it is large.

    >>> [_on_axis(rate) for rate in (131_711_988.0, 999_600.0, 65_855.0, 486.0, 0.0)]
    ['132M', '1M', '65.9k', '486', '0']
    """
    for least, unit, letter in ((999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k")):
        if rate >= least:
            return f"{rate / unit:.3g}{letter}"
    return show_rate(rate) if rate else "0"


def _curve(
    line: Sequence[tuple[float, FrontierPoint, str]],
    points: Sequence[FrontierPoint],
    place: Callable[[FrontierPoint], float],
    ticks: Sequence[tuple[float, str]],
) -> Curve:
    low, high = min(at for at, _ in ticks), max(at for at, _ in ticks)
    most = max(one.rows_per_second for one in points) or 1.0

    def across(value: float) -> float:
        return LEFT + 14 + (RIGHT - LEFT - 28) * ((value - low) / (high - low) if high > low else 0.5)

    def down(rate: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * rate / most

    def point(value: float, one: FrontierPoint, best: bool, text: str) -> Point:
        hint = (
            f"{one.name}: {show_rate(one.rows_per_second)} rows/s, {show_bytes(one.worker_bytes)} in the fullest worker"
        )
        return Point(across(value), down(one.rows_per_second), best, text, hint)

    joined = [point(value, one, True, text) for value, one, text in line]
    through = {(round(one.x, 1), round(one.y, 1)) for one in joined}
    others = [point(place(one), one, False, "") for one in points]
    others = [one for one in others if (round(one.x, 1), round(one.y, 1)) not in through]
    return Curve(
        (*others, *joined),
        " ".join(f"{one.x:.1f},{one.y:.1f}" for one in joined),
        tuple(Tick(down(most * share), _on_axis(most * share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        tuple(Tick(across(at), text) for at, text in ticks),
    )
