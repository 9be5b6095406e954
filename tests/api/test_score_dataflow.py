"""`bs.Score` in a pipeline for Dataflow, which is built and not run: it needs no account."""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import json_format

import beamsplit as bs
from beamsplit.runners.dataflow import steps_of, write_job
from beamsplit.runners.direct import direct_runner
from tests.api.conftest import Mlp

CLOUD = ("--project", "my-project", "--region", "europe-west1", "--temp_location", "gs://bucket/tmp")
IMAGE = ("--sdk_container_image", "example.org/beamsplit:1")


@pytest.mark.parametrize(
    "how", [{}, {"stages": 2, "placement": "distributed"}, {"shards": 2, "placement": "distributed"}]
)
def test_the_job_that_would_be_submitted(mlp: Mlp, tmp_path: Path, how: dict[str, object]):
    options = PipelineOptions([*CLOUD, *IMAGE])
    pipeline = beam.Pipeline(direct_runner(1, "thread"), options)
    scored = pipeline | beam.Create(mlp.rows()) | "score" >> bs.Score(mlp.path, sample=mlp.rows(), **mlp.options, **how)
    scored.predictions | "good" >> beam.Map(print)
    scored.errors | "bad" >> beam.Map(print)
    written = write_job(pipeline, options, tmp_path)
    proto = json_format.Parse(written[0].read_text(), beam_runner_api_pb2.Pipeline())
    steps = json.loads(written[-1].read_text())
    assert {step["step"]: step for step in steps} == {step["step"]: step for step in steps_of(proto)}
    assert {step["container"] for step in steps} == {"example.org/beamsplit:1"}
    ours = [step for step in steps if step["step"].startswith("score/")]
    memory = {step["hints"].get("min_ram_bytes") for step in ours}
    # Each part of a distributed model asks for a memory of its own, so that it gets workers of its own.
    assert len(memory - {None}) >= (2 if how else 0)
    assert {step["step"] for step in steps} >= {"good", "bad"}
