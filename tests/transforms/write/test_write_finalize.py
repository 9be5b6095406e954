from __future__ import annotations

import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsplit.models.owned_folder import machine
from beamsplit.transforms.write import finalize as module
from beamsplit.transforms.write.finalize import disown_folders, finalize, own_folders, remove_temp
from beamsplit.transforms.write.merge import plan_shards
from beamsplit.transforms.write.names import temp_folder
from beamsplit.transforms.write.temp_file import Target, TempFile, origin_order

SCHEMA = pa.schema([("p", pa.int64())])


def target_in(folder) -> Target:
    return Target(f"{folder}/preds.csv", SCHEMA, "job")


def temp_files(target: Target, contents: list[str]) -> list[TempFile]:
    os.makedirs(target.folder, exist_ok=True)
    files = []
    for index, text in enumerate(contents):
        path = target.new_path()
        with open(path, "w") as file:
            file.write(text)
        files.append(TempFile(path, 1, len(text), ("in.csv", index, 0)))
    return files


def contents(folder) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in sorted(os.listdir(folder))}


DONE = {"preds-00000-of-00003.csv": "a", "preds-00001-of-00003.csv": "bb", "preds-00002-of-00003.csv": "ccc"}


def test_names_follow_the_order_of_the_rows_and_orphans_go(tmp_path):
    target = target_in(tmp_path)
    files = temp_files(target, ["a", "bb", "ccc"])
    temp_files(target, ["written by a bundle that was tried again"])
    names = finalize(files[::-1], target, single=False)
    assert [os.path.basename(name) for name in names] == list(DONE)
    assert contents(tmp_path) == DONE


def earlier(folder) -> list[str]:
    return [f"{folder}/preds-00003-of-00004.csv"]


@pytest.mark.parametrize("step", range(5))
def test_it_may_stop_anywhere_and_run_again(tmp_path, monkeypatch, step):
    target = target_in(tmp_path)
    (tmp_path / "preds-00003-of-00004.csv").write_text("earlier")
    files = temp_files(target, ["a", "bb", "ccc"])
    calls = 0
    for name in ("replace", "remove", "remove_folder"):
        work = getattr(module, name)

        def stop(*args, work=work):
            nonlocal calls
            calls += 1
            if calls == step + 1:
                raise ConnectionError("the worker is gone")
            work(*args)

        monkeypatch.setattr(module, name, stop)
    with pytest.raises(ConnectionError):
        finalize(files, target, False, replaced=earlier(tmp_path))
    if step < 3:
        assert (tmp_path / "preds-00003-of-00004.csv").exists()
    first = finalize(files, target, False, replaced=earlier(tmp_path))
    assert finalize(files, target, False, replaced=earlier(tmp_path)) == first
    assert contents(tmp_path) == DONE


def test_a_file_that_is_neither_here_nor_there_is_an_error(tmp_path):
    target = target_in(tmp_path)
    (tmp_path / "preds.csv").write_text("earlier")
    files = temp_files(target, ["a"])
    remove_temp(target.output, target.job_id)
    with pytest.raises(FileNotFoundError, match="has 7 bytes, not 1: something else writes to the same output"):
        finalize(files, target, single=True)
    assert contents(tmp_path) == {"preds.csv": "earlier"}


def test_a_file_that_came_meanwhile_is_not_overwritten_unless_that_is_asked_for(tmp_path):
    target = target_in(tmp_path)
    (tmp_path / "preds-00001-of-00003.csv").write_text("theirs")
    files = temp_files(target, ["a", "bb", "ccc"])
    with pytest.raises(FileExistsError, match=r"^\S+preds-00001-of-00003.csv is there by now, and is not overwritten"):
        finalize(files, target, False, overwrite=False)
    assert contents(tmp_path / os.path.basename(target.folder)).keys() >= {os.path.basename(one.path) for one in files}
    # Once it has begun to rename, what is there is its own.
    os.replace(files[0].path, tmp_path / "preds-00000-of-00003.csv")
    finalize(files, target, False, overwrite=False)
    assert contents(tmp_path) == DONE


