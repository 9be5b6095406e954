"""What the parts of a model cost: seconds of nodes and bytes of tensors, measured or counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from beamsplit.models.running.providers import CPU


@dataclass(frozen=True)
class Profile:
    """Seconds and bytes of a model's parts at one micro-batch size."""

    rows: int
    """In the micro-batch."""

    node_seconds: Mapping[str, float]
    """For every node of the loaded graph, per micro-batch; 0 where ONNX Runtime folds it away."""

    value_bytes: Mapping[str, float]
    """For every tensor of the loaded graph that is no weight, per micro-batch."""

    total_seconds: float
    """Of a run of the whole model without the profiler; what `node_seconds` add up to."""

    source: str = "measured"
    """`"measured"` or `"estimate"`."""

    provider: str = CPU
    """Execution provider, by its full name, that comes first."""

    threads: int = 1
    """Threads of the session."""

    notes: tuple[str, ...] = ()
    """Lines for the user: what could not be measured."""
