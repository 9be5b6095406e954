from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from beamsplit.models.split.inline import InlinePipeline, differs
from beamsplit.models.split.worker import InlineStage, StageError, share_workers
from tests.waiting import DEADLINE
from tests.waiting import wait_until as until

OTHERS: set[threading.Thread] = set()
"""Threads that were there before the test: of pipelines of other tests."""


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("stage-")} - OTHERS


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    OTHERS.clear()
    OTHERS.update(threads())
    yield
    assert not threads()


def stages(*runs: Callable[[dict], list], workers: int = 1) -> list[InlineStage]:
    """A chain x -> t0 -> t1 -> ... of one tensor."""
    names = ["x", *(f"t{i}" for i in range(len(runs)))]
    return [InlineStage(run, (names[i],), (names[i + 1],), workers) for i, run in enumerate(runs)]


def plus(amount: int) -> Callable[[dict], list]:
    return lambda feeds: [value + amount for value in feeds.values()]


def feeds(count: int) -> list[dict[str, np.ndarray]]:
    return [{"x": np.array([k])} for k in range(count)]


class Conductor:
    """Holds every run until its tick is over, so that who runs when can be drawn."""

    def __init__(self) -> None:
        self.running: set[tuple[int, int]] = set()
        self._lock = threading.Condition()
        self._tick = 0

    def stage(self, number: int) -> Callable[[dict], list]:
        def run(feeds: dict) -> list:
            (value,) = feeds.values()
            with self._lock:
                mine = (number, int(value[0]))
                self.running.add(mine)
                tick = self._tick
                assert self._lock.wait_for(lambda: self._tick > tick, DEADLINE)
                return [value]

        return run

    def column(self, expected: set[tuple[int, int]]) -> None:
        """Wait until exactly these run, then let them end."""
        until(lambda: self.running == expected)
        with self._lock:
            self.running = set()
            self._tick += 1
            self._lock.notify_all()


SCHEDULE = """
    0 1 2 3 . .
    . 0 1 2 3 .
    . . 0 1 2 3
"""


def test_stages_overlap_as_drawn():
    drawn = [line.split() for line in SCHEDULE.strip().splitlines()]
    conductor = Conductor()
    pipeline = InlinePipeline(stages(*(conductor.stage(k) for k in range(3))), ["t2"])
    results: list[int] = []
    caller = threading.Thread(
        target=lambda: results.extend(int(out[0][0]) for out in pipeline.run_many(feeds(4))), daemon=True
    )
    caller.start()
    for column in zip(*drawn, strict=True):
        conductor.column({(stage, int(cell)) for stage, cell in enumerate(column) if cell != "."})
    caller.join(DEADLINE)
    assert results == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_given(workers: int):
    def late(feeds: dict) -> list:
        # Even ones take longer, so with several workers they are overtaken.
        (value,) = feeds.values()
        if value[0] % 2 == 0:
            threading.Event().wait(0.001)
        return [value]

    pipeline = InlinePipeline(stages(plus(0), late, plus(1), workers=workers), ["t2"])
    assert [int(out[0][0]) for out in pipeline.run_many(feeds(40))] == list(range(1, 41))


def test_replicas_run_side_by_side():
    both = threading.Barrier(2, timeout=DEADLINE)

    def meet(feeds: dict) -> list:
        both.wait()
        return list(feeds.values())

    pipeline = InlinePipeline(stages(meet, workers=2), ["t0"])
    assert len(list(pipeline.run_many(feeds(8)))) == 8


def test_two_callers_share_the_stages():
    conductor = Conductor()
    pipeline = InlinePipeline(stages(conductor.stage(0), conductor.stage(1)), ["t1"])
    results: dict[int, list[int]] = {}

    def call(number: int) -> None:
        results[number] = [int(out[0][0]) for out in pipeline.run_many([{"x": np.array([number])}])]

    callers = [threading.Thread(target=call, args=(number,), daemon=True) for number in (7, 8)]
    callers[0].start()
    until(lambda: conductor.running == {(0, 7)})
    callers[1].start()
    until(lambda: len(pipeline._stations[0].queue) == 1)
    for column in ({(0, 7)}, {(1, 7), (0, 8)}, {(1, 8)}):
        conductor.column(column)
    for caller in callers:
        caller.join(DEADLINE)
    assert results == {7: [7], 8: [8]}


