"""A stream through shards with workers of their own on a real Flink: all outputs, each worker's weights, kills."""

from __future__ import annotations

import contextlib
import json
import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
from apache_beam.io.unbounded_source import ReadFromUnboundedSource
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from beamsplit.runners.flink import FlinkOptions, flink_runner
from beamsplit.runners.local import FlinkCluster
from beamsplit.transforms.infer.gather import PATIENCE_SECONDS
from beamsplit.transforms.infer.model_steps import ModelSteps, ShardedStep
from beamsplit.transforms.infer.run_steps import RunSteps
from tests import onnx_models
from tests.models.shard.watched import HitStep, NotedWhole, changed, check_distributed, told_in
from tests.services.steps import ROWS, AsBlock, Count, Write, as_line, numbered
from tests.services.streams import Stream, origins, rows
from tests.transforms.infer.on_shards import divided
from tests.waiting import DEADLINE, running, wait_until

pytest.importorskip("confluent_kafka")

APART = ("--shards", "2", "--placement", "distributed")


@pytest.mark.parametrize(
    ("ways", "parallelism", "delivery"),
    [(APART, 2, "exactly_once"), (("--stages", "2", *APART), 1, "exactly_once")],
)
def test_shards_with_workers_of_their_own_give_what_the_whole_gives(
    stream: Stream, ways: tuple[str, ...], parallelism: int, delivery: str
):
    sent = stream.send([*rows(300), b'{"x": [1, 2]}'])
    code, out, err = stream.run(
        *("--until_end", "--group", "g1", "--errors", str(stream.folder / "errors.jsonl"), *ways),
        *("--runner", "FlinkRunner", "--parallelism", str(parallelism), "--checkpoint", "1s", "--batch_size", "16"),
        *("--delivery", delivery),
    )
    assert code == 0, err
    assert "301 in, 300 scored, 1 failed" in out, out
    outputs = stream.read(stream.output)
    found = origins(outputs)
    assert len(outputs) == len(set(found)) == sent - 1
    if delivery == "exactly_once":
        ways_through: dict[tuple[int, int], list[int]] = defaultdict(list)
        for message, (_, partition, offset) in zip(outputs, found, strict=True):
            ways_through[partition, message.partition()].append(offset)
        assert len(ways_through) > 1 and all(each == sorted(each) for each in ways_through.values())
    x = np.array([[i, 1, 2, 3] for i in range(300)], np.float32)
    expected = ort.InferenceSession(str(stream.model)).run(None, {"x": x})[0]
    found = {message.key(): json.loads(message.value())["y"] for message in outputs}
    np.testing.assert_allclose([found[f"k{i}".encode()] for i in range(300)], expected, rtol=1e-4, atol=1e-5)
    assert stream.committed("g1") == sent


def test_what_is_committed_is_there_and_a_command_that_was_killed_loses_nothing(stream: Stream):
    """Flink finalizes also what is still on its way: only what has come out may be committed."""
    sent = stream.send(rows(1_000))
    options = ("--group", "g1", "--quiet", "--batch_size", "4", *APART, "--runner", "FlinkRunner")
    options += ("--parallelism", "1", "--checkpoint", "1s")
    process = stream.start(*options)
    wait_until(lambda: bool(stream.read(stream.output)), "outputs")
    looks, seen, deadline = 0, 0, time.monotonic() + DEADLINE
    while looks < 4:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate(process.kill())
        done = stream.positions("g1")
        found = {(partition, offset) for _, partition, offset in origins(stream.read(stream.output))}
        missing = [
            (partition, offset)
            for partition, end in done.items()
            for offset in range(end)
            if (partition, offset) not in found
        ]
        assert not missing, f"committed: {done}, but not there: {missing}"
        looks, seen = looks + (sum(done.values()) > seen), sum(done.values())
        sent += stream.send(rows(200, first=sent))
    sent += stream.kill_before_the_end(process, sent, 200)
    code, _, err = stream.run("--until_end", *options)
    assert code == 0, err
    assert len(set(origins(stream.read(stream.output)))) == sent
    assert stream.committed("g1") == sent


def noting(steps: ModelSteps, folder: Path) -> ModelSteps:
    """The same steps, which tell in files of this folder who runs them, and are hit as files there say."""
    folder.mkdir()
    made = changed(steps, HitStep, whole=NotedWhole).steps
    return replace(
        steps,
        steps=tuple(
            replace(one, shards=tuple(replace(shard, job_dir=str(folder)) for shard in one.shards))
            if isinstance(one, ShardedStep)
            else replace(one, job_dir=str(folder))
            for one in made
        ),
    )


