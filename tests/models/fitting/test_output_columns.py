"""Which axis of an output carries the rows, and what one row's slice looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beamsplit.models.fitting.output_columns import SeenOutputs, output_columns
from beamsplit.models.graph.signature import Signature, TensorSpec

NOT_RUN = SeenOutputs(None, None)


def column(declared: Any, seen: SeenOutputs, **how: Any) -> tuple[int | None, tuple[int, ...] | None]:
    """(axis of the rows, shape of a row) of an output y."""
    how = {"row_by_row": False, "steady": True} | how
    (made,) = output_columns(Signature((), (TensorSpec("y", "float32", declared),)), seen, **how)
    return made.rows_axis, made.row_shape


def ran(shape: tuple[int, ...], axis: int | None = 0, lists: tuple[str, ...] = ()) -> SeenOutputs:
    return SeenOutputs({"y": axis}, {"y": np.zeros(shape, np.float32)}, lists)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (("n", 3), (0, (3,))),
        (("n",), (0, ())),
        (("n", "t"), (0, None)),
        (("n", 2, 3), (0, (2, 3))),
        (None, (0, ())),
    ],
)
def test_what_was_not_run_is_as_declared(declared: Any, expected: Any):
    assert column(declared, NOT_RUN) == expected
    assert column(declared, NOT_RUN, steady=False) == expected


@pytest.mark.parametrize(
    ("declared", "seen", "steady", "expected"),
    [
        # What came is what counts; declared are a wrong rank and size.
        (("n", 9), ran((4, 3)), True, (0, (3,))),
        (("n",), ran((4, 3, 2)), True, (0, (3, 2))),
        (("a", "b"), ran((3, 4), axis=1), True, (1, (3,))),
        (("a", "b"), ran((3, 4), axis=None), True, (None, (3, 4))),
        # Where rows may have unlike shapes, only what both say is the same for all.
        (("n", 3), ran((4, 3)), False, (0, (3,))),
        (("n", 9), ran((4, 3)), False, (0, None)),
        (("n", "t"), ran((4, 3)), False, (0, None)),
        (("n", 3), ran((4, 3, 2)), False, (0, None)),
        (None, ran((4, 3)), False, (0, None)),
        # An output as long as the values make it, too.
        (("n", 3), ran((4, 3), lists=("y",)), True, (0, (3,))),
        (("n", "t"), ran((4, 3), lists=("y",)), True, (0, None)),
        (("n", "t"), ran((4, 3), lists=("z",)), True, (0, (3,))),
    ],
)
def test_what_was_run_together(declared: Any, seen: SeenOutputs, steady: bool, expected: Any):
    assert column(declared, seen, steady=steady) == expected


@pytest.mark.parametrize(
    ("declared", "seen", "expected"),
    [
        (("n", 3), ran((1, 3)), (0, (3,))),
        (("n", 3), ran((2, 3)), (None, (2, 3))),
        (("n", 3), ran(()), (None, ())),
        ((1, 3), NOT_RUN, (0, (3,))),
        (("n", 3), NOT_RUN, (None, None)),
        ((2, 3), NOT_RUN, (None, (2, 3))),
        (None, NOT_RUN, (None, None)),
        # A list that happens to have one entry is not the batch of one row, unless that is declared beside other axes.
        (("k", 4), ran((1, 4), lists=("y",)), (None, None)),
        ((1, 4), ran((1, 4), lists=("y",)), (0, (4,))),
        ((1,), ran((1,), lists=("y",)), (None, (1,))),
        (("k",), ran((1,), lists=("y",)), (None, None)),
        (None, ran((1,), lists=("y",)), (None, None)),
    ],
)
def test_what_each_row_gave_alone(declared: Any, seen: SeenOutputs, expected: Any):
    assert column(declared, seen, row_by_row=True) == expected


def test_a_name_for_the_rows_that_inputs_have_too_tells_of_the_batch():
    seen = ran((1, 4), lists=("y",))
    assert column(("n", 4), seen, row_by_row=True, symbols=("n",)) == (0, (4,))
    assert column(("k", 4), seen, row_by_row=True, symbols=("n",)) == (None, None)
