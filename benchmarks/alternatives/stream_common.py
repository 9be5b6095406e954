"""What the stream programs share: their arguments, the session, a batch of values through the model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

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

    format: str
    """Of the messages: `tensor`, the bytes of float32, or `json`, objects of a number each."""


def parse() -> StreamJob:
    """The job of the command line: SERVERS INPUT OUTPUT GROUP MODEL BATCH WAIT_MS FORMAT."""
    *names, batch, wait_ms, format = sys.argv[1:]
    return StreamJob(*names, int(batch), float(wait_ms) / 1000, format)


class Model:
    """A session, and how messages become its input.

    Args:
        job: with the model, and the format of the messages.
        tuned: whether JSON of many messages is parsed and written at once.
    """

    def __init__(self, job: StreamJob, tuned: bool = False):
        options = ort.SessionOptions()
        # A thread that spins between runs takes a core from the broker and the clients.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(job.model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self.score: Callable[[Sequence[bytes]], list[bytes]] = self._tensors
        """The predictions of each message, in the format of the messages."""

        if job.format == "json":
            self.score = self._json_at_once if tuned else self._json

    def _run(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(None, {self._input.name: x})[0]
        return found

    def _tensors(self, values: Sequence[bytes]) -> list[bytes]:
        x = np.frombuffer(b"".join(values), np.float32).reshape(len(values), *self._input.shape[1:])
        y = self._run(x)
        width = y.nbytes // len(values)
        whole = y.tobytes()
        return [whole[at : at + width] for at in range(0, len(whole), width)]

    def _json(self, values: Sequence[bytes]) -> list[bytes]:
        """As one writes it: a message at a time."""
        import orjson

        y = self._run(np.array([list(orjson.loads(value).values()) for value in values], np.float32))
        return [orjson.dumps({"y": row.tolist()}) for row in y]

    def _json_at_once(self, values: Sequence[bytes]) -> list[bytes]:
        """Tuned by hand: messages as one array, numbers without lists between, outputs cut from one text."""
        import orjson

        rows = orjson.loads(b"[" + b",".join(values) + b"]")
        numbers = chain.from_iterable(map(dict.values, rows))
        x = np.fromiter(numbers, np.float32, len(values) * self._input.shape[1]).reshape(len(values), -1)
        y = np.ascontiguousarray(self._run(x))
        return [b'{"y":[%b]}' % row for row in orjson.dumps(y, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")]