class Running:
    """Numbers without an end as blocks through two shards, on a Flink; `with` ends it."""

    def __init__(self, options: FlinkOptions, folder: Path, patience: float = PATIENCE_SECONDS):
        self.model = onnx_models.mlp(6, 2048, 3, layers=4)
        self.notes = folder / "notes"
        self._final, self._out = folder / "final", folder / "out"
        self._options, self._patience = options, patience
        steps, self._whole = divided(self.model, folder, numbered(0))
        self._steps = noting(steps, self.notes)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Running:
        with self._stack as stack:
            runner, flags = stack.enter_context(flink_runner(self._options))
            pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
            numbers = pipeline | ReadFromUnboundedSource(Count(str(self._final), 0.02), max_read_time_seconds=0.2)
            blocks = numbers | beam.ParDo(AsBlock()).with_output_types(pa.RecordBatch)
            scored, _ = blocks | RunSteps(self._steps, patience=self._patience)
            scored | beam.Map(as_line) | beam.ParDo(Write(str(self._out)))
            self._result = pipeline.run()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)  # a job that still runs is cancelled

    def finalized(self) -> int:
        """Numbers that were read before a checkpoint which is there for good."""
        return int(self._final.read_text() or 0) if self._final.exists() else 0

    def made(self) -> dict[str, list[float]]:
        """Id of a row -> its predictions, the last that came."""
        lines = self._out.read_text().split("\n")[:-1] if self._out.exists() else []
        return dict(row for line in lines if line for row in json.loads(line))

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for it while the job runs."""

        def goes_on() -> object:
            assert not PipelineState.is_terminal(self._result.state), "the job ended"
            return condition()

        wait_until(goes_on, what)

    def check(self, numbers: int) -> None:
        """Wait for all rows of the first numbers; each is what the whole model says."""
        ids = {f"{number}, row {row}" for number in range(numbers) for row in range(ROWS)}
        self.wait(lambda: ids <= set(self.made()), f"the rows of {numbers} numbers")
        found = self.made()
        expected = [self._whole(numbered(number)).block["y"].to_numpy_ndarray() for number in range(numbers)]
        given = [[found[f"{number}, row {row}"] for row in range(ROWS)] for number in range(numbers)]
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)

    def hit(self, what: str) -> None:
        """Wait until shard 1 dies, or loses a part."""
        (self.notes / f"{what}-1").touch()
        self.wait((self.notes / f"{what}-1.done").exists, f"{what}: shard 1 is hit")


def test_each_shard_has_a_process_with_its_weights_and_comes_back_when_it_is_killed(services: None, tmp_path: Path):
    """Killed between a block and its part, of which the other shard's is there already, or is not.

    What makes the parts, a thread of this process, ends with the job that was begun, without a word.
    """
    with Running(FlinkOptions(parallelism=1, streaming=True, checkpoint_ms=1000), tmp_path) as job:
        weights = sum(tensor.ByteSize() for tensor in job.model.graph.initializer)
        job.wait(lambda: job.finalized() > 0 and len(job.made()) > 100, "a checkpoint and outputs")
        told = told_in(job.notes)
        check_distributed(told, 2, weights)
        before = job.finalized()
        (victim,) = told.pids["1"]
        job.hit("die")
        job.wait(lambda: job.finalized() > before + 20, "checkpoints go on after the kill")
        check_distributed(told_in(job.notes), 2, weights)
        assert not running(int(victim)) and len(told_in(job.notes).pids["1"]) > 1
        # All that was read before a checkpoint comes out.
        job.check(job.finalized())


NEVER_MS = 24 * 3600 * 1000


def test_a_part_that_is_lost_fails_the_job_which_goes_on_at_its_checkpoint(cluster: FlinkCluster, tmp_path: Path):
    options = FlinkOptions(cluster.address, parallelism=1, streaming=True, checkpoint_ms=NEVER_MS)
    with Running(options, tmp_path, patience=5.0) as job:
        job.wait(lambda: len(job.made()) > 100, "outputs")
        (number,) = [each for each, status in cluster.jobs().items() if status == "RUNNING"]
        # Asked for, so that none comes between the loss and when it is found: it would hold half a block.
        take_checkpoint(cluster, number)
        job.wait(lambda: job.finalized() > 0, "the checkpoint")
        job.hit("lose")
        lost = r"LostPartError: step \d: of a block's 2 partial results, that of shard 1 is lost: the last to come did"
        told = f"/jobs/{number}/exceptions"
        job.wait(lambda: re.search(lost, json.dumps(cluster.get(told))), "the loss is told")
        job.wait(lambda: cluster.get(f"/jobs/{number}/checkpoints")["counts"]["restored"], "the job begins again")
        seen = len(job.made())
        job.wait(lambda: len(job.made()) > seen + 100, "outputs go on")
        job.check(max(int(each.split(",")[0]) for each in job.made()))


def take_checkpoint(cluster: FlinkCluster, job: str) -> None:
    """Have Flink take a checkpoint of a job now."""
    body, kind = json.dumps({"checkpointType": "FULL"}).encode(), {"Content-Type": "application/json"}
    address = f"http://{cluster.address}/jobs/{job}/checkpoints"
    request = urllib.request.Request(address, body, kind, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["request-id"]