def test_no_rows_make_a_file_without_any(tmp_path):
    target = target_in(tmp_path)
    (name,) = finalize([], target, single=True)
    assert contents(tmp_path) == {"preds.csv": '"p"\n'} and name == target.output


class Commit:
    """Takes note of what is there when files are made known."""

    job_id, partitions = "job", None

    def __init__(self, folder, moves: bool):
        self.folder, self.moves, self.told = folder, moves, []

    def is_done(self) -> bool:
        return False

    def __call__(self, names: list[str]) -> None:
        assert os.path.isdir(self.folder), "whose the files are is known until they are made known"
        self.told.append([(os.path.basename(name), open(name).read()) for name in names])  # noqa: SIM115


@pytest.mark.parametrize("moves", [True, False])
def test_files_are_made_known_under_the_names_that_they_keep(tmp_path, moves):
    target = target_in(tmp_path)
    (tmp_path / "old.csv").write_text("old")
    commit = Commit(target.folder, moves)
    files = temp_files(target, ["a", "bb", "ccc"])
    names = finalize(files, target, False, replaced=[str(tmp_path / "old.csv")], publish=commit)
    (told,) = commit.told
    assert [text for _, text in told] == ["a", "bb", "ccc"]
    assert [name for name, _ in told] == [os.path.basename(name) for name in names]
    assert contents(tmp_path) == (DONE if moves else {}), "those that do not move go with their folder"


def test_a_new_file_is_never_taken_for_one_that_it_replaces(tmp_path):
    target = target_in(tmp_path)
    replaced = [f"{tmp_path}/{name}" for name in (*DONE, "gone-before.csv")]
    (tmp_path / "preds-00002-of-00003.csv").write_text("earlier")
    finalize(temp_files(target, ["a", "bb", "ccc"]), target, False, replaced=replaced)
    assert contents(tmp_path) == DONE


def test_folders_of_jobs_that_ended_are_removed_and_those_of_others_are_not(tmp_path):
    ours, theirs = (str(tmp_path / name) for name in ("preds.csv", "others.csv"))
    job, before = "0" * 32, "1" * 32
    gone, *left = [temp_folder(ours, before), temp_folder(theirs, before), temp_folder(ours, "f" * 31)]
    for folder in (gone, *left):
        os.makedirs(folder)
        (tmp_path / folder / f".owner-{machine()}").touch()  # nobody holds its lock
    own_folders([(ours, job)])
    try:
        assert os.path.isdir(temp_folder(ours, job)) and not os.path.exists(gone)
        assert all(map(os.path.isdir, left)), "of another output, or not named by a job"
    finally:
        disown_folders([(ours, job)])
    assert not os.path.exists(temp_folder(ours, job))


def test_order_of_origins():
    origins = [("b.csv", 0), ("a.csv#byte=10", 0), ("a.csv#byte=9", 5), ("a.csv", 8), ("a.csv#byte=9", 4)]
    expected = [("a.csv", 8), ("a.csv#byte=9", 4), ("a.csv#byte=9", 5), ("a.csv#byte=10", 0), ("b.csv", 0)]
    assert sorted(origins, key=lambda origin: origin_order(*origin)) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=12), st.integers(1, 8))
def test_shards_take_all_rows_in_order(rows, count):
    files = [TempFile(f"t{i}", n, 0, ("f", 0, i)) for i, n in enumerate(rows)]
    plans = plan_shards(files[::-1], count)
    assert [plan.index for plan in plans] == list(range(count))
    taken = [(part.file.path, row) for plan in plans for part in plan.parts for row in range(part.start, part.stop)]
    assert taken == [(file.path, row) for file in files for row in range(file.rows)]
    sizes = [sum(part.stop - part.start for part in plan.parts) for plan in plans]
    if len(rows) < count:
        assert max(sizes) - min(sizes) <= 1
    else:
        assert all(part.whole for plan in plans for part in plan.parts)
        assert min(sizes) > 0
        assert max(sizes) <= sum(rows) / count + max(rows)
