"""Bytewax: its Kafka source in batches, the model on each batch as it comes, its Kafka sink."""

from __future__ import annotations

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from benchmarks.alternatives.stream_common import CONSUMER, Model, StreamJob, parse


def flow_of(job: StreamJob) -> Dataflow:
    """Input -> score -> output."""
    model = Model(job)

    def score(messages: list[KafkaSourceMessage]) -> list[KafkaSinkMessage]:
        scored = model.score([message.value for message in messages])
        return [KafkaSinkMessage(message.key, value) for message, value in zip(messages, scored, strict=True)]

    flow = Dataflow("score")
    source = KafkaSource([job.servers], [job.input], add_config=CONSUMER, batch_size=job.batch)
    messages = op.input("input", flow, source)
    op.output("output", op.flat_map_batch("score", messages, score), KafkaSink([job.servers], job.output))
    return flow


if __name__ == "__main__":
    run_main(flow_of(parse()))
