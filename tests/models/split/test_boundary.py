from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from beamsplit.models.running.boundary import Boundary, Layout, SampleRuns, find_layouts, layout_of
from beamsplit.models.running.ort_values import bfloat16_bits, from_bfloat16_bits
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.split.staged import StagedSession, tensors_of
from beamsplit.transforms.block_coder import BlockCoder
from tests.models.split import chains

CARRIED = pa.schema([("id", pa.string())])


def carried(rows: int) -> pa.RecordBatch:
    return pa.record_batch({"id": [f"row {k}" for k in range(rows)]}, schema=CARRIED)


def across(layout: Layout, values: np.ndarray, rows: int) -> np.ndarray:
    """The tensor after it has crossed a cut as bytes."""
    boundary = Boundary((layout,), CARRIED)
    block = boundary.pack({layout.name: values}, carried(rows))
    assert block.schema == boundary.schema and block.num_rows == rows
    coder = BlockCoder()
    arrived = coder.decode(coder.encode(block))
    assert boundary.carried_of(arrived) == carried(rows)
    return boundary.unpack(arrived)[layout.name]


FOUND = {
    "rows": {"h": ("rows", 0, (5,)), "x": ("rows", 0, (4,))},
    "shape vector": {"shape": ("whole", 0, None), "h": ("rows", 1, (4,))},
    "scalar": {"top": ("whole", 0, None), "h": ("rows", 0, (4,))},
    "shared scalar": {"width": ("same", 0, None), "h": ("rows", 0, (4,))},
    "folded": {"h": ("folded", 0, (3, 5))},
    "second axis": {"h": ("rows", 1, (3, 5))},
}


@pytest.mark.parametrize("kind", chains.LAYOUTS)
def test_layouts_are_found_on_sample_rows(kind: str, tmp_path):
    model, stage_of = chains.LAYOUTS[kind]()
    staged = chains.staged(model, stage_of, tmp_path)
    session = StagedSession(staged)
    shape = [4] if kind not in ("folded", "second axis") else [3, 4]
    x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    layouts = find_layouts(
        lambda feeds: tensors_of(session.sessions, feeds),
        lambda rows: {"x": x[rows]},
        dict.fromkeys(FOUND[kind], "float32") | ({"shape": "int64"} if kind == "shape vector" else {}),
        fixed=True,
    )
    assert {name: (one.kind, one.axis, one.row_shape) for name, one in layouts.items()} == FOUND[kind]


def test_a_model_that_refuses_a_number_of_rows_has_whole_tensors():
    def run(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if len(feeds["x"]) == 1:
            raise ModelRunError("more than one, please")
        return feeds

    layouts = find_layouts(run, lambda rows: {"x": rows}, {"x": "int64"}, fixed=True)
    assert layouts["x"].kind == "whole"


def test_rows_that_influence_one_another_keep_a_tensor_whole():
    x = np.arange(3.0, dtype=np.float32)
    mixed = layout_of(
        "t", "float32", SampleRuns(x - x.mean(), x[:2] - x[:2].mean(), [x[i : i + 1] * 0 for i in range(3)])
    )
    assert mixed.kind == "whole"


def test_rows_innermost_are_not_folded():
    # [sequence x rows]: each row's values are apart from one another.
    x = np.arange(12).reshape(3, 4)
    inner = layout_of("t", "int64", SampleRuns(x.T.reshape(-1), x[:2].T.reshape(-1), [x[i] for i in range(3)]))
    outer = layout_of("t", "int64", SampleRuns(x.reshape(-1), x[:2].reshape(-1), [x[i] for i in range(3)]))
    assert (inner.kind, outer.kind) == ("whole", "folded")


DTYPES = ["float32", "float64", "float16", "int64", "int8", "uint8", "bool", "string", "bfloat16", "int4", "uint4"]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Layout, np.ndarray, int]:
    dtype = draw(st.sampled_from(DTYPES))
    kind = draw(st.sampled_from(["rows", "folded", "same", "whole"]))
    rows = draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(0, 3), min_size=0, max_size=3))
    axis = draw(st.integers(0, len(shape)))
    full = list(shape)
    row_shape = tuple(shape)
    if kind == "rows":
        full.insert(axis, rows)
    elif kind == "folded":
        each = draw(st.integers(0, 3))
        full.insert(axis, rows * each)
        row_shape = (each, *shape)
    fixed = draw(st.booleans()) and kind in ("rows", "folded")
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    values = rng.integers(0, 8, full)
    if dtype == "string":
        array = np.empty(full, object)
        array[...] = np.vectorize(lambda n: "é" * int(n), otypes=[object])(values) if values.size else ""
    elif dtype == "bfloat16":
        array = from_bfloat16_bits(bfloat16_bits(rng.standard_normal(full).astype(np.float32)))
    else:
        array = values.astype({"int4": "int8", "uint4": "uint8"}.get(dtype, dtype))
    return Layout("t", dtype, kind, axis, row_shape if fixed else None), array, rows


