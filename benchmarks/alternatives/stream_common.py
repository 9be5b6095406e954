"""What the stream programs share: their arguments, the session, a batch of values through the model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

CONSUMER = {"fetch.queue.backoff.ms": 10}
"""Of a consumer: with the client's default of a second it pauses for longer than what it holds lasts."""


@dataclass(frozen=True)
class StreamJob:
    """What one program is asked to do."""

    servers: str
    input: str
    output: str
    group: str
    model: str
    batch: int
    """Most messages of one run."""

    wait_seconds: float
    """Longest wait for more messages before a batch is run (linger)."""


def parse() -> StreamJob:
    """The job of the command line: SERVERS INPUT OUTPUT GROUP MODEL BATCH WAIT_MS."""
    *names, batch, wait_ms = sys.argv[1:]
    return StreamJob(*names, int(batch), float(wait_ms) / 1000)


class Model:
    """A session, and how messages become its input."""

    def __init__(self, path: str):
        options = ort.SessionOptions()
        # A thread that spins between runs takes a core from the broker and the clients.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]

    def score(self, values: Sequence[bytes]) -> list[bytes]:
        """The predictions of each message, as bytes of float32."""
        x = np.frombuffer(b"".join(values), np.float32).reshape(len(values), *self._input.shape[1:])
        y = self._session.run(None, {self._input.name: x})[0]
        width = y.nbytes // len(values)
        whole = y.tobytes()
        return [whole[at : at + width] for at in range(0, len(whole), width)]
