"""Streams over TLS, with an authority of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from beamsplit.runners.local import KafkaBroker
from beamsplit.runners.process import free_ports
from tests.services.streams import Stream, rows

trustme = pytest.importorskip("trustme")
pytest.importorskip("confluent_kafka")


@pytest.fixture
def tls(services: None, prism_program: None, tmp_path: Path) -> Iterator[Stream]:
    """A stream of a broker that also takes clients over TLS, at the port `tls`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1")
    # Kafka reads keys as PKCS #8 only.
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    written = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    store = tmp_path / "store.pem"
    store.write_bytes(written + b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    folder = tmp_path / "kafka"
    folder.mkdir()
    plain, controller, port = ports = free_ports(3)
    (folder / "ports.json").write_text(json.dumps(ports))
    clients = f"PLAINTEXT://127.0.0.1:{plain},TLS://127.0.0.1:{port}"
    settings = {
        "listeners": f"{clients},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
    }
    with KafkaBroker(folder, settings=settings) as broker:
        made = Stream(broker, tmp_path)
        made.tls = f"kafka://127.0.0.1:{port}"
        yield made
        made.close()


def test_the_broker_must_be_who_it_says(tls: Stream, tmp_path: Path):
    there = {name: f"{tls.tls}/{getattr(tls, name)}" for name in ("input", "output")}
    config = tmp_path / "client.properties"
    config.write_text("security.protocol=SSL\n")
    code, _, err = tls.run("--kafka_config", str(config), **there)
    assert code == 2 and "certificate verify failed" in err, err
    config.write_text(f"security.protocol=SSL\nssl.ca.location={tmp_path / 'ca.pem'}\n")
    sent = tls.send(rows(20))
    code, out, err = tls.run("--kafka_config", str(config), "--until_end", **there)
    assert code == 0, err
    assert "20 in, 20 scored" in out and len(tls.read(tls.output)) == sent
