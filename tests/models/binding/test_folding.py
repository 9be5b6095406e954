from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamsplit.models.binding import folding
from beamsplit.models.binding.folding import fold
from tests.models.binding.binding_cases import FEW


@pytest.mark.parametrize(
    ("dims", "shape", "row_shape"),
    [
        ((), (), ()),
        ((1,), (), (1,)),
        ((None,), (), (1,)),
        ((4,), (), None),
        ((4,), (4,), (4,)),
        ((4,), (5,), None),
        ((4,), (None,), (4,)),
        (("seq",), (None,), (None,)),
        (("seq",), (7,), (7,)),
        ((3, "h", "w"), (None, None, None), (3, None, None)),
        ((3, "h", "w"), (None, None), None),
        ((1, "h", "w"), (None, 8), (1, None, 8)),
        ((28, 28), (1, 28, 28), (28, 28)),
        ((2, 3), (6,), (2, 3)),
        ((2, 3), (7,), None),
        ((2, None), (6,), (2, 3)),
        ((2, None), (7,), None),
        ((2, None), (None,), (2, None)),
        (("a", "b"), (6,), None),
        ((4,), (2, 2), None),
        (None, (None, 3), (None, 3)),
    ],
)
def test_shapes(dims, shape, row_shape):
    folded = fold(dims, shape)
    assert (folded and folded.row_shape) == row_shape


@given(st.lists(st.integers(1, 4), max_size=3), st.data())
@FEW
def test_rows_keep_their_number_of_values(sizes, data):
    dims = tuple(data.draw(st.sampled_from([size, "symbol"])) for size in sizes)
    known = [size if data.draw(st.booleans()) else None for size in sizes]
    folded = fold(dims, tuple(known))
    assert folded is not None
    shapes, fits = folded.apply(np.array([sizes]), np.array([math.prod(sizes)]))
    assert shapes.tolist() == [sizes] and fits.tolist() == [True]


def test_examples():
    assert doctest.testmod(folding).failed == 0
