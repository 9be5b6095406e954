"""Rows that meet only where the sample does not show it: the probe finds them, and honest models stay together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest

from beamsplit.models.fitting.fit import DataFacts, fit
from beamsplit.models.independence.crowd import crowd
from beamsplit.models.independence.probe import probe
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.scoring.scorer import Scorer
from tests.models.independence.judged import OPTIONS, fitted, save, scored

Array = np.ndarray[Any, Any]
Y = "(float[N,4] x) => (float[N,4] y) "
NUMBERED = """{ s = Shape<start=0,end=1>(x) q = Squeeze(s) a = Constant<value_int=0>() b = Constant<value_int=1>()
    r = Range(a, q, b) t = Constant<value_int=40>() g = Greater(r, t) f = Cast<to=1>(g) k = Constant<value_ints=[1]>()
    u = Unsqueeze(f, k) y = Add(x, u) }"""
COUNTED = """{ s = Shape<start=0,end=1>(x) t = Constant<value_ints=[40]>() g = Greater(s, t) f = Cast<to=1>(g)
    y = Add(x, f) }"""
BELOW = """{ t = Constant<value_float=-100.0>() m = ReduceMin<axes=[0]>(x) g = Less(m, t) f = Cast<to=1>(g)
    y = Add(x, f) }"""
UNLIKE = np.random.default_rng(0).standard_normal((60, 4), dtype=np.float32)


@pytest.mark.parametrize("body", [NUMBERED, COUNTED, BELOW], ids=["place", "number", "below"])
@pytest.mark.parametrize("values", [UNLIKE, np.ones((60, 4), np.float32)], ids=["unlike", "alike"])
def test_what_the_sample_does_not_show(tmp_path: Path, body: str, values: Array) -> None:
    made, rows = fitted(save(f"g {Y}{body}", tmp_path), values)
    assert made.plan.row_by_row
    np.testing.assert_array_equal(scored(made, rows), values)


def test_rows_without_spread_do_not_hide_that_their_number_counts(tmp_path: Path) -> None:
    text = """{ s = Shape<start=0,end=1>(x) f = Cast<to=1>(s) d = Div(x, f)
        a = Constant<value_floats=[1.0, 1.0, 1.0, 1.0]>() y = LayerNormalization<axis=1>(d, a) }"""
    path = save(f"g {Y}{text}", tmp_path)
    made, _ = fitted(path, np.ones((20, 4), np.float32))
    assert made.plan.row_by_row


def test_rows_of_nan_do_not_hide_what_others_do(tmp_path: Path) -> None:
    path = save(f"g {Y}{{ m = ReduceMax<axes=[0]>(x) y = Sub(x, m) }}", tmp_path)
    made, _ = fitted(path, np.full((20, 4), np.nan, np.float32))
    assert made.plan.row_by_row


@pytest.mark.parametrize("sample", [[[1, 2]], [[1, 2], [5, 6], [3, 3]], [[0, 0]] * 3])
@pytest.mark.parametrize("threshold", [100, -100])
def test_whole_numbers_that_the_sample_does_not_have(tmp_path: Path, sample: list[list[int]], threshold: int) -> None:
    op, reduced = ("Greater", "Max") if threshold > 0 else ("Less", "Min")
    path = save(
        f"g (int64[N,2] x) => (int64[N,2] y) {{ t = Constant<value_int={threshold}>() m = Reduce{reduced}<axes=[0]>(x) "
        f"g = {op}(m, t) c = Cast<to=7>(g) y = Add(x, c) }}",
        tmp_path,
    )
    made, _ = fitted(path, np.array(sample, np.int64))
    assert made.plan.row_by_row


def test_texts_that_the_sample_does_not_have(tmp_path: Path) -> None:
    # Each row has as many places as the one with the most words.
    text = "g (string[N] x) => (string[N,k] y, int64[N] c) { y, c = StringSplit(x) }"
    path = save(text, tmp_path)
    model = onnx.load(path)
    model.opset_import[0].version = 20
    onnx.save(model, path)
    rows = pa.record_batch({"x": ["a b"] * 9})
    made = fit(path, OPTIONS, rows.schema, rows, DataFacts())
    assert made.plan.row_by_row


def test_no_more_rows_run_together_than_were_seen_to_keep_apart(tmp_path: Path) -> None:
    path = save("g (float[N,2,2] x) => (float[N] y) { y = Det(x) }", tmp_path)
    values = np.random.default_rng(0).standard_normal((9, 2, 2), dtype=np.float32)
    made, rows = fitted(path, values)
    assert made.plan.most_rows is not None and made.plan.most_rows >= 6
    assert f"nor among {made.plan.most_rows} rows" in made.independence
    few = replace(made.plan, most_rows=4, batch_size=1000)
    assert few.batch_size == 4
    seen: list[int] = []
    Scorer(few, made.session).score(rows, lambda count, _: seen.append(count))
    assert max(seen) == 4


def test_a_crowd_of_a_slow_model_is_a_small_one() -> None:
    clock = iter(range(100))
    feeds = {"x": np.zeros((6, 1), np.float32)}
    assert crowd(lambda fed: [fed["x"]], feeds, {"x": 0}, [("y", 0)], lambda: next(clock)) == (None, 6)


def test_numbers_that_a_model_refuses_show_nothing(tmp_path: Path) -> None:
    # Ids of a table of 7 rows: those beyond it are refused, and rows keep apart.
    weights = np.arange(14, dtype=np.float32).reshape(7, 2)
    path = save("g (int64[N] x) => (float[N] y) { e = Gather(w, x) i = Einsum<equation=\"...j->...\">(e) y = Abs(i) }",
                tmp_path, w=weights)  # fmt: skip
    made, rows = fitted_ids(path, np.array([0, 6, 3, 2, 2]))
    assert not made.plan.row_by_row
    assert scored(made, rows) == weights.sum(axis=1)[[0, 6, 3, 2, 2]].tolist()


def fitted_ids(path: str, ids: Array) -> tuple[Any, pa.RecordBatch]:
    rows = pa.record_batch({"x": ids})
    return fit(path, OPTIONS, rows.schema, rows, DataFacts()), rows


def test_runs_that_fail_show_nothing() -> None:
    def run(feeds: dict[str, Array]) -> list[Array]:
        if feeds["x"] is not first:
            raise ModelRunError("no such row")
        return [first]

    first = UNLIKE[:6]
    assert probe(run, {"x": first}, {"x": 0}, [("y", 0)]) == (None, 0)
