"""Dataflow: what must be given, and the job that would be submitted, without an account."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beamsplit.runners.errors import RunnerError

NEEDED = ("project", "region", "temp_location")
"""Options of Beam without which Dataflow takes no job."""

PACKAGES = ("setup_file", "sdk_container_image", "requirements_file", "extra_packages")
"""Options by which workers get this package."""


def is_dataflow(runner: str) -> bool:
    """Whether a `--runner` means this runner."""
    return "dataflow" in runner.lower()


def check_dataflow(options: Any, files: Sequence[str]) -> None:
    """Check what would fail on the service, minutes later.

    Args:
        options: Beam's `PipelineOptions`.
        files: what workers read and write.

    Raises:
        RunnerError: an option is missing, or a file is one of this machine.
    """
    given = options.get_all_options(drop_default=True)
    missing = [f"--{name}" for name in NEEDED if not given.get(name)]
    if missing:
        raise RunnerError(
            f"DataflowRunner needs {', '.join(missing)}; type e.g. --project my-project --region europe-west1 "
            "--temp_location gs://my-bucket/tmp"
        )
    if not any(given.get(name) for name in PACKAGES):
        raise RunnerError(
            "Dataflow's workers have no beamsplit; add --setup_file ./setup.py, or --sdk_container_image with an image "
            "made from deploy/docker/Dockerfile"
        )
    local = [path for path in files if not re.match("[a-z][a-z0-9]+:/", path)]
    if local:
        raise RunnerError(
            f"{local[0]} is a file of this machine, which Dataflow's workers cannot reach; copy it to gs://... and "
            "name that"
        )


def write_job(pipeline: Any, options: Any, folder: Path) -> list[Path]:
    """Write the job that would be submitted: `pipeline.json`, `options.json` and `steps.json`; gives their paths.

    `pipeline.json` is Beam's pipeline proto, `steps.json` the container, resource hints and accelerators of each step.
    Needs no credentials and no Google package.

    Args:
        pipeline: that has been built.
        options: Beam's `PipelineOptions`.
        folder: made if it is not there.
    """
    from apache_beam.options.pipeline_options import WorkerOptions
    from apache_beam.transforms.environments import (
        DockerEnvironment,
        python_sdk_dependencies,
        resource_hints_from_options,
    )
    from google.protobuf import json_format

    environment = DockerEnvironment.from_container_image(
        options.view_as(WorkerOptions).sdk_container_image or DockerEnvironment.default_docker_image(),
        artifacts=python_sdk_dependencies(options),
        resource_hints=resource_hints_from_options(options),
    )
    proto = pipeline.to_runner_api(default_environment=environment)
    texts = {
        "pipeline.json": json_format.MessageToJson(proto),
        "options.json": json.dumps(options.get_all_options(drop_default=True), indent=2, default=str),
        "steps.json": json.dumps(steps_of(proto), indent=2),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return [folder / name for name in texts]


def steps_of(proto: Any) -> list[dict[str, Any]]:
    """Name, container and resource hints of each step of a pipeline proto that runs on workers."""
    from apache_beam.portability.api import beam_runner_api_pb2

    steps = []
    for transform in proto.components.transforms.values():
        environment = proto.components.environments.get(transform.environment_id)
        if transform.subtransforms or not transform.environment_id or environment is None:
            continue
        docker = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        hints = {urn.split(":")[-2]: value.decode() for urn, value in sorted(environment.resource_hints.items())}
        steps.append({"step": transform.unique_name, "container": docker.container_image, "hints": hints})
    return steps
