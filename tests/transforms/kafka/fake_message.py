"""A message as confluent-kafka gives it, without a broker."""

from __future__ import annotations


class FakeMessage:
    """What `confluent_kafka.Message` offers."""

    def __init__(self, value, partition=0, offset=0, key=None, headers=None, time=-1):
        self._all = value, partition, offset, key, headers, time

    def value(self):
        return self._all[0]

    def partition(self):
        return self._all[1]

    def offset(self):
        return self._all[2]

    def key(self):
        return self._all[3]

    def headers(self):
        return self._all[4]

    def timestamp(self):
        return (1, self._all[5])
