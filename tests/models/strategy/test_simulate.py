"""The simulator beside cases worked out by hand, another simulator, a clock that ticks, and the closed form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.split import schedule
from beamsplit.models.strategy.candidate import Candidate, Pod
from beamsplit.models.strategy.cost import ReplicaTeam, Stage, pod_latency, pod_period
from beamsplit.models.strategy.simulate import run_pod, simulate


def stage(seconds: float = 0.0, replicas: int = 1, **more: float) -> Stage:
    return Stage((ReplicaTeam(),) * replicas, seconds, **more)  # type: ignore[arg-type]


def test_two_stages_by_hand():
    # 0 1 2 . .        stage of 1 s
    #   0 0 1 1 2 2    stage of 2 s
    run = run_pod([stage(1.0), stage(2.0)], micro_batches=3)
    assert run.seconds == 7.0
    assert run.stage_busy == (3 / 7, 6 / 7)


def test_a_full_queue_holds_the_stage_before_it():
    # 0 1 2-. 3-...    room for one: micro-batch 2 waits in the first stage until 1 has left the queue
    #   0 0 0 1 1 1
    run = run_pod([stage(1.0), stage(3.0)], micro_batches=4, room=1)
    assert run.seconds == 13.0


def test_two_shards_meet_by_hand():
    # leader: whole 1 | its shard 2 | whole 1      shard 1:  | 2 |      one at a time: 4 s each
    one = stage(2.0, shard_seconds=2.0, shards=2, exchanges=1)
    assert run_pod([one], micro_batches=3).seconds == 12.0
    # Apart and two at once the leader's 1 + 1 and the shards' 2 overlap: the last leaves at 4 + 2 * 2.
    apart = stage(2.0, shard_seconds=2.0, shards=2, exchanges=1, apart=True, in_flight=2)
    assert run_pod([apart], micro_batches=3).seconds == pytest.approx(8.0)


def test_links_are_paid_at_both_ends():
    fast, slow = ReplicaTeam(bandwidth=100.0), ReplicaTeam(bandwidth=10.0)
    chain = [Stage((fast,), 1.0, bytes_out=20.0), Stage((slow,), 1.0, bytes_in=20.0)]
    assert run_pod(chain, micro_batches=1).seconds == 1 + 20 / 10 + 20 / 10 + 1


times = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 3)), min_size=1, max_size=5)


@given(times, st.integers(1, 20), st.integers(1, 3))
def test_chains_are_as_the_timetable_has_them(given_times: list[tuple[int, int]], micro_batches: int, room: int):
    seconds, replicas = zip(*given_times, strict=True)
    run = run_pod([stage(float(s), r) for s, r in given_times], micro_batches=micro_batches, room=room)
    assert run.seconds == pytest.approx(schedule.simulate(seconds, micro_batches, replicas, room=room).seconds)


def ticking(whole: int, share: int, shards: int, rounds: int, micro_batches: int, in_flight: int) -> int:
    """A team of shards, apart, by a clock of whole seconds: each worker does the oldest micro-batch that is ready."""
    # A micro-batch's tasks in order: leader, all shards, leader, ... ; (position, shards left there, who has done it)
    at = dict.fromkeys(range(micro_batches), 0)
    left: dict[int, set[int]] = {one: set() for one in at}
    working: dict[int, tuple[int, int]] = {}
    now, active = 0, list(range(min(in_flight, micro_batches)))
    waiting = list(range(len(active), micro_batches))
    while active:
        for worker in range(shards + 1):
            if worker in working:
                continue
            for one in active:
                leads = at[one] % 2 == 0
                if leads and worker == 0 and not left[one]:
                    left[one] = {0}
                    working[worker] = (one, whole)
                    break
                if (
                    not leads
                    and worker in left[one]
                    and (one, -worker) not in {(b, -w) for w, (b, _) in working.items()}
                ):
                    working[worker] = (one, share)
                    break
        now += 1
        for worker, (one, rest) in list(working.items()):
            if rest > 1:
                working[worker] = (one, rest - 1)
                continue
            del working[worker]
            left[one].discard(worker)
            if not left[one]:
                at[one] += 1
                if at[one] == 2 * rounds + 1:
                    active.remove(one)
                    active += [waiting.pop(0)] if waiting else []
                elif at[one] % 2:
                    left[one] = set(range(1, shards + 1))
    return now


@given(st.integers(1, 4), st.integers(1, 4), st.integers(2, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 3))
def test_teams_of_shards_are_as_a_ticking_clock_has_them(
    whole: int, share: int, shards: int, rounds: int, micro_batches: int, in_flight: int
):
    team = stage(
        float(whole * (rounds + 1)), shard_seconds=float(share * rounds), shards=shards, exchanges=rounds, apart=True,
        in_flight=in_flight,
    )  # fmt: skip
    run = run_pod([team], micro_batches=micro_batches)
    assert run.seconds == pytest.approx(ticking(whole, share, shards, rounds, micro_batches, in_flight))


TEAMS = st.builds(ReplicaTeam, st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([None, 50.0]))
parts = st.builds(
    Stage,
    teams=st.lists(TEAMS, min_size=1, max_size=3).map(tuple),
    seconds=st.floats(0.1, 2.0),
    shard_seconds=st.floats(0.1, 2.0),
    shards=st.integers(1, 3),
    apart=st.booleans(),
    bytes_in=st.floats(0.0, 5.0),
    scatter_bytes=st.floats(0.0, 5.0),
    exchanges=st.integers(1, 3),
    in_flight=st.sampled_from([1, 4]),
).map(lambda one: one if one.shards > 1 else Stage(one.teams, one.seconds, bytes_in=one.bytes_in))  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(parts, min_size=1, max_size=4))
def test_the_closed_form_is_near_and_no_run_is_faster_than_its_bound(stages: list[Stage]):
    run = run_pod(stages)
    work = sum(one.seconds + (one.shards * one.shard_seconds if one.shards > 1 else 0.0) for one in stages)
    speed = sum(team.speed * one.team_size for one in stages for team in one.teams)
    assert run.seconds >= run.micro_batches * work / speed * (1 - 1e-9)
    assert run.seconds >= run.micro_batches * pod_period(stages) * (1 - 1e-9) or any(
        one.shards > 1 and one.in_flight > 1 for one in stages
    )
    assert run.period == pytest.approx(pod_period(stages), rel=0.15)
    assert run_pod(stages, micro_batches=1).seconds <= pod_latency(stages) * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 2.0), st.integers(1, 4)), min_size=1, max_size=6))
def test_the_closed_form_of_a_chain_is_within_a_few_percent(given_stages: list[tuple[float, int]]):
    stages = [stage(seconds, replicas) for seconds, replicas in given_stages]
    assert run_pod(stages).period == pytest.approx(pod_period(stages), rel=0.03)


@settings(max_examples=20, deadline=None)
@given(st.lists(parts, min_size=1, max_size=3), st.data())
def test_a_chain_of_faster_workers_is_not_slower(stages: list[Stage], data: st.DataObject):
    faster = data.draw(st.floats(1.0, 4.0))
    quick = [
        Stage(
            **{**one.__dict__, "teams": tuple(ReplicaTeam(team.speed * faster, team.bandwidth) for team in one.teams)}
        )
        for one in stages
    ]
    assert pod_period(quick) <= pod_period(stages) * (1 + 1e-9)
    assert run_pod(quick, rounds=24).seconds <= run_pod(stages, rounds=24).seconds * 1.02


def candidate(*pods: Pod) -> Candidate:
    return Candidate(2, 1, pods, 1.0, 1.0, 1)


def test_a_thousand_workers():
    wide = candidate(Pod(1, (stage(1.0, 1000),)))
    assert simulate(wide, 10, rounds=8).rows_per_second == pytest.approx(10_000)
    deep = candidate(Pod(100, tuple(stage(1.0) for _ in range(10))), Pod(1, (stage(2.0),)))
    run = simulate(deep, 10)
    assert run.rows_per_second == pytest.approx(1_005)
    assert run.micro_batches == 6_464


def test_what_does_not_fit_is_not_simulated():
    with pytest.raises(ValueError, match="does not fit"):
        simulate(candidate(), 1)


@pytest.mark.parametrize("wrong", [{"room": 0}, {"rounds": 0}, {"micro_batches": 0}])
def test_numbers_out_of_range(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="must be at least 1"):
        run_pod([stage(1.0)], **wrong)


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_workers_that_are_more_than_the_cores_take_turns(seconds: list[int], pods: int, cores: int):
    """Never faster than the work over the cores, nor than with a core each; a chain of one stage keeps them busy."""
    pod = Pod(pods, tuple(stage(float(one)) for one in seconds))
    candidate = Candidate(len(seconds), 1, (pod,), 0.0, 0.0, pods * len(seconds))
    own, shared = simulate(candidate, 6), simulate(candidate, 6, cores=cores)
    most = 6 * cores / sum(seconds)
    assert shared.rows_per_second <= min(most, own.rows_per_second) * 1.05
    if candidate.workers <= cores:
        assert shared == own
    elif len(seconds) == 1:
        assert shared.rows_per_second == pytest.approx(most, rel=0.05)


def test_four_stages_on_two_cores_by_hand():
    # 4 s of work a micro-batch and two cores: one leaves every 2 s.
    pod = Pod(1, tuple(stage(1.0) for _ in range(4)))
    shared = simulate(Candidate(4, 1, (pod,), 0.0, 0.0, 4), 10, cores=2)
    assert shared.rows_per_second == pytest.approx(5.0, rel=0.05)
