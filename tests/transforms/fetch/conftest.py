from __future__ import annotations

import pytest

from tests import onnx_models
from tests.onnx_models import save
from tests.transforms.fetch.folder_server import serving


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A folder with a model whose weights lie beside it."""
    path = tmp_path / "from"
    path.mkdir()
    save(onnx_models.mlp(4, outputs=2), path / "m.onnx", external="m.onnx.data")
    return path


@pytest.fixture
def server(folder, cache):
    """A web server of that folder."""
    with serving(folder) as found:
        yield found
