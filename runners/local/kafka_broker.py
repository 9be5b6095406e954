"""A Kafka broker of one process (KRaft: broker and controller) on the loopback interface."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from beamsplit.runners.errors import RunnerError
from beamsplit.runners.java import QUICK, classpath, find_java, temporary_files
from beamsplit.runners.listeners import check_free
from beamsplit.runners.local.ports import keep_ports, kept_ports
from beamsplit.runners.maven import maven_jars
from beamsplit.runners.process import Process, free_ports, listens

ARTIFACTS = ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4")
"""The broker, and what takes its log to where we can read it."""

JAVA = 17
"""Java that this Kafka needs at least."""

READY_SECONDS = 180.0
STARTED = "Kafka Server started"
"""What it logs when it answers, its internal topics' places included."""

LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
"""


class KafkaBroker:
    """A broker with its data in a folder: stopped or killed and started again it has the same ports and topics.

        with KafkaBroker(tmp_path / "kafka") as broker:
            broker.create_topic("in", partitions=4)
            ...                      # clients: {"bootstrap.servers": broker.address}
            broker.kill()            # SIGKILL
            broker.start()           # the same address, nothing lost that was flushed to the page cache

    Args:
        folder: configuration, data, log and pid; made if it is not there.
        port: of clients without authentication; 0 is a free one.
        users: name -> password for a second listener, `sasl_address` (SASL_PLAINTEXT, mechanism PLAIN).
        settings: more of Kafka's server properties, which win over ours.
        memory: of the Java heap.
        java_options: the default starts soon, `()` runs faster for long.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        port: int = 0,
        users: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        memory: str = "512m",
        java_options: Sequence[str] = QUICK,
    ):
        self.folder = Path(folder).absolute()
        self._users, self._settings, self._memory = dict(users or {}), dict(settings or {}), memory
        self._java_options = list(java_options)
        ports = kept_ports(self.folder, 3) or free_ports(3)
        self.port, self._controller_port, self._sasl_port = port or ports[0], *ports[1:]
        self.process = Process("kafka", self.folder)

    @property
    def address(self) -> str:
        """`host:port` for `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_address(self) -> str:
        """`host:port` of the listener that asks for a user and password."""
        return f"127.0.0.1:{self._sasl_port}"

    def start(self) -> KafkaBroker:
        """Start it and wait until it answers; nothing happens if it runs.

        Raises:
            RunnerError: no Java, no Maven, or it does not come up; with the end of its log.
        """
        if self.process.pid is not None:
            return self
        check_free(self.port, "--kafka_port")
        java, jars = find_java(JAVA), classpath(maven_jars(*ARTIFACTS))
        config = self._configure()
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(java, jars, config)
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        temporary = temporary_files(self.folder / "tmp")
        options = [f"-Xmx{self._memory}", temporary, *self._java_options, logging, "-cp", jars]
        self.process.command = [java, *options, "kafka.Kafka", str(config)]
        self.process.start()
        try:
            self.process.wait_until(lambda: STARTED in self.process.logged() and listens(self.port), READY_SECONDS)
        except BaseException:
            self.process.kill()
            raise
        return self

    def stop(self) -> None:
        """Shut it down in order."""
        self.process.stop()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self.process.kill()

    def __enter__(self) -> KafkaBroker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def create_topic(self, name: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> str:
        """Make a topic and wait for it; gives its name. Needs the extra `kafka`."""
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        topic = NewTopic(name, partitions, 1, config=dict(settings or {}))
        admin.create_topics([topic], operation_timeout=30)[name].result(60)
        return name

    def _configure(self) -> Path:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        ports = [self.port, self._controller_port, self._sasl_port]
        keep_ports(self.folder, ports)
        (self.folder / "log4j2.properties").write_text(LOGGING)
        listeners = {"PLAINTEXT": self.port} | ({"SASL": self._sasl_port} if self._users else {})
        addresses = [f"{name}://127.0.0.1:{port}" for name, port in listeners.items()]
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{self._controller_port}"]),
            "advertised.listeners": ",".join(addresses),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # A broker that was killed may come back as soon as its last session is over.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
        }
        if self._users:
            known = " ".join(f'user_{name}="{password}"' for name, password in self._users.items())
            properties["sasl.enabled.mechanisms"] = "PLAIN"
            properties["listener.name.sasl.plain.sasl.jaas.config"] = (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};"
            )
        config = self.folder / "server.properties"
        lines = [f"{name}={value}\n" for name, value in (properties | self._settings).items()]
        config.touch(mode=0o600)  # it may hold passwords
        config.write_text("".join(lines), encoding="utf-8")
        return config

    def _format(self, java: str, jars: str, config: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = [
            java,
            "-Xmx256m",
            temporary_files(self.folder / "tmp"),
            *QUICK,
            "-cp",
            jars,
            "kafka.tools.StorageTool",
            "format",
        ]
        # With "=", since an id may begin with "-".
        command = [*tool, f"--cluster-id={cluster}", f"--config={config}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=READY_SECONDS)
        if done.returncode:
            raise RunnerError(f"Kafka's folder {self.folder} could not be set up: {(done.stdout + done.stderr)[-500:]}")
