"""How long messages took, from their own time until the brokers have their output: for the metrics of a process."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from beamsplit.transforms.kafka.outgoing import Messages
from beamsplit.transforms.telemetry.recorder import recording

Sent = tuple[Messages, Collection[int]]
"""Messages, and the positions of those that are not to be counted: they were refused."""


def tell_delivered(sent: Iterable[Sent]) -> None:
    """Count messages that the brokers have, where that is asked for; errors are not counted."""
    recorder = recording()
    if recorder is None:
        return
    for messages, refused in sent:
        if messages.block is not None:
            recorder.delivered(np.delete(np.array(messages.times, np.int64), sorted(refused)))
