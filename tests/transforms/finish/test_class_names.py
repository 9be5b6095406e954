"""Finish steps where the model tells the names of its classes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.classes import ClassNames
from beamsplit.models.values.tensors import to_numpy
from beamsplit.transforms.finish import parse_finish
from beamsplit.transforms.finish.expand import column_names
from beamsplit.transforms.step import StepResult
from tests.transforms.finish.scores import SCORES, block_of

NAMED = ClassNames((("s", ("low", "mid", "high")),))
NUMBERED = ClassNames((("s", (3, 7, 9)),))


def run(spec: str, block: pa.RecordBatch, classes: ClassNames | None = NAMED) -> StepResult:
    step = parse_finish(spec, ["s"], classes)
    result = step(block)
    assert result.block.schema == step.output_schema(block.schema)
    result.block.validate(full=True)
    return result


def test_argmax_and_top_k_give_names():
    block = block_of(s=SCORES)
    assert run("argmax", block).block.column("s_argmax").to_pylist() == ["mid", "low"]
    assert run("argmax", block, NUMBERED).block.column("s_argmax").to_pylist() == [7, 3]
    assert run("argmax:numbers", block).block.column("s_argmax").to_pylist() == [1, 0]
    assert run("top_k:2", block).block.column("s_top_k").to_pylist() == [["mid", "high"], ["low", "mid"]]
    assert to_numpy(run("top_k:2", block, NUMBERED).block.column("s_top_k")).tolist() == [[7, 9], [3, 7]]
    pixels = block_of(s=SCORES.T.reshape(1, 3, 2))
    assert run("argmax:axis=1", pixels).block.column("s_argmax").to_pylist() == [["mid", "low"]]


@pytest.mark.parametrize("spec", ["argmax", "top_k:2"])
def test_names_of_another_number_of_classes_are_left_aside(spec: str):
    made = run(spec, block_of(s=SCORES), ClassNames((), ("no", "yes"))).block
    assert made.column(0).to_pylist()[0] in (1, [1, 2])


def test_expand_makes_a_column_a_class():
    made = run("expand", block_of(id=["a", "b"], s=SCORES)).block
    assert made.schema.names[:4] == ["id", "p_low", "p_mid", "p_high"]
    assert made.column("p_mid").to_pylist() == SCORES[:, 1].tolist()
    assert run("expand", block_of(s=SCORES), NUMBERED).block.schema.names[:3] == ["p_3", "p_7", "p_9"]
    assert run("expand", block_of(s=SCORES), None).block.schema.names[:3] == ["p_0", "p_1", "p_2"]
    assert run("expand:numbers,keep,prefix=class_", block_of(s=SCORES)).block.schema.names[:2] == ["s", "class_0"]
    assert run("expand", block_of(s=SCORES.reshape(2, 3, 1, 1))).block.column("p_low").to_pylist() == [
        *SCORES[:, 0].tolist()
    ]
    pixels = run("expand:axis=1", block_of(s=SCORES.T.reshape(1, 3, 2))).block
    assert to_numpy(pixels.column("p_mid")).tolist() == [SCORES[:, 1].tolist()]
    assert run("expand", block_of(s=SCORES[:0])).block.num_rows == 0


def test_expand_keeps_what_is_no_number_and_fails_nulls():
    column = pa.array([[1.0, None, 2.0], [np.nan, np.inf, 0.0], None], pa.list_(pa.float32(), 3))
    result = run("expand", block_of(s=column))
    assert [failure.row for failure in result.failures] == [0, 2]
    assert result.block.column("p_mid").to_pylist() == [np.inf]


def test_expand_is_refused_where_names_and_columns_do_not_match():
    two = ClassNames((("s", ("no", "yes")),))
    with pytest.raises(
        UsageError, match=r"names 2 classes \(no, yes\), and column 's' holds 3 .*type --finish expand:s,num"
    ):
        run("expand", block_of(s=SCORES), two)
    with pytest.raises(UsageError, match="column 's' holds 1 a row"):
        run("expand", block_of(s=SCORES[:, :1]), two)
    with pytest.raises(
        UsageError, match="'p_low', and the data has one of that name already; type --finish expand:s,pre"
    ):
        run("expand", block_of(p_low=["a", "b"], s=SCORES))
    with pytest.raises(UsageError, match="as many scores in each row"):
        run("expand", block_of(s=pa.array([[1.0], [2.0, 3.0]], pa.list_(pa.float32()))))


def test_names_of_columns_are_plain_and_unlike():
    assert column_names(["a b", "a-b", "A B", "", "é", "a_b_2"], "p_") == [
        "p_a_b", "p_a_b_2", "p_A_B_3", "p_", "p_é", "p_a_b_2_2"
    ]  # fmt: skip


def test_labels_of_the_model_and_of_classes_that_have_names():
    listed = ClassNames((), ("cat", "dog"))
    made = run("labels", block_of(s=np.array([[1], [0], [2]])), listed)
    assert made.block.column("s").to_pylist() == ["dog", "cat"]
    assert made.failures == [(2, "class 2 in column 's' has no label in the model")]
    with pytest.raises(UsageError, match="the model tells none; type labels:FILE"):
        run("labels", block_of(s=np.array([1, 0])), ClassNames())
    with pytest.raises(UsageError, match="leave labels out where it holds names already"):
        run("labels", run("argmax", block_of(s=SCORES)).block)
