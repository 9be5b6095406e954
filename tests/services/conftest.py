"""Real services for tests: each test worker (pytest-xdist) has its own, started by the first test that asks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from beamsplit.runners.cache import cache_folder
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.java import QUICK, find_java
from beamsplit.runners.local import FlinkCluster, KafkaBroker, SchemaRegistry
from beamsplit.runners.prism import find_prism
from tests.caches import link_programs
from tests.services.postgres import Postgres, find_programs, postgres_server
from tests.services.streams import Stream
from tests.services.transacted import Topics

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("services")
            # A JVM that the machine starved says nothing of this program. The summary counts the tests that ran twice.
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def services() -> Iterator[None]:
    """Skips where Java or Maven is missing; in CI (`CI=true`) that is a failure.

    All of Java starts quickly here, also Flink inside the job server of a stream, which else is to run fast for long:
    that takes twice the processor time of a short job (19.7 and 10.6 s measured).
    """
    missing = None
    try:
        find_java(17)
    except RunnerError as error:
        missing = str(error)
    if shutil.which("mvn") is None:
        missing = "there is no mvn in PATH; install Maven"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"service tests must run in CI: {missing}")
    if missing:
        pytest.skip(missing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", " ".join(QUICK))
        yield


@pytest.fixture(scope="session")
def session_broker(services: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    with KafkaBroker(tmp_path_factory.mktemp("kafka"), users={"alice": "right"}) as broker:
        yield broker


@pytest.fixture
def broker(session_broker: KafkaBroker) -> KafkaBroker:
    """A Kafka broker, running: use topics of your own, and stop, kill and start it as you like."""
    return session_broker.start()


@pytest.fixture(scope="session")
def session_cluster(services: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    with FlinkCluster(tmp_path_factory.mktemp("flink"), task_managers=1, slots=2) as cluster:
        yield cluster


@pytest.fixture
def cluster(session_cluster: FlinkCluster) -> FlinkCluster:
    """A Flink session cluster with 2 slots, running."""
    return session_cluster.start()


@pytest.fixture(scope="session")
def schema_registry(services: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SchemaRegistry]:
    """A schema registry, running: use subjects of your own."""
    with SchemaRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, running: use tables of your own."""
    programs = find_programs()
    if programs is None:
        missing = "PostgreSQL's initdb is not installed: apt-get install postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with postgres_server(programs) as server:
        yield server


@pytest.fixture(scope="session")
def prism_program(users_cache: Path) -> None:
    """Skips where Prism cannot be had; in CI that is a failure. It is built once, for all test workers."""
    from apache_beam.version import __version__

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BEAMSPLIT_CACHE", str(users_cache))
            find_prism(None, __version__)
        link_programs(users_cache, cache_folder())
    except RunnerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def stream(broker: KafkaBroker, prism_program: None, tmp_path: Path) -> Iterator[Stream]:
    """A stream of topics of its own, on Prism; what it started is ended."""
    made = Stream(broker, tmp_path)
    yield made
    made.close()


@pytest.fixture
def topics(broker: KafkaBroker) -> Iterator[Topics]:
    """Topics of its own for transactions, and a group."""
    made = Topics(broker)
    yield made
    made.consumer.close()
