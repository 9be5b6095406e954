"""Files of the cache that are damaged, or cannot be used, count for nothing; test_profile sees them measured again."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import pytest

from beamsplit.models.cost import profile_cache
from beamsplit.models.cost.profile import Profile

PROFILE = Profile(2, {"a": 0.25, "b": 1e-7}, {"x": 24.0}, 0.2500001, notes=("a line",))

DAMAGED = {
    "cut short": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not UTF-8": lambda text: b"\xff\xfe",
    "another JSON type": lambda text: "[1, 2]",
    "a null": lambda text: "null",
    "an older form": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
    "nested": lambda text: "[" * 100_000,
    "a number changed": lambda text: json.dumps({**json.loads(text), "total_seconds": 1e300}),
    "a number of another type": lambda text: json.dumps({**json.loads(text), "rows": True}),
    "a number of too many digits": lambda text: '{"rows": ' + "9" * 10_000 + "}",
    "no tensors": lambda text: json.dumps({**json.loads(text), "value_bytes": {}}),
    "not a number": lambda text: json.dumps({**json.loads(text), "total_seconds": math.nan}),
}


def kept(folder: Path) -> Path:
    profile_cache.write(str(folder), "one", dataclasses.asdict(PROFILE))
    (file,) = folder.iterdir()
    return file


def test_what_was_written_is_read(tmp_path: Path):
    kept(tmp_path)
    assert profile_cache.read(str(tmp_path), "one", Profile) == PROFILE


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_not_there(tmp_path: Path, damage: str):
    file = kept(tmp_path)
    bad = DAMAGED[damage](file.read_text(encoding="utf-8"))
    file.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    assert profile_cache.read(str(tmp_path), "one", Profile) is None
    assert kept(tmp_path) == file
    assert profile_cache.read(str(tmp_path), "one", Profile) == PROFILE


@pytest.mark.parametrize("place", ["a folder", "a pipe", "a link to nothing"])
def test_something_else_in_its_place_is_no_file(tmp_path: Path, place: str):
    file = kept(tmp_path)
    file.unlink()
    make = {"a folder": os.mkdir, "a pipe": os.mkfifo, "a link to nothing": lambda at: os.symlink(tmp_path / "no", at)}
    make[place](file)
    assert profile_cache.read(str(tmp_path), "one", Profile) is None
    assert kept(tmp_path) == file


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        profile_cache.write(str(folder), "one", dataclasses.asdict(PROFILE))
        assert profile_cache.read(str(folder), "one", Profile) is None

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    for function in ("tempfile.mkstemp", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(function, refuse)
            profile_cache.write(str(tmp_path / "cache"), "one", dataclasses.asdict(PROFILE))
        assert not list(tmp_path.glob("cache/.*"))
