"""Beam's own way to say in which order rows, watermarks and late rows come."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as streams
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from apache_beam.utils.windowed_value import PaneInfoTiming

import beamsplit as bs
from tests.api.collecting import keep
from tests.api.conftest import Mlp


class Told(beam.DoFn):
    def process(self, rows: Any, window: Any = beam.DoFn.WindowParam, pane: Any = beam.DoFn.PaneInfoParam) -> Any:
        yield int(window.start), sorted(rows[1]), pane.timing


def test_windows_close_in_time_and_late_rows_are_late(mlp: Mlp):
    rows = mlp.rows()[:6]
    rows[4]["a"] = "wrong"
    at = [TimestampedValue(row, time) for row, time in zip(rows, (0, 10, 20, 60, 90, 5), strict=True)]
    stream = streams.TestStream().advance_watermark_to(0).add_elements(at[:3]).advance_watermark_to(60)
    stream = stream.add_elements(at[3:5]).advance_watermark_to(120).add_elements(at[5:]).advance_watermark_to_infinity()
    by_window = beam.WindowInto(
        FixedWindows(60),
        trigger=AfterWatermark(late=AfterCount(1)),
        accumulation_mode=AccumulationMode.DISCARDING,
        allowed_lateness=1000,
    )
    # The in-process runner that others are tested with knows no TestStream.
    options = PipelineOptions(streaming=True, allow_unsafe_triggers=True)
    with beam.Pipeline("BundleBasedDirectRunner", options=options) as pipeline:
        scored = pipeline | stream | by_window | bs.Score(mlp.path, **mlp.options, sample=mlp.rows())
        keyed = scored.predictions | beam.Map(lambda row: (0, row["id"])) | beam.GroupByKey()
        good = keep(keyed | "good" >> beam.ParDo(Told()), "keep good")
        failed = scored.errors | "key" >> beam.Map(lambda error: (0, error.stage)) | "errors" >> beam.GroupByKey()
        bad = keep(failed | "bad" >> beam.ParDo(Told()), "keep bad")
    on_time, late = PaneInfoTiming.ON_TIME, PaneInfoTiming.LATE
    assert good.found == [(0, [0, 1, 2], on_time), (60, [3], on_time), (0, [5], late)]
    assert [(window, timing) for window, _, timing in bad.found] == [(60, on_time)]
