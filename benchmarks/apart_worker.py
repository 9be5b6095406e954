"""One worker of a split model in a process of its own, linked to its neighbours by sockets that it inherits.

`python -m benchmarks.apart_worker JOB.json`: the job tells which models it runs and the numbers of its sockets.

    before -> leader of a stage: its steps, its own shard -> behind        a leader and its shards meet at every step
                 |  ^
                 v  |
              another shard
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa

Tensors = dict[str, np.ndarray[Any, Any]]

WARM = 4
"""Micro-batches that do not count, at least."""


_SCHEMA = pa.schema([pa.field("bytes", pa.uint8(), nullable=False)])


class Step(TypedDict):
    """A step of the divided model, whole or sharded."""

    sharded: bool
    files: Sequence[str]
    inputs: Sequence[str]
    outputs: Sequence[str]
    depth: int
    """Of the stage that it is part of."""


class Link:
    """One end of a socket: named tensors in and out, as Arrow IPC behind a line of JSON, as blocks travel."""

    def __init__(self, number: int):
        self._socket = socket.socket(fileno=number)
        self._stream = self._socket.makefile("rb")

    def send(self, tensors: Tensors) -> None:
        """Serialise and send."""
        head = json.dumps([[name, one.dtype.str, one.shape] for name, one in tensors.items()]).encode()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _SCHEMA) as writer:
            for one in tensors.values():
                buffer = pa.py_buffer(np.ascontiguousarray(one).reshape(-1).view(np.uint8))
                column = pa.Array.from_buffers(pa.uint8(), buffer.size, [None, buffer])
                writer.write_batch(pa.RecordBatch.from_arrays([column], schema=_SCHEMA))
        body = sink.getvalue()
        self._socket.sendall(len(head).to_bytes(8, "little") + body.size.to_bytes(8, "little") + head)
        self._socket.sendall(body)

    def receive(self) -> Tensors | None:
        """The next tensors; None where the other end has closed."""
        sizes = self._stream.read(16)
        if len(sizes) < 16:
            return None
        head = json.loads(self._stream.read(int.from_bytes(sizes[:8], "little")))
        body = self._stream.read(int.from_bytes(sizes[8:], "little"))
        with pa.ipc.open_stream(pa.py_buffer(body)) as batches:
            each = [batch.column(0) for batch in batches]
        return {
            name: np.frombuffer(column.buffers()[1] or b"", dtype).reshape(shape)
            for (name, dtype, shape), column in zip(head, each, strict=True)
        }

    def close(self) -> None:
        """Tell the other end that nothing follows."""
        self._socket.shutdown(socket.SHUT_WR)


def lead(job: dict[str, Any]) -> None:
    """Run a stage's micro-batches; the last stage prints when each was done."""
    from beamsplit.models.shard.step_models import part_name

    before, behind = (Link(job[name]) if job[name] is not None else None for name in ("before", "behind"))
    shards = [Link(number) for number in job["shards"]]
    steps = [(step, _open(job, step["files"][0])) for step in job["steps"]]
    with np.load(job["feeds"]) as stored:
        feeds = {name: stored[name] for name in stored.files}
    done: list[float] = []
    count = 0
    while count < job["count"]:
        given = dict(feeds) if before is None else before.receive()
        if given is None:
            break
        count += 1
        values = given
        for step, session in steps:
            own = {name: values[name] for name in step["inputs"]}
            if not step["sharded"]:
                values.update(zip(step["outputs"], session.run(own), strict=True))
                continue
            for link in shards:
                link.send(own)
            made: list[Tensors] = [dict(zip(step["outputs"], session.run(own), strict=True))]
            made += [link.receive() or {} for link in shards]
            for shard, parts in enumerate(made):
                values.update((part_name(name, shard), parts[name]) for name in step["outputs"])
        if behind is not None:
            behind.send({name: values[name] for name in job["hands_on"]})
        else:
            done.append(time.perf_counter())
    for link in [*shards, *([behind] if behind is not None else [])]:
        link.close()
    if behind is None:
        print(json.dumps(done))


def follow(job: dict[str, Any]) -> None:
    """Run one shard of a stage's sharded steps, in turn."""
    leader = Link(job["leader"])
    steps = [(step, _open(job, step["files"][job["shard"]])) for step in job["steps"] if step["sharded"]]
    while True:
        for step, session in steps:
            given = leader.receive()
            if given is None:
                return
            leader.send(dict(zip(step["outputs"], session.run(given), strict=True)))


def _open(job: dict[str, Any], file: str) -> Any:
    from beamsplit.models.graph.model_file import ModelFile
    from beamsplit.models.running.providers import CPU
    from beamsplit.models.running.session import Session, SessionOptions

    return Session(ModelFile(os.path.join(job["folder"], file)), SessionOptions((CPU,), 1))


def rate(done: list[float]) -> float:
    """Micro-batches a second of the second half, when the chain is full.

    >>> rate([0.0, 5.0, 6.0, 7.0, 8.0])
    1.0
    """
    half = len(done) // 2
    return (len(done) - 1 - half) / (done[-1] - done[half])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as told:
        of_worker = json.load(told)
    (follow if of_worker["leader"] is not None else lead)(of_worker)
