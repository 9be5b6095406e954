from __future__ import annotations

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.transforms.fetch import pinned
from beamsplit.transforms.fetch.model_schemes import split_digest
from beamsplit.transforms.infer.fetched_model import localize


def test_a_model_of_a_web_server_comes_with_its_data_and_once(server, folder):
    digest = content_hash(str(folder / "m.onnx"))
    server.failing = ["cut", "503"]
    name = f"{server.url}/m.onnx#sha256={digest}"
    found = localize(name)
    assert content_hash(found) == digest
    assert server.paths[-1] == "/m.onnx.data"
    server.paths.clear()
    assert localize(name) == found
    assert server.paths == []


def test_another_model_than_the_digest_says_is_refused_and_not_kept(server, folder, cache):
    digest = content_hash(str(folder / "m.onnx"))
    (folder / "m.onnx.data").write_bytes(bytes((folder / "m.onnx.data").stat().st_size))
    with pytest.raises(
        UsageError, match=r"is another model: its SHA-256 begins with \w{12}, and the name says \w{12};"
    ):
        localize(f"{server.url}/m.onnx#sha256={digest}")
    assert not list(cache.rglob("m.onnx*.data")) and not list(cache.rglob("m.onnx"))


def test_redirects_to_what_is_not_encrypted_are_refused(server):
    server.leads_to = "http://192.0.2.1/m.onnx"
    with pytest.raises(UsageError, match=r"leads to http://192\.0\.2\.1, without encryption"):
        localize(f"{server.url}/m.onnx#sha256={'0' * 64}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://example.org/m.onnx", r"could give another model; add what it is to be, .*m\.onnx#sha256="),
        ("http://example.org/m.onnx#sha256=" + "0" * 64, "would come without encryption: name it by https://"),
        ("https://me:geheim@example.org/m.onnx#sha256=" + "0" * 64, "user, password or signature in its URL"),
        ("https://example.org/m.onnx?X-Amz-Signature=geheim#sha256=" + "0" * 64, "user, password or signature"),
        ("https://example.org/m.onnx#sha256=12", "64 hexadecimal digits that `sha256sum` shows"),
    ],
)
def test_names_that_are_refused(name, words):
    with pytest.raises(UsageError, match=words) as refused:
        pinned(name)
    assert "geheim" not in str(refused.value)


def test_what_is_not_there(server):
    with pytest.raises(UsageError, match=r"the model http://.*/no\.onnx cannot be read \(404"):
        localize(f"{server.url}/no.onnx#sha256={'0' * 64}")


def test_a_digest_in_capitals():
    assert split_digest("m.onnx#sha256=" + "A" * 64) == ("m.onnx", "a" * 64)
