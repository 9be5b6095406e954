"""What it takes to hand a block to another process of this machine, measured: serialised, sent, received, read.

this process                            another
block -> Arrow IPC -> local socket ---> bytes -> block
block <- bytes <--- local socket <--- Arrow IPC <- block          half of there and back

seconds = a block's + bytes x a byte's        a line through the times of a small block and of a large one
"""

from __future__ import annotations

import functools
import math
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

SMALL, LARGE = 1 << 10, 1 << 22
"""Bytes of the blocks that are handed over."""

PAUSE_SECONDS = 2e-3
"""Between two blocks."""

BLOCKS = 4
RUNS = 24
"""Blocks of each size, and how often they are sent; medians count."""

ASSUMED_BLOCK_SECONDS = 150e-6
"""Where it cannot be measured: about what it is on a small machine."""

_LEAST_BYTE_SECONDS = 1e-11
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Exchange:
    """The time from one process's block to the same block in another: half of it the work of each."""

    block_seconds: float
    """Of any block."""

    byte_seconds: float = 0.0
    """Of each byte of it more."""

    measured: bool = True
    """False: assumed."""

    def bandwidth(self, link: float = math.inf) -> float:
        """Bytes a second of each end of a link that takes so many, with its half of serialising; may be infinite."""
        seconds = self.byte_seconds / 2 + 1 / link
        return 1 / seconds if seconds else math.inf


ASSUMED = Exchange(ASSUMED_BLOCK_SECONDS, measured=False)


@functools.cache
def measure_exchange() -> Exchange:
    """Measured with a process that is started for it, which takes about half a second; once in a process.

    `ASSUMED` where no process can be started.
    """
    try:
        return _measured()
    except (OSError, subprocess.SubprocessError):
        return ASSUMED


def _measured() -> Exchange:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_DEADLINE_SECONDS)
        port = server.getsockname()[1]
        with subprocess.Popen([sys.executable, __file__, str(port)], stdin=subprocess.DEVNULL) as other:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(_DEADLINE_SECONDS)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    small, large = (_seconds(connection, nbytes) for nbytes in (SMALL, LARGE))
            finally:
                other.kill()
    byte = max((large - small) / (LARGE - SMALL), _LEAST_BYTE_SECONDS)
    return Exchange(max(small - byte * SMALL, 0.0), byte)


def _seconds(connection: socket.socket, nbytes: int) -> float:
    """Of one block there."""
    # One after the other: no cache has what is sent next.
    blocks = [_block(nbytes, 4) for _ in range(BLOCKS)]
    found = []
    stream = connection.makefile("rb")
    for block in (blocks[run % BLOCKS] for run in range(RUNS)):
        # As in a job: the other one has waited, and its core has gone to sleep.
        time.sleep(PAUSE_SECONDS)
        started = time.perf_counter()
        send(connection, block)
        if receive(stream) is None:
            raise OSError("the other process ended")
        found.append((time.perf_counter() - started) / 2)
    return statistics.median(found)


def _block(nbytes: int, columns: int) -> pa.RecordBatch:
    arrays = [pa.array(np.full(nbytes // 4 // columns, at, np.float32)) for at in range(columns)]
    return pa.RecordBatch.from_arrays(arrays, [f"c{at}" for at in range(columns)])


def send(connection: socket.socket, block: pa.RecordBatch) -> None:
    """Serialise a block and send it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema) as writer:
        writer.write_batch(block)
    data = sink.getvalue()
    connection.sendall(data.size.to_bytes(8, "little"))
    connection.sendall(data)


def receive(stream: BinaryIO) -> pa.RecordBatch | None:
    """The next block; None where the other end has closed."""
    size = stream.read(8)
    if len(size) < 8:
        return None
    data = stream.read(int.from_bytes(size, "little"))
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_next_batch()


def _answer(port: int) -> None:
    """The other process: what comes goes back."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection.makefile("rb")
        while (block := receive(stream)) is not None:
            send(connection, block)


if __name__ == "__main__":
    _answer(int(sys.argv[1]))
