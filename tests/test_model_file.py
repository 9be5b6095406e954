from __future__ import annotations

import os
from pathlib import Path

import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from models.errors import UsageError
from transforms.model_file import localize


class Shelf(LocalFileSystem):
    """`shelf:///path` is the local file `/path`."""

    @classmethod
    def scheme(cls) -> str:
        return "shelf"

    def open(self, path: str, *args: object, **kwargs: object) -> object:
        return super().open(path.removeprefix("shelf://"), *args, **kwargs)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    return tmp_path / "temp"


def test_a_local_path_is_itself(cache: Path):
    assert localize("some/m.onnx") == "some/m.onnx" and not list(cache.iterdir())


def test_a_remote_model_is_copied_and_a_new_version_replaces_it(tmp_path: Path, cache: Path):
    source = tmp_path / "m.onnx"
    source.write_bytes(b"first")
    found = localize(f"shelf://{source}")
    assert Path(found).read_bytes() == b"first" and found.endswith("-m.onnx") and Path(found).is_relative_to(cache)
    assert os.stat(Path(found).parent).st_mode & 0o777 == 0o700
    source.write_bytes(b"second")
    assert localize(f"shelf://{source}") == found and Path(found).read_bytes() == b"second"
    assert os.listdir(Path(found).parent) == [Path(found).name]


@pytest.mark.parametrize("path", ["shelf:///no/such/m.onnx", "nothing://bucket/m.onnx"])
def test_what_cannot_be_read(cache: Path, path: str):
    with pytest.raises(UsageError, match=f"the model {path} cannot be read: .*check the path"):
        localize(path)
    assert not [file for folder in cache.iterdir() for file in folder.iterdir()]
