"""Tells a step that makes elements for long, such as a source, that the runner waits for the end of its bundle.

A runner that has no more for a bundle says so on the data channel, and a worker reads that when the step is done. On
Flink a checkpoint waits meanwhile: its barrier lets the runner say it, and whoever reads a stream goes on for as long
as it was told to.

Beam: none yet. To be reported: a splittable DoFn should hear that a checkpoint is wanted, as of a runner's splits.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from apache_beam.runners.worker.data_plane import _GrpcDataChannel

_BUNDLE = threading.local()


def end_is_wanted() -> bool:
    """Whether something came for the bundle that this thread is at, beside the one element of it that is at work: that
    nothing more comes. True where that is not known, as of a bundle that began before this was imported.

    It is there from the beginning where a runner hands over whole bundles: to be asked only where it keeps them open.
    """
    received = getattr(_BUNDLE, "received", None)
    return received is None or received.qsize() > 0


def _noting(input_elements: Any) -> Any:
    @functools.wraps(input_elements)
    def noted(channel: Any, instruction_id: str, *args: Any, **named: Any) -> Any:
        _BUNDLE.received = channel._receiving_queue(instruction_id)
        try:
            yield from input_elements(channel, instruction_id, *args, **named)
        finally:
            _BUNDLE.received = None

    return noted


if not hasattr(_GrpcDataChannel.input_elements, "__wrapped__"):
    _GrpcDataChannel.input_elements = _noting(_GrpcDataChannel.input_elements)  # type: ignore[method-assign]
