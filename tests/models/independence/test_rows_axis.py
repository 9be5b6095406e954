from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.graph.model_file import DYNAMIC_ROWS, ModelFile
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.independence.rows_axis import check_axes, input_axes_candidates, verify_rows
from beamsplit.models.running.session import ModelRunError, Session, SessionOptions
from tests import onnx_models

ONE_THREAD = SessionOptions(threads=1)


def load(model: onnx.ModelProto, folder: Path, *rewrites: str) -> Session:
    path = folder / "model.onnx"
    onnx_models.save(model, path)
    return Session(ModelFile(str(path), rewrites), ONE_THREAD)


def names(session: Session) -> list[str]:
    return [spec.name for spec in session.signature.outputs]


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def signature(**shapes: tuple[Any, ...] | None) -> Signature:
    return Signature(tuple(TensorSpec(name, "float32", shape) for name, shape in shapes.items()), ())


def test_a_shared_symbol_names_the_rows_on_any_axis() -> None:
    wanted = signature(x=("time", "N", 3), state=(2, "N", 5))
    assert input_axes_candidates(wanted)[0] == {"x": 1, "state": 1}


def test_batch_comes_before_sequence() -> None:
    first, second = input_axes_candidates(signature(ids=("sequence", "batch"), mask=("sequence", "batch")))[:2]
    assert first == {"ids": 1, "mask": 1}
    assert second == {"ids": 0, "mask": 0}


def test_without_symbols_axis_0_comes_first() -> None:
    candidates = input_axes_candidates(signature(x=(None, None, 3)))
    assert candidates == [{"x": 0}, {"x": 1}]


def test_an_input_with_one_dynamic_axis_follows_it() -> None:
    assert input_axes_candidates(signature(x=(None, 16), state=(2, None, 8)))[0] == {"x": 0, "state": 1}


def test_constants_and_fixed_inputs_carry_no_rows() -> None:
    wanted = signature(x=("batch", 4), table=("entries", 2), sr=())
    assert input_axes_candidates(wanted, frozenset({"table"})) == [{"x": 0, "table": None, "sr": None}]


def test_unlike_symbols_fall_back_on_axis_0() -> None:
    assert input_axes_candidates(signature(a=("batch", 4), b=("batch_1",))) == [{"a": 0, "b": 0}]


def test_no_dynamic_dimension_gives_no_candidate() -> None:
    assert input_axes_candidates(signature(x=(1, 4))) == []


def test_an_unknown_rank_is_tried_on_axis_0() -> None:
    assert input_axes_candidates(signature(x=None)) == [{"x": 0}]


def test_rows_on_axis_1_of_inputs_and_outputs(tmp_path: Path) -> None:
    session = load(onnx_models.rnn(), tmp_path)
    axes = input_axes_candidates(session.signature)[0]
    check = check_axes(session.run, {"x": floats(4, 3, 3), "state": floats(2, 3, 5)}, axes, names(session))
    assert axes == {"x": 1, "state": 1}
    assert check.outputs == {"y": 1, "new_state": 1}
    assert check.independent
    assert check.message == ""


