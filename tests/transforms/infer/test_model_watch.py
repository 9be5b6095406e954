"""Models on a file system that Beam is asked for: as in a bucket, without folders or links."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import BinaryIO

import pytest
from apache_beam.io.filesystem import FileMetadata, MatchResult
from apache_beam.io.localfilesystem import LocalFileSystem

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.transforms.infer.model_watch import candidates, check_watched, state_of, take_copy
from tests import onnx_models
from tests.onnx_models import save


def _paths(pattern: str) -> list[str]:
    """The files of a pattern, hidden ones too."""
    folder, name = os.path.split(pattern)
    return [os.path.join(folder, one) for one in os.listdir(folder) if fnmatch.fnmatch(one, name)]


class Bucket(LocalFileSystem):
    """`bucket:///path` is the local file `/path`."""

    @classmethod
    def scheme(cls) -> str:
        return "bucket"

    def open(self, path: str, *args: object, **kwargs: object) -> BinaryIO:
        file: BinaryIO = super().open(path.removeprefix("bucket://"), *args, **kwargs)
        return file

    def match(self, patterns: list[str], limits: object = None) -> list[MatchResult]:
        found = []
        for pattern in patterns:
            paths = _paths(pattern.removeprefix("bucket://"))
            stats = [(path, os.stat(path)) for path in paths]
            listed = [FileMetadata(f"bucket://{path}", stat.st_size, stat.st_mtime) for path, stat in stats]
            found.append(MatchResult(pattern, listed))
        return found


def test_the_newest_of_a_bucket_comes_first(tmp_path: Path):
    for at, name in enumerate(["b.onnx", "a.onnx", ".c.onnx", "d.txt"]):
        save(onnx_models.mlp(4), tmp_path / name)
        os.utime(tmp_path / name, (100 + at, 100 + at))
    found = candidates(f"bucket://{tmp_path}/")
    assert [one.path for one in found] == [f"bucket://{tmp_path}/a.onnx", f"bucket://{tmp_path}/b.onnx"]
    assert candidates(found[0].path) == found[:1]
    assert found[0].changed == 101 and found[0].size == os.path.getsize(tmp_path / "a.onnx")
    check_watched(f"bucket://{tmp_path}")


@pytest.mark.parametrize("location", ["w.bin", "weights/w.bin"])
def test_a_copy_from_a_bucket_has_its_data(tmp_path: Path, location: str):
    (tmp_path / "from" / "weights").mkdir(parents=True)
    (tmp_path / "to").mkdir()
    path = save(onnx_models.mlp(4), tmp_path / "from" / "m.onnx", external=location)
    copy = take_copy(f"bucket://{path}", str(tmp_path / "to"))
    assert (copy.problem, copy.version, copy.data) == (None, model_version(path), (location,))
    assert (tmp_path / "to" / location).read_bytes() == (tmp_path / "from" / location).read_bytes()
    (candidate,) = candidates(f"bucket://{path}")
    before = state_of(candidate, copy.data)
    (tmp_path / "from" / location).unlink()
    assert state_of(candidate, copy.data) != before
    (tmp_path / "again").mkdir()
    again = take_copy(f"bucket://{path}", str(tmp_path / "again"))
    assert again.problem == f"bucket://{path} needs its external data {location!r}: put that file beside the model"


def test_what_a_bucket_does_not_have(tmp_path: Path):
    with pytest.raises(OSError, match=r"no\.onnx"):
        take_copy(f"bucket://{tmp_path}/no.onnx", str(tmp_path))
    with pytest.raises(UsageError, match="--model_updates nothing://bucket cannot be looked at"):
        check_watched("nothing://bucket")
