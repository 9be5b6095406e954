"""Whether a topic that is read is still the one it was: deleted, or made anew, which a consumer is not told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any

from beamsplit.transforms.kafka.clients import make_admin, require_client, topic_is_gone
from beamsplit.transforms.kafka.config import ClientConfig, Topic

LOOK_SECONDS = 2.0
"""Between two looks."""

LOOKS = 2
"""So often a topic must be missing one after the other: a broker that starts may not know it yet."""

ANSWER_SECONDS = 5.0
"""How long one look may take."""

NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What brokers before Kafka 2.8 say, whose topics have no ids."""


class TopicWatch:
    """While it is entered, looks at a topic on a thread, and calls when it is no longer there or another one.

    Args:
        config: how to get in.
        topic: that is read.
        call: with what happened, once.
        seconds: between two looks.
    """

    def __init__(self, config: ClientConfig, topic: Topic, call: Callable[[str], None], seconds: float = LOOK_SECONDS):
        self._topic, self._call, self._seconds = topic, call, seconds
        self._admin = make_admin(config)
        self._id: str | None = None
        self._missed = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kafka-topic", daemon=True)

    def __enter__(self) -> TopicWatch:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._seconds):
            if (told := self.look()) is not None:
                self._call(told)
                return

    def look(self) -> str | None:
        """What happened to the topic; None where nothing did, as far as the brokers tell."""
        try:
            found = self._describe()
        except NoAnswer:
            return None
        except require_client().KafkaException as error:
            if not topic_is_gone(error.args[0]):
                return None  # the brokers are away, or do not let us ask
            self._missed += 1
            return f"--input {self._topic}: the topic was deleted while it was read" if self._missed >= LOOKS else None
        self._missed = 0
        if found == NO_ID:
            return None
        self._id = self._id or found
        if found == self._id:
            return None
        return (
            f"--input {self._topic}: the topic was deleted and made anew while it was read, and its offsets begin "
            "again; give another --group to read the new one from its beginning"
        )

    def look_last(self) -> str | None:
        """The same at the end, when there is no time for more looks."""
        for last in range(LOOKS):
            if (told := self.look()) is not None or not self._missed:
                return told
            if last < LOOKS - 1:
                time.sleep(1.0)
        return None

    def _describe(self) -> str:
        """The topic's id.

        Raises:
            KafkaException: there is none, or no answer.
        """
        from confluent_kafka import TopicCollection

        asked: Any = self._admin.describe_topics(TopicCollection([self._topic.name]), request_timeout=ANSWER_SECONDS)
        return str(asked[self._topic.name].result(2 * ANSWER_SECONDS).topic_id)
