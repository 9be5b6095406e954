"""The plain loop with beamsplit's settings of the consumer, JSON of a batch at once, no framework: the limit."""

from __future__ import annotations

from benchmarks.alternatives.kafka_loop import run
from benchmarks.alternatives.stream_common import CONSUMER, parse

if __name__ == "__main__":
    run(parse(), CONSUMER, tuned=True)
