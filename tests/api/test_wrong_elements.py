"""Elements that are not what the model wants: each is an error of its own, alone in the first rows too."""

from __future__ import annotations

import logging
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.windowed_value import PaneInfoTiming

import beamsplit as bs
from tests.api.collecting import keep, run, score
from tests.api.conftest import Mlp


class Odd:
    """Tells nothing of itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ({}, "the row has no column 'a'; it has none"),
        ({1: 2.0}, "the row has no column 'a'; it has none"),
        ({"id": 1, "a": 1.0}, "the row has no column 'b'; it has id, a"),
        (beam.Row(id=1, a=1.0), "the row has no column 'b'; it has id, a"),
        ({"id": {1: {(1, 2): 3}}, "a": "x"}, "column 'a': 'x' is no double"),
    ],
)
@pytest.mark.parametrize("beside", [0, 3])
def test_rows_that_lack_columns(mlp: Mlp, element: Any, reason: str, beside: int):
    good, bad, _ = score([*mlp.rows()[:beside], element], bs.Score(mlp.path, **mlp.options), Any)
    assert len(good) == beside
    assert [(error.stage, error.reason) for error in bad] == [("read", reason)]


def test_rows_of_other_names_where_columns_are_bound_by_place(mlp: Mlp):
    good, bad, _ = score([{"foo": 1.0}], bs.Score(mlp.path), Any)
    assert not good
    assert "the data has: 1 numeric columns (foo)" in bad[0].reason
    good, bad, _ = score([{name: 1.0 for name in "abcd"}], bs.Score(mlp.path), Any)
    assert (len(good), len(bad)) == (1, 0)


def test_a_column_to_keep_that_rows_lack_is_none_and_told(mlp: Mlp, caplog: pytest.LogCaptureFixture):
    rows = [{name: row[name] for name in "abcd"} for row in mlp.rows()[:2]]
    with caplog.at_level(logging.WARNING):
        good, bad, _ = score(rows, bs.Score(mlp.path, columns=mlp.options["columns"], keep="idd"), Any)
    assert [row["idd"] for row in good] == [None, None]
    assert not bad
    assert "--keep names idd, which none of the first rows has; they have a, b, c, d" in caplog.text


def test_rows_keep_all_of_their_own_and_nothing_of_others(mlp: Mlp):
    rows = [
        {**row, **more} for row, more in zip(mlp.rows(), [{"k": 1}, {"k": "a", "l": []}, {}, {"y": 3}], strict=False)
    ]
    good, bad, _ = score(rows, bs.Score(mlp.path, columns=mlp.options["columns"], keep="*"), Any)
    good.sort(key=lambda row: row["id"])
    assert [list(row) for row in good] == [["id", *"abcd", *more, "y"] for more in ("k", "kl", "")]
    assert [row.get("k") for row in good] == [1, "a", None]
    assert [error.reason for error in bad] == [
        "the row has a column 'y', as the model has an output; rename it, or name the columns to keep"
    ]


def test_each_row_comes_out_as_what_it_was(mlp: Mlp):
    rows = [beam.Row(**row) if row["id"] % 2 else row for row in mlp.rows()]
    more: dict[str, Any]
    for more in ({}, {"schema": "id:int64,a:float32,b:float32,c:float32,d:float32", "narrow": True}):
        good, bad, _ = score(rows, bs.Score(mlp.path, **mlp.options, **more), Any)
        assert not bad
        found = {row["id"] if isinstance(row, dict) else row.id: isinstance(row, dict) for row in good}
        assert found == {at: not at % 2 for at in range(20)}


@pytest.mark.parametrize("parts", [{}, {"known": True}, {"known": True, "stages": 2, "placement": "distributed"}])
def test_batches_of_other_columns(mlp: Mlp, parts: dict):
    parts = dict(parts)
    batch = mlp.table.to_batches()[0]
    known = {"sample": batch} if parts.pop("known", None) else {}
    batches = [batch.select(["id", "a"]), batch.slice(0, 0), pa.table({}), batch]
    good, bad, _ = score(batches, bs.Score(mlp.path, **mlp.options, **parts, **known), Any)
    assert sum(made.num_rows for made in good) == 20
    assert len(bad) == 20
    assert bad[0].reason.startswith("the rows have no column 'b'")
    assert {error.file for error in bad} == {f'{{"id": {at}}}' for at in range(20)}


def test_batches_of_another_type_than_was_planned(mlp: Mlp):
    batch = mlp.table.to_batches()[0]
    other = batch.set_column(1, "a", pa.array([["no"]] * 20))
    good, bad, _ = score([other, batch], bs.Score(mlp.path, **mlp.options, sample=batch), pa.RecordBatch)
    assert (len(good), len(bad)) == (1, 20)
    assert "column 'a' is list<item: string>, and float was planned with" in bad[0].reason


def test_a_column_called_as_an_output_is_refused_when_the_pipeline_is_built(mlp: Mlp):
    with pytest.raises(bs.UsageError, match="--keep and the model's outputs both name y"):
        score(mlp.rows(), bs.Score(mlp.path, columns=mlp.options["columns"], keep=["id", "y"]), Any)


def test_rows_tell_themselves_whatever_they_hold(mlp: Mlp):
    class_of_rows: Any = bs.Scorer(mlp.path, **{**mlp.options, "keep": ["id", "more"]}, errors="return")
    itself: list[Any] = []
    itself.append(itself)
    odd = [Odd(), itself, "\udc80", 10**5000, {(1, 2): Odd()}]
    made = class_of_rows([{**row, "a": "x", "more": one} for row, one in zip(mlp.rows(), odd, strict=False)])
    assert [error.row for error in made.errors] == list(range(5))
    assert all(error.file.encode() and f'"id": {error.row}' in error.file for error in made.errors)
    assert '"more": "<Odd>"' in made.errors[0].file


def test_late_rows_keep_their_pane(mlp: Mlp):
    rows = mlp.rows()
    stream = (
        TestStream()
        .advance_watermark_to(0)
        .add_elements([TimestampedValue(rows[1], 5), TimestampedValue({**rows[2], "a": "x"}, 6)])
        .advance_watermark_to(20)
        .add_elements([TimestampedValue(rows[3], 7), TimestampedValue({}, 8)])
        .advance_watermark_to_infinity()
    )

    def told(name: str, pane: Any) -> tuple[str, bool]:
        return name, pane.timing == PaneInfoTiming.LATE

    options = beam.options.pipeline_options.PipelineOptions(streaming=True)
    with beam.Pipeline("DirectRunner", options=options) as pipeline:
        late = AfterWatermark(late=AfterCount(1))
        mode = AccumulationMode.DISCARDING
        window = beam.WindowInto(FixedWindows(10), trigger=late, accumulation_mode=mode, allowed_lateness=50)
        # Behind a GroupByKey rows know whether they are late.
        grouped = pipeline | stream | window | beam.WithKeys(0) | beam.GroupByKey() | beam.FlatMap(lambda pair: pair[1])
        scored = grouped | bs.Score(mlp.path, **mlp.options)
        good = keep(
            scored.predictions | beam.Map(lambda row, pane=beam.DoFn.PaneInfoParam: told(f"good {row['id']}", pane)),
            "good",
        )
        bad = keep(
            scored.errors | beam.Map(lambda error, pane=beam.DoFn.PaneInfoParam: told(error.file, pane)),
            "bad",
        )
    assert sorted(good.found) == [("good 1", False), ("good 3", True)]
    assert sorted(bad.found) == [('{"id": 2}', False), ('{"id": null}', True)]


@pytest.mark.parametrize("check", ["--performance_runtime_type_check", "--type_check_additional=all"])
def test_where_beam_looks_at_types_as_it_runs(mlp: Mlp, check: str):
    options = beam.options.pipeline_options.PipelineOptions([check])
    with beam.Pipeline("FnApiRunner", options=options) as pipeline:
        scored = pipeline | beam.Create([*mlp.rows(), {}]) | bs.Score(mlp.path, **mlp.options)
        good, bad = keep(scored.predictions, "good"), keep(scored.errors, "bad")
    assert (len(good.found), len(bad.found)) == (20, 1)


def test_examples_that_are_none_have_errors_of_their_own(mlp: Mlp):
    examples = [
        mlp.x[0],
        None,
        {"x": mlp.x[1]},
        "text",
        {},
        np.zeros(3, np.float32),
        mlp.x[2:5],
        {"foo": 1.0},
        mlp.x[5],
    ]
    handler = bs.OnnxModelHandler(mlp.path, errors="return", min_batch_size=len(examples))
    found = run([examples], beam.Map(lambda batch: handler.run_inference(batch, handler.load_model())))[0]
    made = [one.inference for one in found]
    wrong = [at for at, one in enumerate(made) if isinstance(one, bs.RowError)]
    assert wrong == [1, 3, 4, 5, 7]
    np.testing.assert_allclose(np.stack([made[0], made[2], *made[6], made[8]]), mlp.y[:6], rtol=1e-5, atol=1e-6)
    assert made[1].reason == "the example is None, and the model's input 'x' takes float32"
    assert made[3].reason == "the example is text, and the model's input 'x' takes float32"
    assert made[5].reason == "the example has the shape [3], and the model's input is x: float32[batch, 4]"


def test_examples_of_frames_are_tables(mlp: Mlp):
    frame = mlp.table.to_pandas()
    handler = bs.OnnxModelHandler(mlp.path, **mlp.options)
    (found,) = run([frame], RunInference(handler), beam.Map(lambda result: result.inference))
    assert list(found.columns) == ["id", "y"]
    np.testing.assert_allclose(np.stack(list(found["y"])), mlp.y, rtol=1e-5, atol=1e-6)


def test_masked_values_are_nulls_and_never_read(mlp: Mlp):
    columns: dict[str, Any] = {name: mlp.x[:, at] for at, name in enumerate("abcd")}
    columns["a"] = np.ma.masked_array(columns["a"], mask=[at == 3 for at in range(20)])
    made = bs.Scorer(mlp.path, columns=mlp.options["columns"], errors="return")(columns)
    assert [(error.row, error.reason[:20]) for error in made.errors] == [(3, "null in column 'a'; ")]
    with pytest.raises(bs.UsageError, match=r"'x' is a masked array of 2 axes.*numpy\.ma\.filled"):
        bs.Scorer(mlp.path)(np.ma.masked_array(mlp.x, mask=mlp.x > 0))
    np.testing.assert_allclose(bs.Scorer(mlp.path)(np.ma.masked_array(mlp.x)), mlp.y, rtol=1e-5, atol=1e-6)


def test_tables_that_are_none(mlp: Mlp):
    frame = mlp.table.to_pandas()
    import pandas as pd

    with pytest.raises(bs.UsageError, match="the frame has 2 columns 'id'; rename all but one of them"):
        mlp.scorer()(pd.concat([frame, frame], axis=1))
    for data in ("", b"", memoryview(mlp.x)):
        with pytest.raises(bs.UsageError, match="which is no table"):
            mlp.scorer()(data)
