"""Whether rows may run together, as a job is planned: by proof, by probe, or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest

from beamsplit.models.fitting.fit import DataFacts, fit
from tests import onnx_models
from tests.models.independence.judged import ALIKE, COUNTS, DETECTIONS, OPTIONS, above_half, alone, fitted, save, scored

MIXING = {
    "divided by a maximum": "{ m = ReduceMax<axes=[0]>(x) y = Div(x, m) }",
    "less a mean": "{ m = ReduceMean<axes=[0]>(x) y = Sub(x, m) }",
    "running sums": "{ a = Constant<value_int=0>() y = CumSum(x, a) }",
    "the row before": """{ a = Constant<value_ints=[0]>() b = Constant<value_ints=[1]>()
        c = Constant<value_ints=[99999]>() p = Slice(x, a, b, a) q = Slice(x, a, c, a) y = Sub(q, p) }""",
    "where any is large": """{ z = Constant<value_float=100.0>() g = Greater(x, z) f = Cast<to=1>(g)
        m = ReduceMax<keepdims=0>(f) y = Add(x, m) }""",
}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", MIXING)
def test_rows_that_mix_run_alone_however_alike_the_first_ones_are(tmp_path: Path, name: str, fixed: bool) -> None:
    rows = 1 if fixed else "N"
    path = save(f"g (float[{rows},3] x) => (float[{rows},3] y) {MIXING[name]}", tmp_path)
    made, data = fitted(path, ALIKE)
    # Of a batch of one the slices may be mended so that each row has its own.
    assert made.plan.row_by_row or (fixed and name == "the row before")
    assert any("rows run one by one" in note for note in made.notes) == made.plan.row_by_row
    np.testing.assert_array_equal(scored(made, data), np.concatenate(alone(path, ALIKE)))


@pytest.mark.parametrize(("declared", "alone"), [("[batch,t]", True), ("[t,s]", False)])
def test_rows_that_meet_on_the_axis_named_for_them_do_not_lie_on_another(
    tmp_path: Path, declared: str, alone: bool
) -> None:
    # Along the other axis nothing meets: that is where the rows are only if no name says otherwise.
    path = save(
        f"g (float{declared} x) => (float{declared} y) {{ m = ReduceMax<axes=[0]>(x) y = Sub(x, m) }}", tmp_path
    )
    lists = [[1.0, 5, 2], [4, 4, 0], [7, 3], [2, 0, 1], [1, 6]]
    rows = pa.record_batch({"x": pa.array(lists, pa.list_(pa.float32()))})
    made = fit(path, OPTIONS, rows.schema, rows, DataFacts())
    assert made.plan.row_by_row == alone
    wanted = [[0.0 if alone else value - max(one) for value in one] for one in lists]
    assert scored(made, rows) == wanted


def test_equal_rows_tell_nothing_and_a_probe_does(tmp_path: Path) -> None:
    path = save("g (float[N,3] x) => (float[N,3] y) " + MIXING["where any is large"], tmp_path)
    made, _ = fitted(path, np.ones((20, 3), np.float32))
    assert made.plan.row_by_row
    assert any("when a row beside it is" in note for note in made.notes)


def test_what_is_proven_runs_together_and_is_not_probed(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(features=3), tmp_path / "m.onnx")
    made, _ = fitted(path, ALIKE)
    assert not made.plan.row_by_row
    assert made.independence == "independent: proven"


def test_what_is_not_proven_is_probed_and_runs_together(tmp_path: Path) -> None:
    # Of the determinant no rule is known; each row's is its own.
    path = save("g (float[N,2,2] x) => (float[N] y) { y = Det(x) }", tmp_path)
    values = np.random.default_rng(0).standard_normal((9, 2, 2), dtype=np.float32)
    made, data = fitted(path, values)
    assert not made.plan.row_by_row
    assert made.independence.startswith("not proven to be independent (at Det 'y': ")
    assert "probed: in " in made.independence
    np.testing.assert_allclose(scored(made, data), np.concatenate(alone(path, values)), rtol=1e-6)


def test_what_cannot_be_probed_runs_alone(tmp_path: Path) -> None:
    # Equal whole numbers: nothing is known to be another valid row.
    path = save("g (int64[N] x) => (int64[N] y) { m = ReduceMin<axes=[0]>(x) y = Sub(x, m) }", tmp_path)
    rows = pa.record_batch({"x": np.full(9, 5)})
    made = fit(path, OPTIONS, rows.schema, rows, DataFacts())
    assert made.plan.row_by_row
    later = pa.record_batch({"x": np.array([5, 7, 9])})
    assert scored(made, later) == [0, 0, 0]


@pytest.mark.parametrize("counts", [COUNTS, [1] * 7, [0] * 7, [2, 1, 1, 1], [0, 1]])
@pytest.mark.parametrize("declared", ["[detections]", "[N]", ""])
def test_detections_are_a_list_a_row(tmp_path: Path, counts: list[int], declared: str) -> None:
    path = save(f"g (float[N,4] x) => (float{declared or '[d]'} y) {DETECTIONS}", tmp_path)
    if not declared:
        model = onnx.load(path)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        onnx.save(model, path)
    values = above_half(counts)
    made, data = fitted(path, values)
    assert made.plan.row_by_row
    got = scored(made, data)
    assert [len(one) for one in got] == counts
    for row, one in enumerate(got):
        np.testing.assert_array_equal(one, values[row][values[row] > 0.5])


def test_boxes_of_detections_are_a_list_of_lists_a_row(tmp_path: Path) -> None:
    path = save(
        "g (float[N,4] x) => (int64[k,2] y) { h = Constant<value_float=0.5>() g = Greater(x, h) n = NonZero(g) "
        "y = Transpose<perm=[1,0]>(n) }",
        tmp_path,
    )
    made, data = fitted(path, above_half(COUNTS))
    assert [len(one) for one in scored(made, data)] == COUNTS


def test_rows_of_a_model_that_quantises_at_run_are_each_as_alone(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.dynamic_quantised(), tmp_path / "m.onnx")
    values = np.random.default_rng(0).standard_normal((12, 4), dtype=np.float32)
    values[3], values[5, 1], values[7] = 1e6, np.nan, np.inf
    made, data = fitted(path, values)
    assert made.plan.row_by_row
    assert any("--coupled_rows accept" in note for note in made.notes)
    np.testing.assert_array_equal(scored(made, data), np.concatenate(alone(path, values)))


def test_accepted_scales_are_those_of_rows_of_like_size(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.dynamic_quantised(), tmp_path / "m.onnx")
    values = np.random.default_rng(0).standard_normal((64, 4), dtype=np.float32)
    values[30], values[31, 1], values[32], values[33] = 1e6, np.nan, np.inf, 70000
    made, data = fitted(path, values, together=True)
    assert not made.plan.row_by_row and made.plan.alike
    assert any("quantises at run" in note for note in made.notes)
    got, wanted = np.array(scored(made, data, 64)), np.concatenate(alone(path, values))
    odd = [31, 32]
    np.testing.assert_array_equal(got[odd], wanted[odd])
    np.testing.assert_array_equal(got[[30, 33]], wanted[[30, 33]])
    plain = np.setdiff1d(np.arange(64), [30, 31, 32, 33])
    assert np.abs(got[plain] - wanted[plain]).max() < 0.05 * np.ptp(wanted[plain])


def test_random_numbers_are_told_and_do_not_keep_rows_apart(tmp_path: Path) -> None:
    path = save("g (float[N,3] x) => (float[N,3] y) { r = RandomNormalLike(x) y = Add(x, r) }", tmp_path)
    made, _ = fitted(path, ALIKE)
    assert not made.plan.row_by_row
    assert any("draws random numbers (RandomNormalLike)" in note for note in made.notes)
