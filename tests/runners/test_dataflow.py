"""Dataflow without an account: what is checked, and the job that would be submitted."""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import json_format

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.options.score import parse
from beamsplit.runners.dataflow import check_dataflow, steps_of, write_job
from beamsplit.runners.direct import direct_runner
from beamsplit.runners.errors import RunnerError
from tests.command import Command

CLOUD = ("--project", "my-project", "--region", "europe-west1", "--temp_location", "gs://bucket/tmp")
IMAGE = ("--sdk_container_image", "example.org/beamsplit:1")


def test_the_job_is_written_and_nothing_runs(command: Command):
    folder = command.folder / "job"
    given = ("--runner", "DataflowRunner", "--dry_run", folder, *CLOUD, *IMAGE, "--max_num_workers", "7")
    code, out, err = command.run(*given)
    assert code == 0, err
    assert out.splitlines() == [str(folder / name) for name in ("pipeline.json", "options.json", "steps.json")]
    options = json.loads((folder / "options.json").read_text())
    assert options["project"] == "my-project" and options["max_num_workers"] == 7
    proto = json_format.Parse((folder / "pipeline.json").read_text(), beam_runner_api_pb2.Pipeline())
    steps = {step["step"]: step for step in json.loads((folder / "steps.json").read_text())}
    assert steps == {step["step"]: step for step in steps_of(proto)}
    (infer,) = [step for name, step in steps.items() if name.startswith("0: infer/")]
    assert infer["container"] == "example.org/beamsplit:1"
    assert not command.output.parent.exists()


def test_a_job_that_resumes_is_written(command: Command):
    folder = command.folder / "job"
    code, _, err = command.run("--resume", "--runner", "DataflowRunner", "--dry_run", folder, *CLOUD, *IMAGE)
    assert code == 0, err
    steps = {step["step"]: step for step in json.loads((folder / "steps.json").read_text())}
    (score,) = [step for name, step in steps.items() if name == "Score/Score"]
    assert score["container"] == "example.org/beamsplit:1" and any(name.startswith("Finish/Finalize") for name in steps)
    assert not command.output.parent.exists()


def test_each_step_is_shown_with_its_hints(tmp_path: Path):
    options = PipelineOptions([*CLOUD, *IMAGE, "--resource_hints", "cpu_count=4"])
    pipeline = beam.Pipeline(direct_runner(1, "thread"), options)
    accelerator = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
    stage = beam.Map(str).with_resource_hints(min_ram="2GB", accelerator=accelerator)
    pipeline | beam.Create([1]) | "stage" >> stage | "after" >> beam.Map(str)
    written = write_job(pipeline, options, tmp_path)
    steps = {step["step"]: step["hints"] for step in json.loads(written[-1].read_text())}
    assert steps["stage"] == {"accelerator": accelerator, "cpu_count": "4", "min_ram_bytes": "2000000000"}
    assert steps["after"] == {"cpu_count": "4"}


def test_the_default_container_is_beams_of_this_python(tmp_path: Path):
    options = PipelineOptions(CLOUD)
    pipeline = beam.Pipeline(direct_runner(1, "thread"), options)
    pipeline | beam.Impulse() | "step" >> beam.Map(len)
    steps = json.loads(write_job(pipeline, options, tmp_path)[-1].read_text())
    assert {step["container"].rpartition(":")[2] for step in steps} == {beam.__version__}


@pytest.mark.parametrize(
    ("given", "files", "message"),
    [
        ((), (), "DataflowRunner needs --project, --region, --temp_location; type e.g. --project my-project"),
        (CLOUD[:4], (), "DataflowRunner needs --temp_location; type"),
        (CLOUD, (), r"Dataflow's workers have no beamsplit; add --setup_file ./setup.py, or --sdk_container_image"),
        ((*CLOUD, *IMAGE), ("gs://b/a.csv", "m.onnx"), "m.onnx is a file of this machine, .*; copy it to gs://"),
    ],
)
def test_what_would_fail_on_the_service_is_told_here(given: tuple[str, ...], files: tuple[str, ...], message: str):
    with pytest.raises(RunnerError, match=message):
        check_dataflow(PipelineOptions(given), files)


def test_local_files_are_refused_before_anything_is_read(command: Command):
    err = command.error("--runner", "DataflowRunner", *CLOUD, *IMAGE)
    assert err.startswith(f"{command.model} is a file of this machine")


def test_a_dry_run_is_for_dataflow():
    with pytest.raises(
        UsageError, match=r"--dry_run is for --runner DataflowRunner, .*; --dry_run_plan shows the plan"
    ):
        parse(["--model", "m.onnx", "--input", "a.csv", "--output", "o.csv", "--dry_run"])
