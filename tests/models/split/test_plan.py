from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.models.errors import UsageError
from beamsplit.models.split.plan import (
    Alternative,
    BoundaryTensor,
    FrontierPoint,
    Plan,
    StagePlan,
    check_runnable,
    from_json,
    read_plan,
    to_json,
)

NAMES = st.text(min_size=1, max_size=5)
TUPLES = st.lists(NAMES, max_size=3).map(tuple)
FINITE = st.floats(0, 1e12)
STAGES = st.builds(
    StagePlan,
    index=st.integers(0, 9),
    nodes=TUPLES,
    inputs=TUPLES,
    outputs=TUPLES,
    passes=TUPLES,
    weight_bytes=st.integers(0, 1 << 40),
    seconds=FINITE,
    bytes_in=FINITE,
    bytes_out=FINITE,
    replicas=st.integers(1, 9),
    workers=TUPLES,
    file=st.none() | NAMES,
)
DIMS = st.lists(st.integers(0, 9) | NAMES | st.none(), max_size=4).map(tuple)
TENSORS = st.builds(
    BoundaryTensor,
    name=NAMES,
    dtype=st.sampled_from(["float32", "bfloat16", "int4", "string"]),
    shape=st.none() | DIMS,
    rows_axis=st.none() | st.integers(0, 3),
    folded=st.booleans(),
    nbytes=FINITE,
)
PLANS = st.builds(
    Plan,
    model=NAMES,
    model_hash=NAMES,
    micro_batch=st.integers(1, 99),
    stages=st.lists(STAGES, max_size=3).map(tuple),
    boundaries=st.lists(TENSORS, max_size=3).map(tuple),
    rewrites=TUPLES,
    period=FINITE,
    lower_bound=FINITE,
    alternatives=st.lists(
        st.builds(Alternative, name=NAMES, rows_per_second=FINITE, worker_bytes=FINITE), max_size=2
    ).map(tuple),
    notes=TUPLES,
)


@given(PLANS)
def test_json_gives_the_same_plan(plan: Plan):
    assert from_json(to_json(plan)) == plan


def skip_plan() -> Plan:
    """x -> a -> b -> c -> y, where c also reads a (it passes through b's stage) and x."""
    return Plan(
        "m.onnx",
        "0",
        8,
        (
            StagePlan(0, ("a",), ("x",), ("ta",)),
            StagePlan(1, ("b",), ("ta",), ("tb",), passes=("ta", "x")),
            StagePlan(2, ("c",), ("tb", "ta", "x"), ("y",)),
        ),
        tuple(BoundaryTensor(name, "float32", ("rows", 2)) for name in ("x", "ta", "tb")),
        period=0.5,
        lower_bound=0.4,
    )


def test_boundary_names_what_crosses_a_cut():
    assert skip_plan().boundary(0) == ("x", "ta")
    assert skip_plan().boundary(1) == ("x", "ta", "tb")


def test_rates_follow_from_the_period():
    assert skip_plan().rows_per_second == 16
    assert skip_plan().gap == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "no plan of version 1"),
        ({"micro_batch": "8"}, "'8' is not int"),
        ({"micro_batch": True}, "True is not int"),
        ({"stages": {}}, "is not a list"),
        ({"stages": [3]}, "3 is not an object"),
        ({"color": 1}, "unknown field 'color'"),
        ({"boundaries": [{"name": "t", "dtype": "float32", "shape": [1.5]}]}, "1.5 is not"),
    ],
)
def test_refuses_what_is_no_plan(change: dict[str, object], message: str):
    text = json.dumps(json.loads(to_json(skip_plan())) | change)
    with pytest.raises(UsageError, match=message):
        from_json(text)


def test_a_missing_field_is_named():
    values = json.loads(to_json(skip_plan()))
    del values["model_hash"]
    with pytest.raises(UsageError, match="model_hash"):
        from_json(json.dumps(values))


def test_a_file_that_is_no_plan(tmp_path):
    with pytest.raises(UsageError, match=r"--plan .*missing.json cannot be read"):
        read_plan(str(tmp_path / "missing.json"))
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        read_plan(str(tmp_path / "p.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "it has no stages"),
        ({"micro_batch": 0}, "its micro_batch is 0, and at least 1 row is wanted"),
        ({"stages": "turned round"}, "its stages are numbered 1, 0, not from 0 in order"),
    ],
)
def test_a_plan_that_cannot_be_run(change: dict[str, object], message: str):
    stages = tuple(StagePlan(at, (f"n{at}",), (f"t{at}",), (f"t{at + 1}",)) for at in range(2))
    plan = Plan("m.onnx", "0" * 64, 8, stages)
    check_runnable(plan, "--plan p.json")
    if change.get("stages") == "turned round":
        change = {"stages": stages[::-1]}
    with pytest.raises(UsageError) as error:
        check_runnable(replace(plan, **change), "--plan p.json")
    assert str(error.value) == f"--plan p.json cannot be run: {message}; make it again with python -m pipelines.plan"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"links": "ring"}, "its links are 'ring', neither chain nor direct"),
        ({"frontier": (FrontierPoint(1, 1, "whole", 0.0, 1.0),)}, "its frontier has 0.0 rows/s of 1 workers"),
        ({"stages": (StagePlan(0, ("a",), (), (), speed=0.0),)}, "the speed of stage 0 is 0.0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(change, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        check_runnable(Plan("m.onnx", "", 8, **{"stages": (StagePlan(0, ("a",), (), ()),), **change}), "--plan p.json")


def test_seconds_on_the_worker_that_runs_a_stage():
    assert StagePlan(0, (), (), (), seconds=3.0, speed=2.0).worker_seconds == 1.5
