from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.models.split.schedule import fill_bubbles, simulate


def draw(schedule) -> list[str]:
    """Each stage's timetable in whole seconds: the micro-batch's digit, or a dot."""
    lines = []
    for stage, count in enumerate(schedule.replicas):
        for replica in range(count):
            line = ["."] * round(schedule.seconds)
            for slot in schedule.lane(stage, replica):
                line[round(slot.start) : round(slot.end)] = [str(slot.micro_batch)] * round(slot.end - slot.start)
            lines.append("".join(line))
    return lines


def test_equal_stages():
    assert draw(simulate([1, 1, 1], 4)) == [
        "0123..",
        ".0123.",
        "..0123",
    ]


def test_a_slow_stage_holds_back_those_before_it():
    # Room for one: stage 0 waits with what it made until stage 1 has taken the one before.
    assert draw(simulate([1, 3], 4, room=1)) == [
        "012.3........",
        ".000111222333",
    ]


def test_replicas_take_turns():
    assert draw(simulate([1, 2], 4, [1, 2])) == [
        "0123..",
        ".0022.",
        "..1133",
    ]


@given(stages=st.integers(1, 8), micro_batches=st.integers(1, 40), room=st.integers(1, 4))
def test_bubbles_of_equal_stages_follow_the_formula(stages: int, micro_batches: int, room: int):
    schedule = simulate([0.5] * stages, micro_batches, room=room)
    assert schedule.bubble_share == pytest.approx(fill_bubbles(stages, micro_batches))
    assert schedule.seconds == pytest.approx(0.5 * (micro_batches + stages - 1))


SECONDS = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@given(seconds=SECONDS, micro_batches=st.integers(1, 25), room=st.integers(1, 3), data=st.data())
def test_a_timetable_keeps_the_rules(seconds: list[int], micro_batches: int, room: int, data: st.DataObject):
    replicas = [data.draw(st.integers(1, 3)) for _ in seconds]
    schedule = simulate(seconds, micro_batches, replicas, room=room)
    at = {(slot.stage, slot.micro_batch): slot for slot in schedule.slots}
    assert len(at) == len(seconds) * micro_batches
    for (stage, number), slot in at.items():
        assert slot.end - slot.start == seconds[stage]
        if stage:
            assert slot.start >= at[stage - 1, number].end
    for stage, count in enumerate(replicas):
        for replica in range(count):
            lane = schedule.lane(stage, replica)
            assert all(one.end <= other.start for one, other in itertools.pairwise(lane))
        if stage:
            # No more than `room` wait, beside those that the stage before still holds.
            for slot in schedule.slots:
                if slot.stage == stage:
                    waiting = [
                        other
                        for number in range(micro_batches)
                        if (other := at[stage - 1, number]).end <= slot.start < at[stage, number].start
                    ]
                    assert len(waiting) <= room + replicas[stage - 1]
    slowest = max(s / r for s, r in zip(seconds, replicas, strict=True))
    assert schedule.seconds >= max(sum(seconds), slowest * micro_batches)
    assert 0 <= schedule.bubble_share < 1


@given(seconds=SECONDS, room=st.integers(1, 3))
def test_a_full_pipeline_hands_out_one_each_period(seconds: list[int], room: int):
    few, many = simulate(seconds, 50, room=room), simulate(seconds, 150, room=room)
    assert many.seconds - few.seconds == 100 * max(seconds)


@pytest.mark.parametrize(
    "arguments",
    [([], 1, None), ([-1.0], 1, None), ([1.0], 0, None), ([1.0], 1, [0]), ([1.0], 1, [1, 1])],
)
def test_refuses_what_cannot_be(arguments):
    with pytest.raises(ValueError, match="must"):
        simulate(*arguments)
