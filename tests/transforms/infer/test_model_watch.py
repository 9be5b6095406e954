"""Models at a store: as in a bucket, without folders or links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.transforms.infer.model_watch import candidates, check_watched, state_of, take_copy
from tests import onnx_models
from tests.far_store import add_far_store
from tests.onnx_models import save


@pytest.fixture(autouse=True)
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    add_far_store(monkeypatch)


def test_the_newest_of_a_bucket_comes_first(tmp_path: Path):
    for at, name in enumerate(["b.onnx", "a.onnx", ".c.onnx", "d.txt"]):
        save(onnx_models.mlp(4), tmp_path / name)
        os.utime(tmp_path / name, (100 + at, 100 + at))
    found = candidates(f"far:/{tmp_path}/")
    assert [one.path for one in found] == [f"far:/{tmp_path}/a.onnx", f"far:/{tmp_path}/b.onnx"]
    assert candidates(found[0].path) == found[:1]
    assert found[0].changed == 101 and found[0].size == os.path.getsize(tmp_path / "a.onnx")
    check_watched(f"far:/{tmp_path}")


@pytest.mark.parametrize("location", ["w.bin", "weights/w.bin"])
def test_a_copy_from_a_bucket_has_its_data(tmp_path: Path, location: str):
    (tmp_path / "from" / "weights").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    path = save(onnx_models.mlp(4), tmp_path / "from" / "m.onnx", external=location)
    copy = take_copy(f"far:/{path}", str(tmp_path / "to"))
    assert (copy.problem, copy.version, copy.data) == (None, model_version(path), (location,))
    assert (tmp_path / "to" / location).read_bytes() == (tmp_path / "from" / location).read_bytes()
    (candidate,) = candidates(f"far:/{path}")
    before = state_of(candidate, copy.data)
    (tmp_path / "from" / location).unlink()
    assert state_of(candidate, copy.data) != before
    (tmp_path / "again").mkdir()
    again = take_copy(f"far:/{path}", str(tmp_path / "again"))
    assert again.problem == f"far:/{path} needs its external data {location!r}: put that file beside the model"


def test_what_a_bucket_does_not_have(tmp_path: Path):
    with pytest.raises(OSError, match=r"no\.onnx"):
        take_copy(f"far:/{tmp_path}/no.onnx", str(tmp_path))
    with pytest.raises(UsageError, match="--model_updates nothing://bucket cannot be looked at"):
        check_watched("nothing://bucket")