def test_the_wrong_axis_is_seen(tmp_path: Path) -> None:
    session = load(onnx_models.rnn(), tmp_path)

    def without_state(feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return session.run({**feeds, "state": np.zeros((2, feeds["x"].shape[1], 5), np.float32)})

    check = check_axes(without_state, {"x": floats(3, 2, 3)}, {"x": 0}, names(session))
    assert check.outputs == {"y": 0, "new_state": None}
    assert not check.independent
    assert "output y of a row changes" in check.message


def test_outputs_without_rows_have_no_axis(tmp_path: Path) -> None:
    session = load(onnx_models.scalar_output(), tmp_path)
    check = check_axes(session.run, {"x": floats(3, 3)}, {"x": 0}, names(session))
    assert check.outputs == {"y": 0, "total": None}
    assert check.independent


def test_two_axes_that_follow_the_rows_are_none(tmp_path: Path) -> None:
    session = load(onnx_models.pairwise(), tmp_path)
    check = check_axes(session.run, {"x": floats(4, 3)}, {"x": 0}, names(session))
    assert check.outputs == {"y": None}
    assert not check.independent


def test_a_feature_axis_as_long_as_the_rows_is_not_taken(tmp_path: Path) -> None:
    session = load(onnx_models.two_outputs(), tmp_path)
    check = check_axes(session.run, {"x": floats(3, 3)}, {"x": 0}, names(session))
    assert check.outputs == {"total": 0, "doubled": 0}


def test_a_constant_goes_to_each_run_whole(tmp_path: Path) -> None:
    session = load(onnx_models.constant_input(), tmp_path)
    axes = input_axes_candidates(session.signature, frozenset({"sr"}))[0]
    check = check_axes(session.run, {"x": floats(3, 4), "sr": np.array(7)}, axes, names(session))
    assert (check.outputs, check.independent) == ({"y": 0}, True)


def test_mixed_rows_are_found(tmp_path: Path) -> None:
    session = load(onnx_models.mixes_rows(), tmp_path)
    check = check_axes(session.run, {"x": floats(3, 3)}, {"x": 0}, names(session))
    assert check.outputs == {"y": 0}
    assert not check.independent
    assert check.largest_difference > 0.1


def test_quantising_at_run_is_let_pass_and_reported(tmp_path: Path) -> None:
    session = load(onnx_models.dynamic_quantised(), tmp_path)
    feeds = {"x": floats(4, 4)}
    strict = check_axes(session.run, feeds, {"x": 0}, names(session))
    loose = check_axes(session.run, feeds, {"x": 0}, names(session), quantised=True)
    assert not strict.independent
    assert loose.independent
    assert "quantises at run" in loose.message
    assert loose.largest_difference > 0


def test_mixed_rows_do_not_pass_as_quantised(tmp_path: Path) -> None:
    session = load(onnx_models.mixes_rows(), tmp_path)
    assert not check_axes(session.run, {"x": floats(3, 3)}, {"x": 0}, names(session), quantised=True).independent


def test_strings_are_compared(tmp_path: Path) -> None:
    session = load(onnx_models.string_output(), tmp_path)
    check = check_axes(session.run, {"code": np.array([1, 2, 3])}, {"code": 0}, names(session))
    assert (check.outputs, check.independent) == ({"word": 0}, True)


def doubling(refused: set[int]) -> Any:
    def run(feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        if len(feeds["x"]) in refused:
            raise ModelRunError(f"no {len(feeds['x'])} rows")
        return [feeds["x"] * 2]

    return run


@pytest.mark.parametrize(
    ("refused", "outputs", "independent", "message"),
    [
        ({2}, {"y": 0}, True, ""),
        ({1}, {"y": 0}, False, "the model fails on one row alone: no 1 rows"),
        ({1, 2}, {"y": None}, False, "the model runs on 3 rows, not on 1 or 2: no 2 rows"),
        ({3}, {"y": None}, False, "the model fails on 3 rows: no 3 rows"),
    ],
)
def test_sizes_the_model_refuses(
    refused: set[int], outputs: dict[str, int | None], independent: bool, message: str
) -> None:
    check = check_axes(doubling(refused), {"x": floats(3, 2)}, {"x": 0}, ["y"])
    assert (check.outputs, check.independent, check.message) == (outputs, independent, message)


def test_two_rows_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        check_axes(doubling(set()), {"x": floats(2, 2)}, {"x": 0}, ["y"])


def test_nan_equals_nan_and_inf_is_no_difference() -> None:
    def run(feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return [feeds["x"] / np.zeros(1, np.float32)]

    with np.errstate(divide="ignore", invalid="ignore"):
        check = check_axes(run, {"x": np.array([[0], [1], [-1]], np.float32)}, {"x": 0}, ["y"])
    assert (check.independent, check.largest_difference) == (True, 0.0)


def test_a_shape_that_depends_on_the_other_rows_is_an_infinite_difference() -> None:
    def run(feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return [np.zeros((len(feeds["x"]), int(feeds["x"].max())))]

    check = check_axes(run, {"x": np.array([4, 6, 5])}, {"x": 0}, ["y"])
    assert (check.outputs, check.independent, check.largest_difference) == ({"y": 0}, False, math.inf)


@settings(max_examples=50, deadline=None)
@given(data=st.data(), rank=st.integers(1, 4), rows=st.integers(3, 6))
def test_the_axis_is_found_wherever_it_is(data: st.DataObject, rank: int, rows: int) -> None:
    axis_in = data.draw(st.integers(0, rank - 1))
    axis_out = data.draw(st.integers(0, rank - 1))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    shape[axis_in] = rows

    def run(feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return [np.moveaxis(feeds["x"], axis_in, axis_out) * 3]

    check = check_axes(run, {"x": floats(*shape)}, {"x": axis_in}, ["y"])
    assert (check.outputs, check.independent) == ({"y": axis_out}, True)


@pytest.mark.parametrize("reshape", [(1, -1), (1, 32), (-1, 32), (0, -1)])
def test_a_fixed_batch_made_dynamic_is_verified(tmp_path: Path, reshape: tuple[int, ...]) -> None:
    model = onnx_models.fixed_batch(reshape=reshape)
    original, dynamic = load(model, tmp_path), load(model, tmp_path, DYNAMIC_ROWS)
    assert verify_rows(original.run, dynamic.run, {"image": floats(3, 3, 4, 4)}) is None


def test_a_batch_that_cannot_be_dynamic_is_refused(tmp_path: Path) -> None:
    model = onnx_models.fixed_batch_only()
    original, dynamic = load(model, tmp_path), load(model, tmp_path, DYNAMIC_ROWS)
    reason = verify_rows(original.run, dynamic.run, {"x": floats(3, 3)})
    assert reason is not None
    assert "changes by up to" in reason


def test_a_dynamic_model_that_fails_is_refused(tmp_path: Path) -> None:
    original = load(onnx_models.fixed_batch(), tmp_path)
    reason = verify_rows(original.run, original.run, {"image": floats(3, 3, 4, 4)})
    assert reason is not None
    assert reason.startswith("the graph cannot take more than one row: ")
