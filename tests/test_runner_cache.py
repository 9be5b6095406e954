from __future__ import annotations

import os
from pathlib import Path

import pytest

from beamsplit.runners.cache import cache_folder, made_once, one_at_a_time
from beamsplit.runners.errors import RunnerError


@pytest.mark.parametrize("whose", ["of all", "another user's"])
def test_a_cache_that_others_may_have_filled_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (cache_folder() / "jars").mkdir(parents=True)
    assert made_once("jars", Path.touch) == tmp_path / "beamsplit" / "jars"
    if whose == "of all":
        cache_folder().chmod(0o777)
    else:
        real, folder = Path.stat, cache_folder()
        strange = os.stat_result((*real(folder)[:4], 4242, *real(folder)[5:]))
        monkeypatch.setattr(Path, "stat", lambda at, **more: strange if at == folder else real(at, **more))
    with pytest.raises(RunnerError, match="name a cache folder of your own with XDG_CACHE_HOME"):
        made_once("jars", Path.touch)
    with pytest.raises(RunnerError, match="belongs to another user, or others can write it"), one_at_a_time("maven"):
        pass
