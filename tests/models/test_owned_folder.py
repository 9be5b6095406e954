"""Folders that go with their process, and what is found of a process that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from beamsplit.models import owned_folder
from beamsplit.models.owned_folder import (
    disown,
    disown_all,
    files_in,
    hold,
    machine,
    own,
    remove_abandoned,
    temporary,
    working_in,
)

ROOT = Path(__file__).parents[2]
NAME = r"\.mine-.*"
HOLDS = """
import sys
from beamsplit.models.owned_folder import own
own(sys.argv[1])
open(sys.argv[1] + "/rows", "w").close()
print("there", flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[bytes]:
    """A process that owns the folder until it ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    return process


def test_a_folder_is_left_to_its_owner_and_removed_when_that_was_killed(tmp_path: Path):
    folder = tmp_path / ".mine-1"
    process = holder(folder)
    (folder / "more").mkdir()
    (folder / "more" / "rows").touch()
    assert remove_abandoned(str(tmp_path), NAME) == []
    assert (folder / "rows").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert remove_abandoned(str(tmp_path), r"\.yours-.*") == []
    looked: list[tuple[str, bool]] = []
    first = lambda path: looked.append((path, (folder / "rows").exists()))  # noqa: E731
    assert remove_abandoned(str(tmp_path), NAME, first) == [str(folder)]
    assert list(tmp_path.iterdir()) == [] and looked == [(str(folder), True)]


def test_a_worker_keeps_a_folder_whose_owner_was_killed(tmp_path: Path):
    folder = tmp_path / ".mine-1"
    process = holder(folder)
    with working_in(str(folder)):
        process.kill()
        process.wait()
        assert remove_abandoned(str(tmp_path), NAME) == []
    assert remove_abandoned(str(tmp_path), NAME) == [str(folder)]
    for unowned in (str(tmp_path / "none"), None):
        with working_in(unowned):
            assert list(tmp_path.iterdir()) == []


def test_a_worker_is_told_of_a_folder_that_went_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, flock = tmp_path / ".mine-1", owned_folder.fcntl.flock
    holder(folder).communicate()

    def late(handle: int, how: int) -> None:
        monkeypatch.setattr(owned_folder.fcntl, "flock", flock)
        assert remove_abandoned(str(tmp_path), NAME) == [str(folder)]
        flock(handle, how)

    monkeypatch.setattr(owned_folder.fcntl, "flock", late)
    with pytest.raises(FileNotFoundError, match="is gone: the command whose it was has ended"), working_in(str(folder)):
        pass


def test_what_is_not_known_to_be_abandoned_is_left_alone(tmp_path: Path):
    (tmp_path / ".mine-without").mkdir()
    (tmp_path / ".mine-elsewhere").mkdir()
    (tmp_path / ".mine-elsewhere" / ".owner-another-machine").touch()
    (tmp_path / ".mine-file").touch()
    (tmp_path / "aim").mkdir()
    (tmp_path / "aim" / f".owner-{machine()}").touch()
    (tmp_path / ".mine-link").symlink_to(tmp_path / "aim")
    own(str(tmp_path / ".mine-own"))
    assert remove_abandoned(str(tmp_path), NAME) == []
    disown(str(tmp_path / ".mine-own"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".mine-elsewhere", ".mine-file", ".mine-link", ".mine-without", "aim",
    ]  # fmt: skip
    assert remove_abandoned(str(tmp_path / "nowhere"), NAME) == []


def test_folders_of_other_users_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / ".mine-1"
    holder(folder).communicate()
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert remove_abandoned(str(tmp_path), NAME) == []
    monkeypatch.undo()
    assert remove_abandoned(str(tmp_path), NAME) == [str(folder)]


def test_one_that_was_taken_for_abandoned_as_it_was_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, flock, removed = tmp_path / ".mine-1", owned_folder.fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not removed:
            removed.append("now")
            removed.extend(remove_abandoned(str(tmp_path), NAME))
        flock(handle, how)

    monkeypatch.setattr(owned_folder.fcntl, "flock", late)
    own(str(folder))
    assert removed == ["now", str(folder)]
    assert remove_abandoned(str(tmp_path), NAME) == [] and folder.is_dir()
    disown(str(folder))


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(owned_folder.fcntl, "flock", refuse)
    with temporary(".mine-", str(tmp_path)) as folder:
        monkeypatch.setattr(owned_folder, "_held", {})
        assert remove_abandoned(str(tmp_path), NAME) == []
        assert os.path.isdir(folder)


def test_a_temporary_folder_shows_no_lock_and_goes(tmp_path: Path):
    with temporary(".mine-", str(tmp_path)) as folder:
        Path(folder, "a").touch()
        assert files_in(folder) == ["a"]
    assert list(tmp_path.iterdir()) == []


def test_all_of_this_process_go_at_once(tmp_path: Path):
    child = os.fork()  # this process has folders of its own: the temporary folder of all tests
    if not child:
        for name in ("a", "b"):
            own(str(tmp_path / name / "deep"))
        disown_all()
        os._exit(0)
    os.waitpid(child, 0)
    assert [list((tmp_path / name).iterdir()) for name in ("a", "b")] == [[], []]


def test_a_forked_child_leaves_them_to_its_parent(tmp_path: Path):
    own(str(tmp_path / "a"))
    child = os.fork()
    if not child:
        disown_all()
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "a").is_dir()
    disown(str(tmp_path / "a"))


def test_one_holds_a_folder_at_a_time(tmp_path: Path):
    folder = tmp_path / "kept"
    first = hold(str(folder))
    assert first is not None and hold(str(folder)) is None
    assert remove_abandoned(str(tmp_path), "kept") == []
    (folder / "a").touch()
    first.release()
    second = hold(str(folder))
    assert second is not None and (folder / "a").exists()
    second.remove()
    assert not folder.exists()


def test_what_nobody_holds_is_abandoned(tmp_path: Path):
    held = hold(str(tmp_path / "kept"))
    assert held is not None
    held.release()
    assert remove_abandoned(str(tmp_path), "kept") == [str(tmp_path / "kept")]
