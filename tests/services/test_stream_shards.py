"""A stream through shards with workers of their own on a real Flink: all outputs, each worker's weights, kills."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
from apache_beam.io.unbounded_source import ReadFromUnboundedSource
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from runners.flink import FlinkOptions, flink_runner
from tests import onnx_models
from tests.services.steps import ROWS, AsBlock, Count, Write, as_line, numbered
from tests.services.streams import Stream, origins, rows
from tests.shard.watched import NotedStep, NotedWhole, changed, check_apart, told_in
from tests.test_shards import divided
from tests.waiting import DEADLINE, running, wait_until
from transforms.shard_step import ShardSteps
from transforms.shards import RunShards

pytest.importorskip("confluent_kafka")

APART = ("--shards", "2", "--placement", "distributed")


@pytest.mark.parametrize(("ways", "parallelism"), [(APART, 2), (("--stages", "2", *APART), 1)])
def test_shards_with_workers_of_their_own_give_what_the_whole_gives(
    stream: Stream, ways: tuple[str, ...], parallelism: int
):
    sent = stream.send([*rows(300), b'{"x": [1, 2]}'])
    code, out, err = stream.run(
        *("--until_end", "--group", "g1", "--errors", str(stream.folder / "errors.jsonl"), *ways),
        *("--runner", "FlinkRunner", "--parallelism", str(parallelism), "--checkpoint", "1s", "--batch_size", "16"),
    )
    assert code == 0, err
    assert "301 in, 300 scored, 1 failed" in out, out
    outputs = stream.read(stream.output)
    assert len(outputs) == len(set(origins(outputs))) == sent - 1
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


class Enough(Exception):
    """Ends the job."""


def noting(steps: ShardSteps, folder: Path) -> ShardSteps:
    """The same steps, which tell in files of this folder who runs them."""
    folder.mkdir()
    made = changed(steps, NotedStep, whole=NotedWhole).steps
    return replace(
        steps,
        steps=tuple(
            (tuple(replace(shard, job_dir=str(folder)) for shard in one[0]), one[1])
            if isinstance(one, tuple)
            else replace(one, job_dir=str(folder))
            for one in made
        ),
    )


def test_each_shard_has_a_process_with_its_weights_and_comes_back_when_it_is_killed(services: None, tmp_path: Path):
    model = onnx_models.mlp(6, 2048, 3, layers=4)
    steps, whole = divided(model, tmp_path, numbered(0))
    notes, final, out = tmp_path / "notes", tmp_path / "final", tmp_path / "out"

    def finalized() -> int:
        return int(final.read_text() or 0) if final.exists() else 0

    def made() -> dict[str, list[float]]:
        lines = out.read_text().split("\n")[:-1] if out.exists() else []
        return dict(row for line in lines if line for row in json.loads(line))

    options = FlinkOptions(parallelism=1, streaming=True, checkpoint_ms=1000)
    with contextlib.suppress(Enough), flink_runner(options) as (runner, flags):
        pipeline = beam.Pipeline(runner, options=PipelineOptions(flags))
        numbers = pipeline | ReadFromUnboundedSource(Count(str(final), 0.02), max_read_time_seconds=0.2)
        blocks = numbers | beam.ParDo(AsBlock()).with_output_types(pa.RecordBatch)
        scored, _ = blocks | RunShards(noting(steps, notes))
        scored | beam.Map(as_line) | beam.ParDo(Write(str(out)))
        result = pipeline.run()

        def goes_on(condition: bool) -> bool:
            assert not PipelineState.is_terminal(result.state), "the job ended"
            return condition

        wait_until(lambda: goes_on(finalized() > 0 and len(made()) > 100), "a checkpoint and outputs")
        told = told_in(notes)
        check_apart(told, 2, sum(tensor.ByteSize() for tensor in model.graph.initializer))
        before = finalized()
        (victim,) = told.pids["1"]
        os.kill(int(victim), signal.SIGKILL)
        wait_until(lambda: goes_on(finalized() > before + 20), "checkpoints go on after the kill")
        check_apart(told_in(notes), 2, sum(tensor.ByteSize() for tensor in model.graph.initializer))
        assert not running(int(victim)) and len(told_in(notes).pids["1"]) > 1
        # All that was read before a checkpoint comes out, each row with what the whole model says.
        done = finalized()
        ids = {f"{number}, row {row}" for number in range(done) for row in range(ROWS)}
        wait_until(lambda: goes_on(ids <= set(made())), "all that was read before a checkpoint")
        found = made()
        expected = [whole(numbered(number)).block["y"].to_numpy_ndarray() for number in range(done)]
        given = [[found[f"{number}, row {row}"] for row in range(ROWS)] for number in range(done)]
        np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
        raise Enough
