"""The steps of a job around a model whose parts have workers of their own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest

from beamsplit.pipelines.running.wiring import SideWorkers, _score_elsewhere, run_steps, side_workers
from beamsplit.runners.beam_patches.parts_apart import _stages
from beamsplit.transforms.infer.run_steps import writer_memory
from beamsplit.transforms.kafka.config import ClientConfig, Topic
from beamsplit.transforms.kafka.offsets import Group
from beamsplit.transforms.kafka.transact import Transacted
from beamsplit.transforms.step import StepResult
from tests import onnx_models
from tests.models.split import chains
from tests.transforms.infer.in_stages import block, split
from tests.transforms.infer.on_shards import divided


class Same:
    """A step that changes nothing."""

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        return schema

    def __call__(self, block: pa.RecordBatch) -> StepResult:
        return StepResult(block)


def parts(of: str, folder: Path) -> tuple[Any, pa.RecordBatch]:
    if of == "stages":
        given = block(np.array([1, 2, 3]), "i")
        return SimpleNamespace(distributed=split(chains.picky(10), folder, given)[0]), given
    given = block(np.ones((4, 6), np.float32))
    steps, _ = divided(onnx_models.mlp(6, 32, 3, layers=4), folder, given)
    return SimpleNamespace(distributed=steps), given


@pytest.mark.parametrize(("of", "workers"), [("stages", 3), ("shards", 3)])
def test_what_is_before_and_behind_the_model_has_the_workers_of_its_ends(of: str, workers: int, tmp_path: Path):
    """So none has workers of its own: a stage each, or a shard each and what stays whole."""
    model, given = parts(of, tmp_path)
    ends = side_workers(model)
    pipeline = beam.Pipeline()
    blocks = pipeline | "Read" >> beam.Create([given]).with_output_types(pa.RecordBatch).with_resource_hints(
        **ends.before
    )
    steps = [(stage, Same()) for stage in ("read", "infer", "finish")]
    blocks, _ = run_steps(blocks, steps, model, None, ends)
    blocks | "Write" >> beam.Map(str).with_resource_hints(**ends.behind)
    components = pipeline.to_runner_api().components
    ram = {
        name: one.resource_hints["beam:resources:min_ram_bytes:v1"].decode()
        for name, one in components.environments.items()
        if one.resource_hints
    }
    pardos = [one for one in components.transforms.values() if one.spec.urn == "beam:transform:pardo:v1"]
    who = {one.unique_name: ram.get(one.environment_id) for one in pardos}
    assert len({each for name, each in who.items() if "Reshuffle" not in name}) == workers, who
    first = next(each for name, each in who.items() if name.startswith("0: read"))
    last = next(each for name, each in who.items() if name.startswith("Write"))
    assert f"{first}B" == ends.before["min_ram"] and f"{last}B" == ends.behind["min_ram"]
    assert (first == last) == (of == "shards")


def test_a_whole_model_leaves_it_to_the_runner():
    assert side_workers(SimpleNamespace(distributed=None)) == SideWorkers()  # type: ignore[arg-type]


def test_what_writes_in_transactions_has_workers_of_its_own_so_that_no_other_has_two_stages(tmp_path: Path):
    model, given = parts("stages", tmp_path)
    ends, hints = side_workers(model), {"min_ram": writer_memory(model.distributed)}
    pipeline = beam.Pipeline()
    blocks = pipeline | "Read" >> beam.Create([given]).with_output_types(pa.RecordBatch).with_resource_hints(
        **ends.before
    )
    steps = [(stage, Same()) for stage in ("read", "infer", "finish")]
    job: Any = SimpleNamespace(steps=steps, execution=model, job_dir=None, metrics=None)
    transacted = Transacted(Group(ClientConfig("h:1"), "in", "g", commits=False), Topic("h:1", "out"))
    _score_elsewhere(blocks, job, ends, transacted, hints)
    components = pipeline.to_runner_api().components
    stages = _stages(components)
    steps_of_it = (one for one in components.transforms.values() if "_TransactInOrder" in one.unique_name)
    (writer,) = {one.environment_id for one in steps_of_it if one.environment_id}
    assert stages[writer] == 1
    hinted = {name: count for name, count in stages.items() if components.environments[name].resource_hints}
    assert len(hinted) == len(model.distributed.steps) + 1 and set(hinted.values()) == {1}
