"""Numbers that a plan in a file cannot have, each told; at their limits they can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from beamsplit.models.plan_limits import MOST_BYTES, MOST_PARTS, wrong_shards
from beamsplit.models.shard.plan import Join, KeptWhole, ShardedLayer, ShardPlan, ShardStepPlan

SHARDED = ShardStepPlan(True, ("x",), ("a",), (4, 0), ("a.onnx", "b.onnx"), 0, ("1", "2"))
WHOLE = ShardStepPlan(False, ("a",), ("y",), (0,), ("c.onnx",), 999, ("3",))
LAYER = ShardedLayer("fc", "Gemm", "w", 1, (0, 8), 0, "slices", MOST_BYTES)
PLAN = ShardPlan(
    model="m.onnx", model_hash="", outputs=("y",), shards=2, steps=(SHARDED, WHOLE), joins=(Join("a", 0, "concat"),),
    layers=(LAYER,), kept_whole=(KeptWhole("k", 5, "small"),), weight_bytes=9, sharded_bytes=4, least_bytes=1,
)  # fmt: skip


def step(at: int, **more: Any) -> dict[str, Any]:
    return {"steps": tuple(replace(one, **more) if n == at else one for n, one in enumerate(PLAN.steps))}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        step(0, sha256=()),
        step(0, sha256=(), files=(), weight_bytes=()),
        {"joins": (Join("a", 0, "sum"), Join("b", 0, "sizes"))},
        {"shards": MOST_PARTS, **step(0, sha256=())},
    ],
)
def test_plans_that_can_be(changed: dict[str, Any]):
    assert wrong_shards(replace(PLAN, **changed)) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shards": 1}, "its shards are 1, and 2 to 1,000 can be"),
        ({"shards": 1001}, "its shards are 1,001, and 2 to 1,000 can be"),
        ({"steps": ()}, "its last step is not a whole one"),
        ({"steps": PLAN.steps[:1]}, "its last step is not a whole one"),
        (step(0, sha256=("1",)), "step 0 does not have a file and its bytes for each of 2 models"),
        (step(0, files=("a",)), "step 0 does not have a file and its bytes for each of 2 models"),
        (step(1, weight_bytes=(1, 1)), "step 1 does not have a file and its bytes for each of 1 models"),
        ({"shards": 3}, "step 0 does not have a file and its bytes for each of 3 models"),
        (step(1, weight_bytes=(-1,)), "weight_bytes of step 1"),
        (step(0, depth=-1), "step 0 is of stage -1"),
        (step(1, depth=1000), "step 1 is of stage 1,000"),
        ({"joins": (Join("a", 1, "sum"),)}, "the join of a is of step 1, which is no sharded one"),
        ({"joins": (Join("a", 2, "sum"),)}, "the join of a is of step 2, which is no sharded one"),
        ({"joins": (Join("a", -2, "sum"),)}, "the join of a is of step -2, which is no sharded one"),
        ({"joins": (Join("a", 0, "mean"),)}, "a is joined by 'mean'"),
        ({"layers": (replace(LAYER, weight_bytes=MOST_BYTES + 1),)}, "weight_bytes of fc"),
        ({"layers": (replace(LAYER, pieces=(9, -1)),)}, "the pieces of fc are 9, -1"),
        ({"kept_whole": (KeptWhole("k", -1, ""),)}, "weight_bytes of k"),
        ({"weight_bytes": -1}, "weight_bytes"),
        ({"sharded_bytes": -1}, "sharded_bytes"),
        ({"least_bytes": -1}, "least_bytes"),
    ],
)
def test_numbers_that_cannot_be(changed: dict[str, Any], said: str):
    assert (wrong_shards(replace(PLAN, **changed)) or "").startswith(said)
