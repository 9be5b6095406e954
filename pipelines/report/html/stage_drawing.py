"""Where the bars of the stages and the timetable of the pipeline are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from beamsplit.models.split.plan import Plan
from beamsplit.models.split.schedule import Schedule, fill_bubbles, simulate
from beamsplit.pipelines.report.html.measured import MeasuredRun
from beamsplit.pipelines.report.units import show_bytes, show_seconds

BARS_WIDTH, BAR_LEFT, BAR_ROOM, BAR_PITCH = 520.0, 66.0, 250.0, 34.0
"""Width of a chart of bars, where bars begin, how long the longest is, and the height of a row."""

TABLE_WIDTH, LANE_LEFT, LANE, LANE_PITCH = 1080.0, 110.0, 22.0, 28.0
"""Of the timetable: its width, where time begins, and the height and distance of lanes."""

MOST_LANES = 24
MICRO_BATCHES = (4, 8, 16, 32, 64, 128)
"""Numbers of micro-batches that bubbles are told for."""


@dataclass(frozen=True)
class Bar:
    """One stage's bar."""

    y: float
    stage: int
    label: str
    length: float
    text: str
    text_x: float


@dataclass(frozen=True)
class Bars:
    """A chart of them."""

    width: float
    height: float
    bars: tuple[Bar, ...]
    mark: float | None = None
    """Where a line stands that all bars are compared with."""

    mark_text: str = ""


def draw_seconds(plan: Plan) -> Bars:
    """Seconds per micro-batch of each stage, shared over its replicas, beside the period."""
    each = [stage.worker_seconds / stage.replicas for stage in plan.stages]
    texts = [
        show_seconds(stage.worker_seconds)
        if stage.replicas == 1
        else f"{show_seconds(stage.worker_seconds)} / {stage.replicas} = {show_seconds(one)}"
        for stage, one in zip(plan.stages, each, strict=True)
    ]
    most = max(*each, plan.period)
    mark = BAR_LEFT + BAR_ROOM * plan.period / most if plan.period else None
    return _bars(each, texts, most, mark, f"period {show_seconds(plan.period)}")


def draw_weights(plan: Plan) -> Bars:
    """Bytes of weights of each stage."""
    sizes = [float(stage.weight_bytes) for stage in plan.stages]
    total = sum(sizes)
    texts = [f"{show_bytes(size)}{f' · {size / total:.0%}' if total else ''}" for size in sizes]
    return _bars(sizes, texts, max(sizes))


def draw_measured(plan: Plan, run: MeasuredRun) -> tuple[Bars, Bars]:
    """(predicted, measured) seconds of each stage to one scale."""
    predicted = [stage.worker_seconds for stage in plan.stages]
    measured = [stage.seconds for stage in run.stages]
    most = max(*predicted, *measured)
    return (
        _bars(predicted, [show_seconds(one) for one in predicted], most),
        _bars(measured, [show_seconds(one) for one in measured], most),
    )


def _bars(values: list[float], texts: list[str], most: float, mark: float | None = None, mark_text: str = "") -> Bars:
    top = 28.0 if mark is not None else 8.0
    lengths = [BAR_ROOM * value / most if most else 0.0 for value in values]
    bars = [
        Bar(top + at * BAR_PITCH, at, f"stage {at}", length, text, max(BAR_LEFT + length, mark or 0.0) + 8)
        for at, (length, text) in enumerate(zip(lengths, texts, strict=True))
    ]
    return Bars(BARS_WIDTH, top + len(bars) * BAR_PITCH + 4, tuple(bars), mark, mark_text)


@dataclass(frozen=True)
class Run:
    """One run of a stage in the timetable."""

    x: float
    y: float
    width: float
    stage: int
    odd: bool
    text: str
    hint: str


@dataclass(frozen=True)
class Lane:
    """The line of one replica."""

    y: float
    stage: int
    label: str


