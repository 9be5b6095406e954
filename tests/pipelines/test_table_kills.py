"""Jobs that write a table and are killed (SIGKILL) at each step: nothing is half-visible, nothing stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lance
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from tests.command import ROWS, Command
from tests.killed_at import kill_at
from tests.pipelines.local_catalog import local_catalog

FINALIZE = "beamsplit.transforms.write.finalize"
MOMENTS = {
    "files are written": (f"{FINALIZE}:move_all", "before", 1),
    "one has its name": (f"{FINALIZE}:move_into_place", "after", 1),
}


class Table(NamedTuple):
    """A table of one format."""

    name: str
    folder: Path
    """Where data files lie."""

    ids: Callable[[], list[int]]
    files: Callable[[], set[str]]
    """Of the version that is read."""

    commit: str
    """The method that commits."""

    def lying(self) -> set[str]:
        """What lies in the folder, but for the log."""
        return {path.name for path in self.folder.iterdir()} - {"_delta_log"}


@pytest.fixture
def delta(command: Command) -> Table:
    path = command.folder / "preds"
    return Table(
        f"delta:{path}",
        path,
        lambda: sorted(DeltaTable(path).to_pyarrow_table(columns=["id"])["id"].to_pylist()),
        lambda: {Path(file).name for file in DeltaTable(path).file_uris()},
        "beamsplit.transforms.tables.delta_write:DeltaCommit._add",
    )


@pytest.fixture
def iceberg(command: Command, monkeypatch: pytest.MonkeyPatch) -> Table:
    lake = command.folder / "lake"
    local_catalog(lake, monkeypatch)

    def table():
        return load_catalog("local").load_table("db.preds")

    return Table(
        "iceberg://local/db.preds",
        lake / "db" / "preds" / "data",
        lambda: sorted(table().scan().to_arrow()["id"].to_pylist()),
        lambda: {Path(task.file.file_path).name for task in table().scan().plan_files()},
        "beamsplit.transforms.tables.iceberg_write:IcebergCommit._add",
    )


@pytest.fixture
def of_lance(command: Command) -> Table:
    path = command.folder / "preds.lance"
    return Table(
        f"lance:{path}",
        path / "data",
        lambda: sorted(lance.dataset(path).to_table(columns=["id"])["id"].to_pylist()),
        lambda: {file.path for part in lance.dataset(path).get_fragments() for file in part.metadata.files},
        "beamsplit.transforms.tables.lance_write:LanceCommit._add",
    )


@pytest.mark.parametrize("system", ["delta", "iceberg", "of_lance"])
def test_a_job_that_is_killed_is_seen_whole_or_not_at_all(
    command: Command, system: str, request: pytest.FixtureRequest
):
    table: Table = request.getfixturevalue(system)
    command.overwrite = False
    halves = command.folder / "halves"
    halves.mkdir()
    for at in (0, ROWS // 2):
        pq.write_table(command.table.slice(at, ROWS // 2), halves / f"{at:03}.parquet")
    given = ("--keep", "id", "--workers", 2, "--worker_type", "thread", "--quiet", "--append")
    assert command.run(*given, "--where", "id < 50", output=table.name)[0] == 0
    argv = ["--model", command.model, "--input", halves, "--columns", "x=a,b,c,d", "--output", table.name, *given]
    once = ("--commit_id", "nightly")
    moments = {**MOMENTS, "before the commit": (table.commit, "before", 1), "behind it": (table.commit, "after", 1)}
    for words, moment in moments.items():
        kill_at(moment, [*argv, *once])
        seen = [*range(50), *(range(ROWS) if words == "behind it" else ())]
        assert table.ids() == sorted(seen), words
        # What the one before has left is gone: there is this job's only.
        jobs = {name.split("-")[1] for name in table.lying() if name.startswith(".")}
        named = {name.split("-")[1] for name in table.lying() - table.files() if not name.startswith(".")}
        assert len(jobs) == 1 and named <= jobs, words
    # The same once more commits nothing, leaves what is the table's, and removes all else.
    assert command.run(*given, *once, input=halves, output=table.name)[0] == 0
    assert table.ids() == sorted([*range(50), *range(ROWS)])
    assert table.lying() == table.files()


def test_a_merge_that_is_killed_leaves_no_file(command: Command, delta: Table):
    command.overwrite = False
    given = ("--keep", "id", "--workers", 1, "--worker_type", "thread", "--quiet", "--merge_on", "id")
    assert command.run(*given, "--where", "id < 50", output=delta.name)[0] == 0
    argv = ["--model", command.model, "--input", command.data, "--columns", "x=a,b,c,d", "--output", delta.name, *given]
    merge = delta.commit.replace("_add", "_merge")
    for when, seen in (("before", 50), ("after", ROWS)):
        kill_at((merge, when, 1), argv)
        assert delta.ids() == list(range(seen))
        (left,) = (name for name in delta.lying() if name.startswith("."))
        assert not [name for name in delta.lying() if name.startswith(f"part-{left.split('-')[1]}")]
    assert command.run(*given, output=delta.name)[0] == 0
    assert delta.ids() == list(range(ROWS)) and not [name for name in delta.lying() if name.startswith(".")]
