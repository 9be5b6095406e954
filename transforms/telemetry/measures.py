"""What is measured: the names that Prometheus sees, with their units and labels. A new one is a row here. No Beam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the buckets of times."""

ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0)
"""Upper ends of the buckets of rows."""


@dataclass(frozen=True)
class Measure:
    """One metric."""

    kind: str
    """`COUNTER`, `GAUGE` or `HISTOGRAM`."""

    help: str
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    """Upper ends of a histogram's buckets, without infinity."""


MEASURES: Mapping[str, Measure] = {
    "beamsplit_rows_read": Measure(COUNTER, "Rows or messages that were read."),
    "beamsplit_rows": Measure(COUNTER, "Rows that came out of a stage.", ("stage", "model_version")),
    "beamsplit_errors": Measure(COUNTER, "Rows that failed, by stage and kind of reason.", ("stage", "reason")),
    "beamsplit_rows_delivered": Measure(COUNTER, "Outputs that the brokers have."),
    "beamsplit_batch_rows": Measure(HISTOGRAM, "Rows in a run of the model or of a part of it.", ("stage",), ROWS),
    "beamsplit_run_seconds": Measure(HISTOGRAM, "A run of the model or of a part of it.", ("stage",), SECONDS),
    "beamsplit_block_seconds": Measure(HISTOGRAM, "A block in a stage.", ("stage",), SECONDS),
    "beamsplit_delivery_seconds": Measure(
        HISTOGRAM, "From a message's timestamp until the brokers have its output.", (), SECONDS
    ),
    "beamsplit_stage_busy_seconds": Measure(COUNTER, "Time that a stage's workers ran.", ("stage",)),
    "beamsplit_stage_offered_seconds": Measure(
        COUNTER, "Time in which they might have: busy by offered is the share.", ("stage",)
    ),
    "beamsplit_stage_queue_seconds": Measure(
        COUNTER, "Time that micro-batches waited for an inline stage: by active it is its queue.", ("stage",)
    ),
    "beamsplit_stages_active_seconds": Measure(COUNTER, "Time in which inline stages had something to do."),
    "beamsplit_lag_messages": Measure(GAUGE, "Messages that wait.", ("topic", "partition")),
    "beamsplit_lag_seconds": Measure(
        GAUGE, "Age of the last message read, where more wait; else 0.", ("topic", "partition")
    ),
    "beamsplit_watermark_timestamp_seconds": Measure(
        GAUGE, "Event time before which nothing is expected, in seconds since 1970.", ("topic", "part")
    ),
    "beamsplit_model_loads": Measure(COUNTER, "Models, or parts of one, that were loaded.", ("model_version",)),
    "beamsplit_model_load_seconds": Measure(GAUGE, "The last load.", ("model_version",)),
    "beamsplit_model_bytes": Measure(GAUGE, "Size of the model's files, of what is loaded.", ("model_version",)),
    "beamsplit_model_refusals": Measure(COUNTER, "New models that were not taken."),
}
"""Name, without the `_total` that a counter gets -> what it is."""
