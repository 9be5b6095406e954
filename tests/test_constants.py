from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from models.errors import UsageError
from tests.binding_cases import IDS, MASK, TOKENS, batch, bound


def test_constants_follow_the_rows_and_the_other_inputs():
    inputs = [IDS, MASK, ("h", "float32", (2, "batch", 3)), ("sr", "int64", ()), ("s", "string", (1,))]
    inputs += [("flag", "bool", ())]
    sets = {"mask": "ones", "h": "zeros", "sr": "16000", "s": "zeros", "flag": "true"}
    binding = bound(inputs, pa.schema({"ids": TOKENS}), axes={"h": 1, "sr": None, "s": None, "flag": None}, sets=sets)
    assert binding.columns == ("ids",)
    assert "h: float32[2, rows, 3] = zeros" in binding.describe()
    opened = binding.open(batch(ids=[[1, 2], [3, 4], [5]]))
    for feeds, rows, seq in ((opened.feeds(0, 2), 2, 2), (opened.feeds(2, 3), 1, 1), (opened.feeds(1, 2), 1, 2)):
        assert feeds["mask"].tolist() == [[1] * seq] * rows
        assert feeds["h"].shape == (2, rows, 3) and feeds["h"].dtype == np.float32 and not feeds["h"].any()
        assert feeds["sr"].shape == () and feeds["sr"] == 16000 and feeds["sr"].dtype == np.int64
        assert feeds["s"].tolist() == ["zeros"] and feeds["flag"].tolist() is True


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 3)])
def test_arrays_from_files_with_and_without_the_rows_axis(tmp_path, shape):
    values = np.arange(6, dtype=np.float32)
    np.save(tmp_path / "h.npy", values.reshape(shape))
    inputs = [IDS, ("h", "float32", (2, "batch", 3))]
    binding = bound(inputs, pa.schema({"ids": TOKENS}), axes={"h": 1}, sets={"h": str(tmp_path / "h.npy")})
    fed = binding.open(batch(ids=[[1], [2]])).feeds(0, 2)["h"]
    assert fed.tolist() == [[[0, 1, 2]] * 2, [[3, 4, 5]] * 2]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4), np.float32), r"shape is \[2, 1, 4\].*'h: float32\[2, batch, 3\]' with the rows on"),
        (np.zeros((2, 5, 3), np.float32), "where the file has 1 or no axis; save an array of that shape"),
        (np.zeros((2, 3)), "holds float64, the model's input .*; save it with that type, or add --narrow"),
        (np.zeros((2, 3), "U1"), "holds string, the model's input .* takes float32"),
        (np.array([{}]), "not a readable .npy file of plain values"),
        (None, "not a readable .npy file of plain values"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, message):
    path = tmp_path / "h.npy"
    if array is not None:
        np.save(path, array)
    with pytest.raises(UsageError, match=message):
        bound(
            [IDS, ("h", "float32", (2, "batch", 3))],
            pa.schema({"ids": TOKENS}),
            axes={"h": 1},
            sets={"h": str(path)},
        )


@pytest.mark.parametrize(
    ("dtype", "shape", "text", "message"),
    [
        ("int64", (), "1.5", "takes int64 values; give a number of that type"),
        ("uint8", (), "256", "takes uint8 values; give a number of that type"),
        ("float32", (), "many", "takes float32 values; give a number of that type"),
        ("bool", (), "2", "takes bool values"),
        ("float32", ("n", "hidden"), "zeros", r"the size of its dimension 1 \(hidden\); give an array"),
        ("float32", None, "ones", "does not say its shape; give an array with --set h=FILE.npy"),
    ],
)
def test_values_that_do_not_fit(dtype, shape, text, message):
    axes = {"h": 0 if shape else None}
    with pytest.raises(UsageError, match=message):
        bound([IDS, ("h", dtype, shape)], pa.schema({"ids": TOKENS}), sets={"h": text}, axes=axes)
