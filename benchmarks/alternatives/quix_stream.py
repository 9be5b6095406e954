"""Quix Streams: a dataframe with the model as its step. Its windows are by key, so each message is a run of its own."""

from __future__ import annotations

import tempfile

from quixstreams import Application

from benchmarks.alternatives.stream_common import CONSUMER, Model, StreamJob, parse


def run(job: StreamJob) -> None:
    """Until the process is ended."""
    model = Model(job)
    with tempfile.TemporaryDirectory() as state:
        app = Application(
            job.servers,
            consumer_group=job.group,
            auto_offset_reset="earliest",
            auto_create_topics=False,
            consumer_extra_config=CONSUMER,
            state_dir=state,
            loglevel="WARNING",
        )
        messages = app.topic(job.input, key_deserializer="bytes", value_deserializer="bytes")
        predictions = app.topic(job.output, key_serializer="bytes", value_serializer="bytes")
        app.dataframe(messages).apply(lambda value: model.score([value])[0]).to_topic(predictions)
        app.run()


if __name__ == "__main__":
    run(parse())
