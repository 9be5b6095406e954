from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.models.user_cache import private_folder
from beamsplit.transforms.infer import fetched_model as model_file
from beamsplit.transforms.infer.fetched_model import localize, with_digest
from beamsplit.transforms.infer.model_watch import take_copy
from tests.far_store import OPENED, add_far_store


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`XDG_CACHE_HOME`; nothing may lie in the temporary folder, where anybody can lay something first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BEAMSPLIT_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    add_far_store(monkeypatch)
    yield tmp_path / "cache"
    assert not list((tmp_path / "temp").iterdir())


def with_data(folder: Path, location: str = "m.onnx.data", values: float = 1.0) -> Path:
    """A model whose weight lies in a file beside it."""
    tensor = numpy_helper.from_array(np.full(3, values, np.float32), "w")
    (folder / "m.onnx.data").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xy")
    model = helper.make_model(helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [tensor]))
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_a_local_path_is_itself(cache: Path):
    assert localize("some/m.onnx") == "some/m.onnx" and not cache.exists()


def test_a_remote_model_is_copied_and_a_new_version_replaces_it(tmp_path: Path, cache: Path):
    source = tmp_path / "m.onnx"
    source.write_bytes(b"first")
    found = localize(f"far:/{source}")
    models = cache / "beamsplit" / "models"
    assert Path(found).read_bytes() == b"first" and found.endswith("/m.onnx") and Path(found).is_relative_to(models)
    assert [os.stat(at).st_mode & 0o777 for at in (cache, models.parent, models)] == [0o700] * 3
    source.write_bytes(b"other")
    os.utime(source, (1e9, 1e9))
    assert localize(f"far:/{source}") == found and Path(found).read_bytes() == b"other"
    assert os.listdir(Path(found).parent) == ["m.onnx"]


def test_what_has_not_changed_is_not_fetched_again(tmp_path: Path, cache: Path):
    source = with_data(tmp_path)
    found = Path(localize(f"far:/{source}"))
    assert found.with_name("m.onnx.data").read_bytes() == (tmp_path / "m.onnx.data").read_bytes()
    assert len(OPENED) == 2
    assert localize(f"far:/{source}") == str(found) and len(OPENED) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "record cut", "record nested", "record a list"])
def test_a_copy_that_was_damaged_is_fetched_again(tmp_path: Path, cache: Path, damage: str):
    source = with_data(tmp_path)
    found = Path(localize(f"far:/{source}"))
    copy = found.with_name("m.onnx.data")
    record = found.parent.parent / "known" / "m.onnx.data.json"
    good = copy.read_bytes()
    assert json.loads(record.read_text())["path"] == f"far:/{source}.data"
    if damage == "cut":
        copy.write_bytes(good[:-1])
    elif damage == "changed":
        copy.write_bytes(bytes(len(good)))
    elif damage == "gone":
        copy.unlink()
    else:
        record.write_text({"cut": "{", "nested": "[" * 100_000, "list": "[]"}[damage.split()[-1]])
    localize(f"far:/{source}")
    assert copy.read_bytes() == good and len(OPENED) == 3


@pytest.mark.parametrize(
    "path, why",
    [("far://no/such/m.onnx", "is not there: check the path"), ("nothing://bucket/m.onnx", "no files are read or")],
)
def test_what_cannot_be_read(cache: Path, path: str, why: str):
    with pytest.raises(UsageError, match=f"^the model {path}:? {why}"):
        localize(path)
    assert not list(cache.rglob("*.onnx")) and not list(cache.rglob(".part-*"))


def test_what_a_killed_process_left_is_cleared(tmp_path: Path, cache: Path):
    source = with_data(tmp_path)
    found = Path(localize(f"far:/{source}"))
    (found.parent / ".part-abc").write_bytes(b"half")
    localize(f"far:/{source}")
    assert sorted(os.listdir(found.parent)) == ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize("location", ["../m.onnx.data", "/etc/passwd", "a\0b"])
def test_external_data_outside_the_remote_folder_is_refused(tmp_path: Path, cache: Path, location: str):
    (tmp_path / "in").mkdir()
    source = with_data(tmp_path / "in", location)
    with pytest.raises(UsageError, match=r"external data .* (outside the model's folder|no file name)"):
        localize(f"far:/{source}")
    assert not list(cache.rglob("m.onnx.data")) and not list(cache.rglob("passwd"))