def test_a_full_queue_holds_the_caller_back():
    gate = threading.Event()
    taken: list[int] = []

    def given() -> Iterator[dict]:
        for one in feeds(100):
            taken.append(int(one["x"][0]))
            yield one

    def held(feeds: dict) -> list:
        assert gate.wait(DEADLINE)
        return list(feeds.values())

    pipeline = InlinePipeline(stages(plus(0), held), ["t1"], room=2)
    results: list[list] = []
    caller = threading.Thread(target=lambda: results.extend(pipeline.run_many(given())), daemon=True)
    caller.start()
    # One in each stage, two in each queue, and the one that the caller holds in its hand.
    until(lambda: pipeline.stats().stages[0].runs == 4 and len(taken) == 7)
    assert pipeline.most_in_flight == 6
    gate.set()
    caller.join(DEADLINE)
    assert len(results) == len(taken) == 100


def test_results_not_taken_hold_the_caller_back_too():
    pipeline = InlinePipeline(stages(plus(0), plus(0)), ["t1"], room=1)
    taken: list[int] = []

    def given() -> Iterator[dict]:
        for one in feeds(100):
            taken.append(1)
            yield one

    with closing(pipeline.run_many(given())) as results:
        next(results)
        assert len(taken) <= pipeline.most_in_flight + 1


def test_a_consumer_that_stops_early_leaves_no_thread():
    pipeline = InlinePipeline(stages(plus(1), plus(1)), ["t1"])
    results = pipeline.run_many(feeds(1000))
    assert int(next(results)[0][0]) == 2
    assert threads()
    results.close()
    assert not threads()
    assert [int(out[0][0]) for out in pipeline.run_many(feeds(2))] == [2, 3]


def fails_at(bad: int) -> Callable[[dict], list]:
    def run(feeds: dict) -> list:
        (value,) = feeds.values()
        if value[0] == bad:
            raise ValueError(f"{bad} is bad")
        return [value]

    return run


def test_the_first_error_is_raised_with_its_stage():
    pipeline = InlinePipeline(stages(fails_at(5), fails_at(3)), ["t1"])
    results = pipeline.run_many(feeds(10))
    seen = []
    with pytest.raises(StageError, match="stage 1: 3 is bad") as raised:
        for out in results:
            seen.append(int(out[0][0]))
    assert raised.value.stage == 1 and isinstance(raised.value.__cause__, ValueError)
    assert seen == [0, 1, 2]


def test_an_error_does_not_stop_those_behind_it():
    pipeline = InlinePipeline(stages(fails_at(5), fails_at(3)), ["t1"])
    outcomes = list(pipeline.outcomes(feeds(8)))
    assert [(k, one.error.stage) for k, one in enumerate(outcomes) if one.error] == [(3, 1), (5, 0)]
    assert [int(one.outputs[0][0]) for one in outcomes if not one.error] == [0, 1, 2, 4, 6, 7]


def test_an_error_of_the_feeds_is_the_callers():
    def given() -> Iterator[dict]:
        yield from feeds(2)
        raise KeyError("no column")

    with pytest.raises(KeyError, match="no column"):
        list(InlinePipeline(stages(plus(1)), ["t0"]).run_many(given()))