@dataclass(frozen=True)
class Tick:
    """A mark on the axis of time."""

    x: float
    text: str


@dataclass(frozen=True)
class Timetable:
    """The pipeline's Gantt chart."""

    width: float
    height: float
    left: float
    right: float
    """Where time begins and ends."""

    lanes: tuple[Lane, ...]
    runs: tuple[Run, ...]
    ticks: tuple[Tick, ...]
    micro_batches: int
    bubble_share: float
    seconds: float
    hidden: int
    """Lanes for which there is no room."""


def draw_timetable(plan: Plan, micro_batches: int | None = None) -> Timetable:
    """The timetable of some micro-batches; by default enough to see the pipeline fill, run and drain."""
    stages = len(plan.stages)
    count = micro_batches or max(6, min(16, 3 * stages))
    schedule = simulate(
        [stage.worker_seconds for stage in plan.stages], count, [stage.replicas for stage in plan.stages]
    )
    right = TABLE_WIDTH - 12
    scale = (right - LANE_LEFT) / schedule.seconds if schedule.seconds else 0.0
    lanes = [(stage.index, replica) for stage in plan.stages for replica in range(stage.replicas)]
    shown = lanes[:MOST_LANES]
    rows = {lane: 8 + at * LANE_PITCH for at, lane in enumerate(shown)}
    bottom = 8 + len(shown) * LANE_PITCH
    return Timetable(
        TABLE_WIDTH,
        bottom + 34,
        LANE_LEFT,
        right,
        tuple(
            Lane(
                rows[lane], lane[0], f"stage {lane[0]}" + (f" · {lane[1]}" if plan.stages[lane[0]].replicas > 1 else "")
            )
            for lane in shown
        ),
        tuple(_runs(schedule, rows, scale)),
        tuple(_ticks(schedule.seconds, scale)),
        count,
        schedule.bubble_share,
        schedule.seconds,
        len(lanes) - len(shown),
    )


def _runs(schedule: Schedule, rows: dict[tuple[int, int], float], scale: float) -> list[Run]:
    runs = []
    for slot in schedule.slots:
        y = rows.get((slot.stage, slot.replica))
        if y is None:
            continue
        width = (slot.end - slot.start) * scale
        text = str(slot.micro_batch)
        hint = (
            f"stage {slot.stage}, micro-batch {slot.micro_batch}: "
            f"{show_seconds(slot.start)} to {show_seconds(slot.end)}"
        )
        fits = width > 8 * len(text) + 4
        x = LANE_LEFT + slot.start * scale
        runs.append(Run(x, y, max(0.5, width - 1), slot.stage, bool(slot.micro_batch % 2), text if fits else "", hint))
    return runs


def _ticks(seconds: float, scale: float) -> list[Tick]:
    """Round times, at most eight."""
    if not seconds:
        return []
    rough = seconds / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    times = [number * step for number in range(int(seconds / step) + 1)]
    return [Tick(LANE_LEFT + time * scale, _short(time)) for time in times]


def _short(time: float) -> str:
    number, _, unit = show_seconds(time).partition(" ")
    return f"{float(number.replace(',', '')):g} {unit}" if time else "0"


@dataclass(frozen=True)
class BubbleRow:
    """What some number of micro-batches gives."""

    micro_batches: int
    bubble_share: float
    equal_stages: float
    """The share if all stages took equally long."""

    rows_per_second: float


def bubble_rows(plan: Plan) -> list[BubbleRow]:
    """Bubbles by the number of micro-batches."""
    rows = []
    for count in MICRO_BATCHES:
        schedule = simulate(
            [stage.worker_seconds for stage in plan.stages], count, [stage.replicas for stage in plan.stages]
        )
        speed = count * plan.micro_batch / schedule.seconds if schedule.seconds else 0.0
        rows.append(BubbleRow(count, schedule.bubble_share, fill_bubbles(len(plan.stages), count), speed))
    return rows
