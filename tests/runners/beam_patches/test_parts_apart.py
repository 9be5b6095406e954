"""What makes the parts of a stream has workers of its own, which are threads of the pool."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
import pytest
from apache_beam.io.unbounded_source import UnboundedCountingSource
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.transforms import environments

from beamsplit.runners.beam_patches.parts_apart import set_parts_apart
from beamsplit.runners.beam_patches.thread_worker import PARTS
from beamsplit.runners.worker_pool import WorkerPool
from beamsplit.transforms.kafka.task_assignment import ReadParts
from tests.waiting import DEADLINE

EXTERNAL = ("--environment_type=EXTERNAL", "--environment_config=127.0.0.1:1")


def proto(pipeline: beam.Pipeline, *options: str) -> api.Pipeline:
    given = PipelineOptions(list(options)).view_as(PortableOptions)
    return pipeline.to_runner_api(default_environment=environments.Environment.from_options(given))


def streams(count: int = 1) -> beam.Pipeline:
    """Pipelines of sources with two parts each, and a step behind each."""
    pipeline = beam.Pipeline()
    for number in range(count):
        parts = [UnboundedCountingSource(10), UnboundedCountingSource(11)]
        pipeline | f"Read {number}" >> ReadParts(parts, 2.0) | f"Behind {number}" >> beam.Map(str)
    return pipeline


def apart(pipeline: api.Pipeline) -> dict[str, bool]:
    """Step of the SDK -> whether its environment is for parts."""
    components = pipeline.components
    found = {}
    for step in components.transforms.values():
        if step.environment_id and not step.subtransforms and set(step.outputs.values()) - set(step.inputs.values()):
            environment = components.environments[step.environment_id]
            found[step.unique_name] = PARTS in api.ExternalPayload.FromString(environment.payload).params
    return found


@pytest.mark.parametrize("count", [1, 2])
def test_what_makes_parts_has_an_environment_of_its_own(count: int):
    pipeline = proto(streams(count), *EXTERNAL)
    turns = set_parts_apart(pipeline)
    found = apart(pipeline)
    assert turns == len(found) == 6 * count
    for number in range(count):
        of_one = {name: own for name, own in found.items() if name.startswith((f"Read {number}", f"Behind {number}"))}
        assert [own for _, own in sorted(of_one.items())] == [False, True, True, True, False, True]
        assert [name for name, own in of_one.items() if not own and "Process" not in name] == [f"Behind {number}"]
    others = {name: step for name, step in pipeline.components.transforms.items() if step.subtransforms}
    inside = {child for step in others.values() for child in step.subtransforms}
    assert inside == set(pipeline.components.transforms) - set(pipeline.root_transform_ids)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_shard_that_has_several_parts_keeps_its_process(parts: int):
    pipeline = beam.Pipeline()
    made = pipeline | "Read" >> ReadParts([UnboundedCountingSource(10)], 2.0)
    for number in range(parts):
        mine = beam.Map(str).with_resource_hints(min_ram="1GB")
        made = made | f"To {number}" >> beam.Reshuffle() | f"Shard {number}" >> mine
    changed = proto(pipeline, *EXTERNAL)
    assert (set_parts_apart(changed) == 1) == (parts > 1)
    # What makes the parts is a thread all the same.
    assert any(apart(changed).values())


def test_what_is_no_source_of_parts_stays_as_it_is():
    bounded = beam.Pipeline()
    bounded | beam.Create([1], reshuffle=False) | beam.Map(str)
    processes = ("--environment_type=PROCESS", "--environment_config={}")
    for pipeline, options in ((bounded, EXTERNAL), (streams(), processes)):
        made = proto(pipeline, *options)
        before = made.SerializeToString(deterministic=True)
        assert set_parts_apart(made) == 0 and made.SerializeToString(deterministic=True) == before


def test_parts_that_others_use_too_stay():
    pipeline = beam.Pipeline()
    made = pipeline | beam.Create([UnboundedCountingSource(10)], reshuffle=False)
    read = ReadParts([UnboundedCountingSource(10)], 2.0)
    made | "Read" >> beam.ParDo(read._dofn)
    made | "Beside" >> beam.Map(str)
    assert set_parts_apart(proto(pipeline, *EXTERNAL)) == 0


class Control(beam_fn_api_pb2_grpc.BeamFnControlServicer):
    """A runner's control service that gives no work until it is told to end."""

    def __init__(self) -> None:
        self.connected: queue.Queue[str] = queue.Queue()
        self.gone: queue.Queue[str] = queue.Queue()

    def Control(self, answers: Iterator[Any], context: Any) -> Iterator[Any]:
        worker = dict(context.invocation_metadata())["worker_id"]
        self.connected.put(worker)
        for _ in answers:
            pass
        self.gone.put(worker)
        yield from ()


def test_a_worker_that_makes_parts_is_a_thread_of_the_pool(tmp_path: Path):
    control, server = Control(), grpc.server(ThreadPoolExecutor(8))
    beam_fn_api_pb2_grpc.add_BeamFnControlServicer_to_server(control, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with WorkerPool(tmp_path, command=["false"]) as pool:
        request = beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1", params={PARTS: "1"})
        request.control_endpoint.url = address
        assert pool.StartWorker(request, None).error == "" and pool.pids() == []
        assert control.connected.get(timeout=DEADLINE) == "1-1"
        pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), None)
        assert control.gone.get(timeout=DEADLINE) == "1-1"
        # Of two TaskManagers, whose workers have the same names: each ends with its own.
        assert [pool.StartWorker(request, None).error for _ in range(2)] == ["", ""]
        pool.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id="1-1"), None)
        assert control.gone.empty()
    server.stop(0).wait()
