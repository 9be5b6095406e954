"""`bs.Score` and `bs.OnnxModelHandler` in an unbounded pipeline, on Beam's Prism: windows, lone rows, new models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import onnxruntime as ort
import pytest
from apache_beam.io.unbounded_source import ReadFromUnboundedSource
from apache_beam.ml.inference.base import ModelMetadata, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import FixedWindows, Sessions, SlidingWindows, TimestampedValue
from apache_beam.version import __version__

import beamsplit as bs
from beamsplit.runners.prism import find_prism, prism, prism_runner
from tests import onnx_models
from tests.api.collecting import keep
from tests.onnx_models import save
from tests.services.score_steps import Person, Placed, Rows, Tap, person, seconds
from tests.waiting import wait_until

COLUMNS = {"x": list("abcd")}
WINDOWS = {"fixed": FixedWindows(50), "sliding": SlidingWindows(60, 30), "sessions": Sessions(30)}


@pytest.fixture(scope="module")
def options(prism_program: None) -> Iterator[PipelineOptions]:
    with prism(find_prism(None, __version__)) as flags:
        yield PipelineOptions([*flags, "--streaming"])


def wanted(model: str, numbers: Any) -> np.ndarray:
    x = np.array([person(number)[1:] for number in numbers], np.float32)
    return ort.InferenceSession(model).run(None, {"x": x})[0]


def running(pipeline: beam.Pipeline, tap: Tap, during: Callable[[], None]) -> None:
    """Run a pipeline while `during` lets rows come, to its end."""
    result = pipeline.run()
    try:
        during()
    finally:
        tap.end()
        result.wait_until_finish()


def rows_of(pipeline: beam.Pipeline, tap: Tap) -> beam.PCollection:
    numbers = pipeline | ReadFromUnboundedSource(Rows(tap), poll_interval=0.05)
    assert not numbers.is_bounded
    return numbers | beam.Map(person).with_output_types(Person)


def test_rows_of_a_stream_keep_windows_and_do_not_wait_for_others(options: PipelineOptions, tmp_path: Path):
    model, other = (save(onnx_models.mlp(4, outputs=2, seed=seed), tmp_path / f"m{seed}.onnx") for seed in (1, 2))
    updates = tmp_path / "updates"
    updates.mkdir()
    tap = Tap()
    pipeline = beam.Pipeline(prism_runner(), options=options)
    rows = rows_of(pipeline, tap)
    found, before = {}, {}
    for name, windows in WINDOWS.items():
        windowed = rows | f"{name} windows" >> beam.WindowInto(windows)
        scored = windowed | f"score {name}" >> bs.Score(model, columns=COLUMNS, keep="id")
        found[name] = keep(scored.predictions | f"placed {name}" >> beam.ParDo(Placed()), f"found {name}")
        before[name] = keep(windowed | f"placed before {name}" >> beam.ParDo(Placed()), f"before {name}")
    live = rows | "live" >> bs.Score(model, columns=COLUMNS, keep="id", model_updates=str(updates), model_version=True)
    versions = keep(live.predictions, "versions")
    every = [*found.values(), versions]

    def during() -> None:
        tap.let(20)
        wait_until(lambda: all(len({at(one) for one in into.found}) == 20 for into in every), "20 rows")
        # The stream goes on, and no other row comes: one alone is scored all the same.
        tap.let(1)
        wait_until(lambda: all(len({at(one) for one in into.found}) == 21 for into in every), "a lone row")
        shutil.copy(other, updates / "hidden")
        os.replace(updates / "hidden", updates / "next.onnx")

        def told() -> bool:
            tap.let(1)
            return len({row.model_version for row in versions.found}) == 2

        wait_until(told, "a new model")

    def at(one: Any) -> int:
        return one[0].id if isinstance(one, tuple) else one.id

    running(pipeline, tap, during)
    for name in WINDOWS:
        assert sorted((one[0].id, *one[1:]) for one in found[name].found) == sorted(
            (one[0].id, *one[1:]) for one in before[name].found
        )
        assert {time for _, time, _, _ in found[name].found} == {seconds(number) for number in range(tap.rows)}
        made = np.array([row.y for row, *_ in found[name].found])
        numbers = [row.id for row, *_ in found[name].found]
        np.testing.assert_allclose(made, wanted(model, numbers), rtol=1e-4, atol=1e-5)
    first = versions.found[0].model_version
    for path, ours in ((model, True), (other, False)):
        some = [row for row in versions.found if (row.model_version == first) is ours]
        np.testing.assert_allclose(
            np.array([row.y for row in some]), wanted(path, [row.id for row in some]), rtol=1e-4, atol=1e-5
        )
    assert sorted(row.id for row in versions.found) == list(range(tap.rows))


def test_run_inference_takes_the_model_of_each_window(options: PipelineOptions, tmp_path: Path):
    # Prism has no triggers of processing time, which `watch_model_pattern` needs: what names the model is a stream too.
    paths = [save(onnx_models.mlp(4, outputs=2, seed=seed), tmp_path / f"m{seed}.onnx") for seed in (1, 2)]
    tap = Tap()
    pipeline = beam.Pipeline(prism_runner(), options=options)
    named = [TimestampedValue(ModelMetadata(path, f"model {at}"), 300 * at) for at, path in enumerate(paths)]
    timed = pipeline | beam.Create([0]) | beam.FlatMap(lambda _: named).with_output_types(ModelMetadata)
    models = timed | "windows of models" >> beam.WindowInto(FixedWindows(300))
    arrays = rows_of(pipeline, tap) | beam.Map(lambda row: np.array(row[1:], np.float32))
    handler = bs.OnnxModelHandler(paths[0])
    results = keep(arrays | beam.WindowInto(FixedWindows(300)) | RunInference(handler, model_metadata_pcoll=models))

    def during() -> None:
        tap.let(6)
        wait_until(lambda: len(results.found) == 6, "rows of the first window")
        tap.let(12)
        wait_until(lambda: len(results.found) == 18, "rows of both")

    running(pipeline, tap, during)
    assert [sum(result.model_id == path for result in results.found) for path in paths] == [9, 9]
    for result in results.found:
        y = ort.InferenceSession(result.model_id).run(None, {"x": result.example[np.newaxis]})[0][0]
        np.testing.assert_allclose(result.inference, y, rtol=1e-4, atol=1e-5)
