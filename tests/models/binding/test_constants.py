from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from beamsplit.models.binding.constants import constant
from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.constant_axes import with_constants
from beamsplit.models.graph.signature import TensorSpec
from tests.models.binding.binding_cases import IDS, MASK, TOKENS, batch, bound, signature


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


@pytest.mark.parametrize(
    ("dtype", "shape", "text", "wanted"),
    [
        ("string", (None, 1), "a", np.array([["a"]] * 3, object)),
        ("string", ("k", 1), "a, b", np.array([["a, b"]] * 3, object)),
        ("float32", (None, 1), "2.5", np.full((3, 1), 2.5, np.float32)),
        ("bool", ("k",), "true", np.ones(3, bool)),
        ("float16", (None, 2), "0.5", np.full((3, 2), 0.5, np.float16)),
        ("uint8", ("k", 1), "255", np.full((3, 1), 255, np.uint8)),
        ("int64", ("batch",), "9007199254740993.0", np.full(3, 9007199254740993)),
        ("int64", ("batch", 3), "1,2,3", np.array([[1, 2, 3]] * 3)),
        ("float32", (2, 2), "[1, 2, 3, 4]", np.array([[1, 2], [3, 4]], np.float32)),
        ("float32", ("seq",), "7", np.full(4, 7, np.float32)),
        ("float32", ("seq",), "zeros", np.zeros(4, np.float32)),
    ],
)
def test_one_value_fills_the_rows_of_each_run(dtype, shape, text, wanted):
    inputs = [IDS, ("h", dtype, shape)]
    given = signature(*inputs)
    axes = with_constants({"ids": 0}, given, {"h": text})
    made = constant(given.inputs[1], axes["h"], text, symbols={"seq"}).sized(3, {"seq": 4})
    assert made.dtype == wanted.dtype and np.array_equal(made, wanted)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("int64", "a"),
        ("int64", "1.5"),
        ("int64", "1_000"),
        ("int64", "9223372036854775808"),
        ("uint8", "256"),
        ("uint8", "-1"),
        ("bool", "yes"),
        ("float16", "70000"),
        ("float32", "1e39"),
        ("float32", "1,x"),
        ("int32", "nan"),
    ],
)
def test_a_text_that_is_no_value_of_the_type_is_told_in_one_line(dtype, text):
    with pytest.raises(UsageError, match=rf"--set h={text}: .*takes {dtype} values; give a number of that type"):
        constant(signature(("h", dtype, (2,))).inputs[0], None, text)


def test_a_list_of_another_length_names_both_sides():
    wanted = r"--set h=1,2,3: that is 3 values, the model's input is 'h: float32\[batch, 2\]'"
    with pytest.raises(UsageError, match=wanted):
        constant(signature(("h", "float32", ("batch", 2))).inputs[0], 0, "1,2,3")


def test_arrays_behind_one_another_in_one_file_are_refused(tmp_path):
    path = tmp_path / "two.npy"
    with open(path, "wb") as file:
        np.save(file, np.ones(3, np.float32))
        np.save(file, np.zeros(3, np.float32))
    with pytest.raises(UsageError, match="holds several arrays; write one array"):
        constant(TensorSpec("h", "float32", (3,)), None, str(path))
