from __future__ import annotations

import dataclasses

import pytest

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.split.alternatives import WholeCost, predict_alternatives
from beamsplit.models.split.plan import Alternative, Plan, StagePlan
from beamsplit.models.split.verdict import make_verdict, rank, revised_verdict

REPLICAS = Alternative("4 replicas of the whole model", 130.0, 3.0e9, measured=True)
WIDE = Alternative("the whole model with 4 threads", 110.0, 3.0e9, measured=True)
STAGES = Alternative("4 stages", 100.0, 0.8e9)


def verdict(split: Alternative, *others: Alternative, stages: int = 4, here: bool = True) -> str:
    return make_verdict(split, others, stages=stages, stage_bytes=0.9e9, whole_bytes=3.1e9, here=here)


def test_replicas_win():
    assert verdict(STAGES, WIDE, REPLICAS) == (
        "4 replicas of the whole model are 1.3x faster here than 4 stages; split only if a worker has less than 3.1 GB."
    )


def test_what_differs_by_less_than_its_measurements_is_about_as_fast():
    unsure = dataclasses.replace(REPLICAS, spread=0.25)
    measured = dataclasses.replace(STAGES, measured=True, spread=0.1)
    assert "are about as fast here (both measured)" in verdict(measured, unsure)
    assert "are 1.3x faster here than 4 stages (both measured)" in verdict(measured, REPLICAS)


def test_one_session_with_all_cores_wins():
    slow = Alternative("4 replicas of the whole model", 90.0, 3.0e9, measured=True)
    assert verdict(STAGES, WIDE, slow).startswith("The whole model with 4 threads is 1.1x faster here than 4 stages")


def test_the_split_wins():
    fast = Alternative("4 stages", 260.0, 0.8e9)
    assert verdict(fast, WIDE, REPLICAS) == (
        "Split: 4 stages are 2x faster here than 4 replicas of the whole model, "
        "and a worker holds 900 MB in place of 3.1 GB."
    )


def test_no_difference():
    even = Alternative("4 stages", 129.0, 0.8e9)
    assert "are about as fast here: split if a worker has less than 3.1 GB" in verdict(even, WIDE, REPLICAS)


def test_what_was_measured_is_said():
    ran = Alternative("4 stages", 100.0, 0.8e9, measured=True)
    assert "than 4 stages (both measured);" in verdict(ran, REPLICAS)
    guess = Alternative("4 replicas of the whole model", 130.0, 3.0e9)
    assert "than 4 stages (predicted);" in verdict(STAGES, guess, here=False)
    assert "1.3x faster on these workers than" in verdict(STAGES, guess, here=False)


def test_splitting_makes_it_possible():
    none = Alternative("4 replicas of the whole model", 130.0, 3.0e9, fits=False)
    assert verdict(STAGES, none) == (
        "No worker holds the whole model (3.1 GB): splitting is what makes it possible, "
        "with 900 MB in a worker and 100 rows/s predicted."
    )


def test_one_stage_is_no_split():
    one = Alternative("4 replicas of the whole model", 140.0, 3.0e9)
    assert verdict(one, REPLICAS, WIDE, stages=1) == (
        "No split is faster here than 4 replicas of the whole model (130 rows/s measured); "
        "split only if a worker has less than 3.1 GB."
    )


def test_the_fastest_that_fits_is_first():
    none = Alternative("8 replicas of the whole model", 900.0, 3.0e9, fits=False)
    assert rank([none, STAGES, REPLICAS, WIDE]) == (REPLICAS, WIDE, STAGES, none)


def test_only_workers_with_the_memory_count_as_replicas():
    workers = [ClusterWorker("a", 2.0, memory_bytes=4e9), ClusterWorker("b", 1.0, memory_bytes=1e9)]
    (found,) = predict_alternatives(workers, WholeCost(0.5, 3e9, 3.1e9), 10)
    assert found == Alternative(
        "1 replica of the whole model (the only worker of 2 with the memory)", 40.0, 3e9, measured=False, fits=True
    )
    # One in a second for compute and one for transfer, beside two in one second.
    linked = [ClusterWorker("a", 1.0, bandwidth=100.0), ClusterWorker("b", 2.0)]
    (found,) = predict_alternatives(linked, WholeCost(1.0, 3e9, 3e9, transfer_bytes=100.0), 10)
    assert found.rows_per_second == 5 + 20
    small = workers[1:]
    (found,) = predict_alternatives(small, WholeCost(0.5, 3e9, 3.1e9), 10)
    assert not found.fits and found.rows_per_second == 20


def test_of_ways_as_fast_the_whole_model_comes_before_the_split():
    level = Alternative("4 stages", 131.0, 0.8e9)
    assert rank([level, WIDE, REPLICAS]) == (REPLICAS, level, WIDE)
    assert rank([Alternative("4 stages", 140.0, 0.8e9), REPLICAS])[0].name == "4 stages"
    assert rank([level, dataclasses.replace(REPLICAS, fits=False)])[0] == level


@pytest.mark.parametrize(
    ("rate", "replicas", "said"),
    [
        (900.0, 500.0, "of the model alone (-10%): more than 2 replicas of the whole model (500 rows/s measured, "),
        (900.0, 920.0, "near enough for the choice between it and 2 replicas"),
        (60.0, 920.0, "(-94%): too little for it to be called faster than 2 replicas"),
        (900.0, 2000.0, "do not split, 2 replicas of the whole model (2,000 rows/s measured, the model alone) are"),
        (900.0, None, "(-10%); no other way fits the workers."),
    ],
)  # fmt: skip
def test_what_a_run_measured_revises_the_verdict(rate, replicas, said):
    stages = tuple(StagePlan(at, (), (), ()) for at in range(2))
    found = [] if replicas is None else [Alternative("2 replicas of the whole model", replicas, 9.0, True)]
    own = Alternative("2 stages", 1000.0, 5.0)
    plan = Plan("m.onnx", "", 10, stages, period=0.01, alternatives=(own, *found))
    assert revised_verdict(plan, rate).startswith("Run, 2 stages gave ")
    assert said in revised_verdict(plan, rate)
    whole, split = Alternative("2 replicas of the whole model", 100.0, 3e9), Alternative("2 stages", 102.9, 1e9)
    assert rank([split, whole]) == (whole, split)
    just = dataclasses.replace(split, rows_per_second=100 * 1.03)
    assert rank([just, whole]) == (just, whole)
