from __future__ import annotations

import hashlib
import os
from pathlib import Path

import onnx
import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import copy_model, inner_path, model_version
from tests import onnx_models
from tests.onnx_models import save


def test_the_version_is_the_hash_of_the_file_and_of_its_data(tmp_path: Path):
    inside = save(onnx_models.mlp(4), tmp_path / "inside.onnx")
    outside = save(onnx_models.mlp(4), tmp_path / "outside.onnx", external="w.bin")
    assert model_version(inside) == hashlib.sha256(Path(inside).read_bytes()).hexdigest()[:12]
    both = Path(outside).read_bytes() + (tmp_path / "w.bin").read_bytes()
    assert model_version(outside) == hashlib.sha256(both).hexdigest()[:12]


@pytest.mark.parametrize("external", [None, "w.bin"])
def test_a_copy_has_the_version_and_the_data_of_the_model(tmp_path: Path, external: str | None):
    path = save(onnx_models.mlp(4), tmp_path / "m.onnx", external=external)
    (tmp_path / "copy").mkdir()
    copy = copy_model(path, str(tmp_path / "copy"))
    assert copy.version == model_version(path) and copy.problem is None
    assert copy.data == (() if external is None else (external,))
    assert sorted(os.listdir(tmp_path / "copy")) == sorted(["m.onnx", *copy.data])
    assert onnx.load(copy.path) == onnx.load(path)


def test_what_is_wrong_is_told_with_the_version(tmp_path: Path):
    path = save(onnx_models.mlp(4), tmp_path / "m.onnx", external="w.bin")
    (tmp_path / "copy").mkdir()
    (tmp_path / "w.bin").unlink()
    copy = copy_model(path, str(tmp_path / "copy"))
    assert copy.problem == f"{path} needs its external data 'w.bin': put that file beside the model"
    assert copy.version == hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


def test_data_outside_the_folder_is_not_touched(tmp_path: Path):
    (tmp_path / "models").mkdir()
    path = save(onnx_models.mlp(4), tmp_path / "models" / "m.onnx", external="w.bin")
    (tmp_path / "models" / "w.bin").rename(tmp_path / "w.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = "../w.bin"
    onnx.save(model, path)
    (tmp_path / "copy").mkdir()
    copy = copy_model(path, str(tmp_path / "copy"))
    assert "outside the model's folder" in (copy.problem or "")
    assert os.listdir(tmp_path / "copy") == ["m.onnx"]


@pytest.mark.parametrize("location", ["", "/etc/passwd", "../w.bin", "a/../../w.bin", "C:\\w.bin", "\\\\host\\w.bin"])
def test_a_copy_never_leaves_its_folder(location: str):
    with pytest.raises(UsageError, match="outside the model's folder"):
        inner_path("m.onnx", location)


def test_data_may_lie_in_a_folder_of_the_models_folder():
    assert inner_path("m.onnx", "weights/./w.bin") == inner_path("m.onnx", "weights\\w.bin") == "weights/w.bin"
