from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.registry import client
from beamsplit.transforms.kafka.registry.client import (
    NotThere,
    Refused,
    Registry,
    RegistryAway,
    Unusable,
    latest_schema,
    register,
    schema_by_id,
)
from tests.transforms.kafka.registry.registries import Registered, answering

pytest.importorskip("confluent_kafka.schema_registry")
SCHEMA = {"schema": '"int"', "schemaType": "AVRO"}
MISSING = {"error_code": 40403, "message": "Schema not found"}


def test_a_schema_is_asked_for_once():
    with answering((200, SCHEMA)) as (url, asked):
        registry = Registry(url)
        assert {schema_by_id(registry, 7).text for _ in range(3)} == {'"int"'}
        assert len([path for path, _ in asked if path.startswith("/schemas/ids/7")]) == 1


def test_the_latest_version_with_all_that_it_refers_to():
    made = Registered()
    made.add("a", {"type": "fixed", "name": "n.A", "size": 1})
    made.add(
        "b", {"type": "record", "name": "n.B", "fields": [{"name": "a", "type": "n.A"}]}, "AVRO", [("n.A", "a", 1)]
    )
    record = {"type": "record", "name": "R", "fields": [{"name": "b", "type": "n.B"}, {"name": "a", "type": "n.A"}]}
    id = made.add("t-value", record, "AVRO", [("n.B", "b", 1), ("n.A", "a", 1)])
    found = latest_schema(made.registry, "t-value")
    assert (found.id, found.version, str(found)) == (id, 1, "t-value, version 1")
    assert [name for name, _ in found.references] == ["n.A", "n.B"]
    with pytest.raises(NotThere):
        latest_schema(made.registry, "other-value")


def test_an_id_that_is_not_known_is_asked_for_again_later(monkeypatch: pytest.MonkeyPatch):
    with answering((404, MISSING), (200, SCHEMA)) as (url, _):
        registry = Registry(url)
        for _ in range(2):
            with pytest.raises(NotThere, match="no schema of the id 7, which the message names"):
                schema_by_id(registry, 7)
        monkeypatch.delitem(client._UNKNOWN, (registry, 7))
        assert schema_by_id(registry, 7).text == '"int"'


def test_a_registry_that_is_away_for_a_while_is_asked_again():
    with answering((503, {"message": "starting"}), (500, b"<html>"), (200, SCHEMA)) as (url, _):
        assert schema_by_id(Registry(url), 7).text == '"int"'


@pytest.mark.parametrize(
    ("status", "body", "error", "why"),
    [
        (503, {"message": "starting"}, RegistryAway, "does not answer .*starting.*; start it"),
        (401, {"message": "who"}, RegistryAway, r"does not let us in \(HTTP 401\); check schema.registry.basic.auth"),
        (400, {"message": "what"}, RegistryAway, "answers HTTP 400: what; check its address"),
        (409, {"message": "incompatible"}, Refused, "incompatible"),
        (200, b"<html>", RegistryAway, "does not answer"),
    ],
)
def test_what_a_registry_says(status: int, body: Any, error: type[Exception], why: str):
    with answering((status, body)) as (url, _), pytest.raises(error, match=why):
        register(Registry(url), "t-value", "AVRO", '"int"', seconds=0.2)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([{**SCHEMA, "version": 1}], "the registry gives t-value the id None and the version 1"),
        ([{**SCHEMA, "id": "x", "version": 1}], "the id x"),
        ([{"id": 4, "version": 1}], "the registry gives no text of it"),
        ([{**SCHEMA, "id": 4, "version": 1, "references": [{"name": "a", "subject": "a", "version": 1}]}],
         "it refers to a, which refers to itself"),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_used(said: list[Any], why: str):
    with answering(*[(200, one) for one in said]) as (url, _), pytest.raises(Unusable, match=why):
        latest_schema(Registry(url), "t-value", seconds=0.2)


def test_a_reference_that_leads_nowhere_is_told_and_not_asked_for_with_each_block():
    refers = {**SCHEMA, "references": [{"name": "a", "subject": "b", "version": 3}]}
    with answering((200, refers), (404, MISSING)) as (url, asked):
        for _ in range(3):
            with pytest.raises(Unusable, match="it refers to a, version 3 of b, which the registry does not have"):
                schema_by_id(Registry(url), 7)
    assert len([path for path, _ in asked if path.startswith("/subjects")]) == 1


def test_an_answer_that_never_ends(monkeypatch: pytest.MonkeyPatch):
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        with server.accept()[0] as asked, contextlib.suppress(OSError):
            asked.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.01):
                asked.sendall(b" ")

    monkeypatch.setattr(client, "WHOLE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,), daemon=True)
        thread.start()
        try:
            with pytest.raises(RegistryAway, match=r"does not answer \(its answer is not all there after 0.2 s\)"):
                schema_by_id(Registry(f"http://127.0.0.1:{server.getsockname()[1]}"), 7, seconds=0.1)
        finally:
            over.set()
            thread.join()


def test_nobody_answers():
    with answering((200, SCHEMA)) as (url, _):
        pass
    with pytest.raises(RegistryAway, match=f"--schema_registry {url} does not answer"):
        schema_by_id(Registry(url), 1, seconds=0.2)


def test_user_and_password_come_from_the_properties_and_are_not_kafkas(tmp_path: Path):
    config = tmp_path / "client.properties"
    config.write_text("schema.registry.basic.auth.user.info=alice:secret\nsecurity.protocol=PLAINTEXT\n")
    with answering((200, SCHEMA)) as (url, asked):
        schema_by_id(Registry(url, str(config)), 1)
    assert asked[0][1] == "Basic " + base64.b64encode(b"alice:secret").decode()
    assert "schema.registry.basic.auth.user.info" not in ClientConfig("h:1", str(config)).client()
    assert "secret" not in repr(Registry("http://h", str(config)))


def test_a_property_that_the_client_does_not_know(tmp_path: Path):
    config = tmp_path / "client.properties"
    config.write_text("schema.registry.ssl.truststore=secret\n")
    with pytest.raises(UsageError, match=r"does not take it: Unrecognized properties: ssl.truststore") as told:
        Registry("http://127.0.0.1:1", str(config)).client()
    assert "secret" not in str(told.value)
    config.write_text("schema.registry.url=http://h\n")
    with pytest.raises(UsageError, match=r"sets schema.registry.url, which --schema_registry sets"):
        Registry("http://127.0.0.1:2", str(config)).client()


def test_tls(tmp_path: Path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    config = tmp_path / "client.properties"
    config.write_text(f"schema.registry.ssl.ca.location={tmp_path / 'ca.pem'}\n")
    with answering((200, SCHEMA), context=context) as (url, _):
        assert schema_by_id(Registry(url, str(config)), 1).text == '"int"'
        with pytest.raises(RegistryAway, match=r"cannot be reached .*check schema.registry.ssl.ca.location"):
            schema_by_id(Registry(url), 1)
