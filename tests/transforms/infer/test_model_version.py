from __future__ import annotations

import pytest

from beamsplit.models.graph.model_copy import model_version
from beamsplit.transforms.infer.model_watch import FoundModel, candidates, check_watched, state_of
from tests import onnx_models
from tests.command import Command, write_table
from tests.onnx_models import save


@pytest.mark.parametrize("options", [(), ("--stages", "2"), ("--finish", "softmax")])
def test_each_prediction_of_a_batch_carries_the_version(command: Command, options: tuple[str, ...]):
    code, _, err = command.run("--keep", "id", "--model_version", *options)
    assert code == 0, err
    rows = command.rows()
    assert rows.schema.names == ["id", "y", "model_version"]
    assert rows["model_version"].unique().to_pylist() == [model_version(command.model)]


def test_a_column_of_that_name_is_told(command: Command):
    data = write_table(command.folder / "old.parquet", x=[[1.0, 2, 3, 4]], model_version=["old"])
    said = command.error("--keep", "model_version", "--model_version", "--narrow", columns=None, input=data)
    assert "there is one already (model_version, y)" in said


def test_the_newest_model_of_a_folder_is_the_first(tmp_path):
    import os

    names = ["b.onnx", "a.onnx", ".c.onnx", "d.txt"]
    for name in names:
        save(onnx_models.mlp(4), tmp_path / name)
        os.utime(tmp_path / name, ns=(1000, 1000))
    assert [one.path.rsplit("/", 1)[1] for one in candidates(str(tmp_path))] == ["b.onnx", "a.onnx"]
    os.utime(tmp_path / "a.onnx", ns=(2000, 2000))
    assert [one.path.rsplit("/", 1)[1] for one in candidates(str(tmp_path))] == ["a.onnx", "b.onnx"]
    assert candidates(str(tmp_path / "nothing.onnx")) == []


def test_the_state_has_the_data_of_the_model(tmp_path):
    model = FoundModel(str(tmp_path / "m.onnx"), 5.0, 7)
    missing = state_of(model, ("w.bin",))
    (tmp_path / "w.bin").write_bytes(b"123")
    assert state_of(model, ()) == ((model.path, 5.0, 7),)
    assert state_of(model, ("w.bin",)) != missing and state_of(model, ("w.bin",))[1][2] == 3


def test_what_cannot_be_watched_is_told(tmp_path):
    from beamsplit.models.errors import UsageError

    check_watched(str(tmp_path))
    check_watched(str(tmp_path / "later.onnx"))
    for path in (tmp_path / "nowhere", tmp_path / "nowhere" / "m.onnx"):
        with pytest.raises(UsageError, match="does not exist; name a folder"):
            check_watched(str(path))
    (tmp_path / "m.pt").touch()
    with pytest.raises(UsageError, match="is no ONNX file"):
        check_watched(str(tmp_path / "m.pt"))
