"""Kafka, Flink and a schema registry on this machine, for tests and for trying things out: loopback only."""

from beamsplit.runners.local.flink_cluster import FlinkCluster
from beamsplit.runners.local.kafka_broker import KafkaBroker
from beamsplit.runners.local.schema_registry import SchemaRegistry

__all__ = ["FlinkCluster", "KafkaBroker", "SchemaRegistry"]