@settings(max_examples=200, deadline=None)
@given(tensors())
def test_any_tensor_crosses_intact(made: tuple[Layout, np.ndarray, int]):
    layout, values, rows = made
    arrived = across(layout, values, rows)
    assert arrived.dtype == values.dtype and arrived.shape == values.shape
    np.testing.assert_array_equal(arrived, values)


@settings(max_examples=100, deadline=None)
@given(tensors(), st.data())
def test_a_part_is_what_its_rows_have(made: tuple[Layout, np.ndarray, int], data: st.DataObject):
    layout, values, rows = made
    boundary = Boundary((layout,), CARRIED)
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    assert boundary.sliceable == (layout.kind != "whole")
    part = boundary.part({"t": values}, rows, start, stop)["t"]
    if layout.by_row:
        np.testing.assert_array_equal(layout.split(part, stop - start), layout.split(values, rows)[start:stop])
    else:
        assert part is values


def test_numbers_with_the_rows_outermost_are_not_copied():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for row_shape in ((3, 4), None):
        boundary = Boundary((Layout("t", "float32", "rows", 0, row_shape),), CARRIED)
        block = boundary.pack({"t": values}, carried(2))
        back = boundary.unpack(block)["t"]
        assert np.shares_memory(values, back)


def test_a_shape_that_is_not_the_samples_is_an_error_of_the_run():
    boundary = Boundary((Layout("t", "float32", "rows", 0, (3,)),), CARRIED)
    with pytest.raises(ModelRunError, match=r"'t' has the shape \[4\] a row where the sample had \[3\]"):
        boundary.pack({"t": np.zeros((2, 4), np.float32)}, carried(2))
    with pytest.raises(ModelRunError, match=r"'t' has the shape \[5, 3\] where 2 rows went in"):
        boundary.pack({"t": np.zeros((5, 3), np.float32)}, carried(2))


@pytest.mark.parametrize("name", ["FLOAT16", "BFLOAT16", "INT4", "UINT4", "STRING", "BOOL", "FLOAT8E4M3FN", "DOUBLE"])
def test_element_types_cross_from_session_to_session(name: str, tmp_path):
    model, stage_of = chains.through(getattr(TensorProto, name))
    session = StagedSession(chains.staged(model, stage_of, tmp_path))
    x = np.array([[1, 2, 3], [0, 5, 6], [7, 0, 1]], np.float32)
    first, second = session.sessions
    dtype = first.signature.outputs[0].dtype
    (h,) = first.run({"x": x})
    h = across(Layout("h", dtype, "rows", 0, (3,)), h, 3)
    expected = x.astype(bool).astype(np.float32) if name == "BOOL" else x
    np.testing.assert_array_equal(second.run({"h": h})[0], expected)
    np.testing.assert_array_equal(session.run({"x": x})[0], expected)