def test_what_a_plan_says_is_checked_here_and_there(tmp_path: Path, cache: Path):
    source = with_data(tmp_path)
    sha256 = content_hash(str(source))
    assert localize(str(source), sha256) == str(source)
    assert content_hash(localize(f"far:/{source}", sha256)) == sha256
    with_data(tmp_path, values=1.00001)
    for path in (str(source), f"far:/{source}"):
        with pytest.raises(UsageError, match=r"is not what the plan saved: its SHA-256 begins with .*save it again"):
            localize(path, sha256)


def _fetch(path: str) -> str:
    return localize(path)


def test_two_processes_at_once_fetch_once(tmp_path: Path, cache: Path):
    source = with_data(tmp_path)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = set(pool.map(_fetch, [f"far:/{source}"] * 8, chunksize=1))
    assert len(found) == 1
    assert Path(found.pop()).read_bytes() == source.read_bytes()


# whose folder it is


def _as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.stat("/").st_uid + 4242)


@pytest.mark.parametrize(
    "found, why",
    [
        ("another user's", r"belongs to another user \(number \d+\)"),
        ("writable by the group", "can be written by other users"),
        ("writable by all", "can be written by other users"),
        ("a link", "is a link"),
        ("a file", "is no folder"),
        ("below a folder of all", "lies in .*, which can be written by other users"),
        ("below another user's", r"lies in .*, which belongs to another user \(number \d+\)"),
    ],
)
def test_a_folder_that_others_may_have_filled_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, found: str, why: str
):
    models = cache / "beamsplit" / "models"
    models.parent.mkdir(parents=True)
    if found == "a link":
        (tmp_path / "elsewhere").mkdir()
        models.symlink_to(tmp_path / "elsewhere")
    elif found == "a file":
        models.write_text("")
    else:
        models.mkdir(mode=0o700)
    if found.startswith("writable"):
        models.chmod(0o770 if found.endswith("group") else 0o707)
    elif found == "below a folder of all":
        cache.chmod(0o777)
    elif found == "another user's":
        _as_another(monkeypatch)
    elif found == "below another user's":
        real = os.stat
        strange = os.stat_result((*real(cache)[:4], 4242, *real(cache)[5:]))
        monkeypatch.setattr(os, "stat", lambda at, **more: strange if str(at) == str(cache) else real(at, **more))
    source = tmp_path / "m.onnx"
    source.write_bytes(b"first")
    with pytest.raises(UsageError, match=f"{why}, .*: remove it, or name a folder of your own with BEAMSPLIT_CACHE"):
        localize(f"far:/{source}")
    assert OPENED == []


def test_a_folder_that_the_user_names_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine").mkdir(mode=0o755)
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "mine"))
    assert private_folder("models") == str(tmp_path / "mine" / "models")


def test_without_a_home_a_process_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    add_far_store(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model_file._of_this_process.cache_clear()
    source = tmp_path / "m.onnx"
    source.write_bytes(b"first")
    found = Path(localize(f"far:/{source}"))
    model_file._of_this_process.cache_clear()
    assert found.read_bytes() == b"first"
    (folder,) = tmp_path.glob("beamsplit-models-*")
    assert found.is_relative_to(folder) and folder.stat().st_mode & 0o777 == 0o700


def test_workers_get_the_model_that_was_planned_or_none(tmp_path: Path, cache: Path):
    source = with_data(tmp_path)
    name = f"far:/{source}"
    planned = with_digest(name, localize(name))
    assert with_digest("m.onnx", "m.onnx") == "m.onnx" and with_digest(planned, "") == planned
    with_data(tmp_path, values=2.0)
    os.utime(tmp_path / "m.onnx.data", (1e9, 1e9))
    asked = len(OPENED)
    assert np.fromfile(f"{localize(planned)}.data", np.float32).tolist() == [1.0] * 3 and len(OPENED) == asked
    assert np.fromfile(f"{localize(name)}.data", np.float32).tolist() == [2.0] * 3
    with pytest.raises(UsageError, match="is another model: its SHA-256 begins with"):
        localize(planned)


def test_a_stream_begins_with_a_model_that_is_named_with_its_digest(tmp_path: Path, cache: Path):
    source = with_data(tmp_path)
    name = f"far:/{source}"
    (tmp_path / "to").mkdir()
    assert take_copy(with_digest(name, localize(name)), str(tmp_path / "to")).version == content_hash(str(source))[:12]