def test_skips_pass_through_and_what_nobody_needs_is_dropped():
    seen: list[set[str]] = []
    first = InlineStage(lambda feeds: [feeds["x"] + 1, feeds["x"] * 10], ("x",), ("a", "skip"))
    second = InlineStage(lambda feeds: [feeds["a"] + 1], ("a",), ("b",))
    third = InlineStage(lambda feeds: [feeds["b"] + feeds["skip"]], ("b", "skip"), ("y",))
    pipeline = InlinePipeline([first, second, third], ["y", "a"])
    real = pipeline._pass_on

    def watch(at, micro_batch):
        seen.append(set(micro_batch.values))
        real(at, micro_batch)

    pipeline._pass_on = watch
    assert [[int(v[0]) for v in out] for out in pipeline.run_many([{"x": np.array([4])}])] == [[46, 5]]
    assert seen == [{"a", "skip"}, {"a", "b", "skip"}, {"y", "a"}]


def test_counts_add_up_and_bubbles_are_what_is_not_busy():
    pipeline = InlinePipeline(stages(plus(0), plus(0), workers=2), ["t1"])
    before = pipeline.stats()
    assert len(list(pipeline.run_many(feeds(50)))) == 50
    spent = pipeline.stats() - before
    assert [stage.runs for stage in spent.stages] == [50, 50]
    busy = sum(stage.busy_seconds for stage in spent.stages)
    offered = sum(stage.offered_seconds for stage in spent.stages)
    assert 0 < busy <= offered <= 4 * spent.active_seconds + 1e-6
    assert spent.bubble_share == pytest.approx(1 - busy / offered)
    assert 0 <= spent.queue_depth(1) <= 2 and 0 < spent.busy_share(0) <= 1


def test_counts_are_up_to_now_and_idle_time_is_none():
    now, during = [0.0], []

    def run(feeds: dict) -> list:
        now[0] += 2.0
        during.append(pipeline.stats())
        now[0] += 3.0
        return list(feeds.values())

    pipeline = InlinePipeline(stages(run), ["t0"], moving=False, clock=lambda: now[0])
    for done in (0, 1):
        now[0] += 100.0
        assert len(list(pipeline.run_many(feeds(1)))) == 1
        assert during[done].active_seconds == during[done].stages[0].offered_seconds == 5.0 * done + 2.0
        assert during[done].stages[0].runs == done
        assert pipeline.stats().active_seconds == pipeline.stats().stages[0].busy_seconds == 5.0 * (done + 1)


def test_workers_move_to_the_stage_that_takes_longer_than_planned():
    class Own(threading.local):
        """Each thread's time, which goes on by what its runs take and by nothing else."""

        now = 0.0

    own = Own()

    def takes(seconds: float) -> Callable[[dict], list]:
        def run(feeds: dict) -> list:
            own.now += seconds
            return list(feeds.values())

        return run

    chain = stages(takes(0.5), takes(2.0), workers=2)
    chain = [InlineStage(s.run, s.inputs, s.outputs, 2, 1.0) for s in chain]
    pipeline = InlinePipeline(chain, ["t1"], clock=lambda: own.now)
    for _ in range(3):
        assert [int(out[0][0]) for out in pipeline.run_many(feeds(20))] == list(range(20))
    assert pipeline.moves[-1] == pipeline.workers == (1, 3)
    assert not threads()


def test_as_planned_nothing_moves():
    chain = [InlineStage(s.run, s.inputs, s.outputs, 1, 1.0) for s in stages(plus(0), plus(0))]
    pipeline = InlinePipeline(chain, ["t1"], moving=False)
    for _ in range(3):
        list(pipeline.run_many(feeds(20)))
    assert pipeline.moves == [] and pipeline.workers == (1, 1)


@pytest.mark.parametrize(
    ("seconds", "total", "shares"),
    [([1, 1], 2, [1, 1]), ([1, 3], 4, [1, 3]), ([2, 1, 1], 4, [2, 1, 1]), ([5, 1], 1, [1, 1])],
)
def test_shares_of_workers(seconds: list[float], total: int, shares: list[int]):
    assert share_workers(seconds, total) == shares


def test_differs_looks_at_parts_of_the_whole():
    assert not differs([1, 1], [10, 10.5])
    assert differs([1, 1], [1, 2])
    assert differs([0, 0], [1, 1])
