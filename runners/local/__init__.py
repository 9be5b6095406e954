"""A Kafka broker and a Flink cluster on this machine, for tests and for trying things out: loopback only."""

from beamsplit.runners.local.flink_cluster import FlinkCluster
from beamsplit.runners.local.kafka_broker import KafkaBroker

__all__ = ["FlinkCluster", "KafkaBroker"]
