from __future__ import annotations

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.transforms.fetch import pinned
from beamsplit.transforms.infer.fetched_model import localize


@pytest.fixture
def hub(server, monkeypatch):
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hf_api.constants, "ENDPOINT", server.url)
    return server


def test_a_branch_means_its_commit_and_is_fetched_once(hub, folder):
    (folder / "onnx").mkdir()
    for name in ("m.onnx", "m.onnx.data"):
        (folder / name).rename(folder / "onnx" / name)
    name = "hf://org/repo/onnx/m.onnx@main"
    assert pinned(name) == pinned("hf://org/repo/onnx/m.onnx") == "hf://org/repo/onnx/m.onnx@" + "a" * 40
    found = localize(pinned(name))
    assert content_hash(found) == content_hash(str(folder / "onnx/m.onnx"))
    hub.paths.clear()
    assert localize(pinned(name).removesuffix("")) == found
    assert [path for path in hub.paths if "resolve" in path] == []
    hub.commit = "b" * 40
    assert localize(pinned(name)) != found


def test_what_the_hub_does_not_have(hub):
    with pytest.raises(UsageError, match=r"the model hf://org/repo/no\.onnx@a{40} cannot be had from the hub"):
        localize("hf://org/repo/no.onnx")
    with pytest.raises(UsageError, match=r"is no file of the hub: name hf://ORG/REPO/path/m\.onnx@REVISION"):
        pinned("hf://repo.onnx")
