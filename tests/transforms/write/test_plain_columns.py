from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.transforms.write.plain_columns import plain_values


@pytest.mark.parametrize("shape", [[], [1], [3], [2, 3], [1, 2, 2]])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_tensors_as_lists(shape: list[int], first: int) -> None:
    kind = pa.fixed_shape_tensor(pa.int32(), shape)
    values = np.arange(4 * int(np.prod(shape)), dtype=np.int32)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(values), int(np.prod(shape)))
    column = pa.ExtensionArray.from_storage(kind, storage).slice(first)
    assert plain_values(column).to_pylist() == values.reshape(4, *shape)[first:].tolist()


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0], None])
def test_tensors_whose_axes_lie_otherwise(order: list[int] | None) -> None:
    kind = pa.fixed_shape_tensor(pa.float32(), [2, 3, 4], permutation=order)
    values = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    column = pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 24))
    wanted = values if order is None else values.transpose([0, *(axis + 1 for axis in order)])
    assert plain_values(column).to_pylist() == wanted.tolist()


def test_null_tensors_are_null() -> None:
    kind = pa.fixed_shape_tensor(pa.int64(), [2, 1])
    column = pa.ExtensionArray.from_storage(kind, pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2)))
    assert plain_values(column).to_pylist() == [[[1], [2]], None, [[3], [4]]]
    assert plain_values(column.slice(1)).to_pylist() == [None, [[3], [4]]]
