from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest
from platformdirs import windows

from beamsplit.models.cost.profile_cache import default_folder
from beamsplit.models.user_cache import private_folder
from beamsplit.runners.cache import cache_folder, made_once, one_at_a_time
from beamsplit.runners.errors import RunnerError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"BEAMSPLIT_CACHE": "mine", "XDG_CACHE_HOME": "other"}, "mine"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/beamsplit"),
        ({"HOME": "home"}, "home/.cache/beamsplit"),
    ],
)
def test_all_that_is_kept_lies_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
):
    for name in ("BEAMSPLIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in given.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setattr("sys.platform", "linux")
    folder = tmp_path / expected
    assert cache_folder() == folder
    assert default_folder() == str(folder / "profiles")
    assert private_folder("models") == str(folder / "models")
    assert made_once("jars/a", lambda made: (made / "a.jar").touch()) == folder / "jars" / "a"


def test_a_cache_folder_may_be_named_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BEAMSPLIT_CACHE", "mine")
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == tmp_path / "mine" and default_folder() == str(tmp_path / "mine" / "profiles")


def test_the_cache_of_windows_is_known(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("BEAMSPLIT_CACHE")
    monkeypatch.setattr(platformdirs, "PlatformDirs", windows.Windows)
    monkeypatch.setattr(windows, "get_win_folder", lambda name: f"/{name}")
    assert str(cache_folder()) in default_folder()
    assert cache_folder().name == "beamsplit" and "CSIDL_LOCAL_APPDATA" in str(cache_folder())


@pytest.mark.parametrize("whose", ["of all", "another user's"])
def test_a_cache_that_others_may_have_filled_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str):
    monkeypatch.setenv("BEAMSPLIT_CACHE", str(tmp_path / "own"))
    (cache_folder() / "jars").mkdir(parents=True)
    assert made_once("jars", Path.touch) == tmp_path / "own" / "jars"
    if whose == "of all":
        cache_folder().chmod(0o777)
    else:
        real, folder = Path.stat, cache_folder()
        strange = os.stat_result((*real(folder)[:4], 4242, *real(folder)[5:]))
        monkeypatch.setattr(Path, "stat", lambda at, **more: strange if at == folder else real(at, **more))
    with pytest.raises(RunnerError, match="name a cache folder of your own with BEAMSPLIT_CACHE"):
        made_once("jars", Path.touch)
    with pytest.raises(RunnerError, match="belongs to another user, or others can write it"), one_at_a_time("maven"):
        pass
