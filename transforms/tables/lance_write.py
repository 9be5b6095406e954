"""Files that a job wrote, added to a Lance dataset in one version."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beamsplit.transforms.formats.lance import LanceName, open_lance
from beamsplit.transforms.tables.lance_index import LanceIndex, have_indexes, make_index
from beamsplit.transforms.tables.merge_keys import TableChanged
from beamsplit.transforms.write.storage import remove

ATTEMPTS = 20
"""Commits that are tried where other writers come first."""

JOB, RUN = "beamsplit.job", "beamsplit.run"
"""Properties of a transaction by which a commit, and the files of a run, are known."""

LOCK_SECONDS = 60.0
"""Longest that another command of this machine is waited for which commits to the dataset."""


@dataclass(frozen=True)
class LanceCommit:
    """What a job does to a dataset at its end."""

    name: LanceName
    mode: str
    """`"error"` (the dataset must not be there), `"append"` or `"overwrite"`."""

    commit_id: str
    """What the version is known by: one that the dataset has is not made again."""

    job_id: str
    """Names the files."""

    schema: pa.Schema | None = None
    """The columns of the dataset that is added to; None of one that is made or replaced."""

    version: str | None = None
    """Of the files of a dataset that is there."""

    indexes: tuple[LanceIndex, ...] = ()

    told: tuple[tuple[str, str], ...] = ()
    """What the transaction tells of itself."""

    columns: pa.Schema | None = None
    """Those that are written, once they are known."""

    keeps_files: bool = False
    """Whether the files stay where the commit fails: a job with `--resume` tries again with them."""

    merge_on: tuple[str, ...] = ()
    where: None = None
    partitions: None = None
    moves = True

    def is_done(self) -> bool:
        """Whether the dataset has these rows, and the indexes of them."""
        dataset = opened(self.name)
        return has_commit(dataset, self.commit_id) and have_indexes(dataset, self.indexes)

    def is_known(self, job_id: str) -> bool:
        """Whether the dataset has, or had, files of the job."""
        return has_commit(opened(self.name), job_id, RUN)

    def __call__(self, names: Sequence[str]) -> None:
        """Commit files that lie in the dataset's folder; it may be called again after it was stopped anywhere.

        Raises:
            TableChanged: another writer was faster, and the files are removed; or an index could not be made.
        """
        try:
            with _alone(os.path.join(self.name.path, "data")):
                self._commit(names)
        except BaseException as error:
            if not self.keeps_files and not self.is_known(self.job_id):
                for path in names:
                    remove(path)
            if isinstance(error, (TableChanged, KeyboardInterrupt, SystemExit)):
                raise
            raise TableChanged(f"{self.name} could not be written: {_told(error)}") from error
        for index in self.indexes:
            dataset = opened(self.name)
            try:
                make_index(dataset, index)
            except Exception as error:  # Whatever Lance tells.
                raise TableChanged(
                    f"{self.name}: the rows are in version {dataset.version}, and the index of {index.column!r} could "
                    f"not be made: {_told(error)}"
                ) from error

    def _commit(self, names: Sequence[str]) -> None:
        for attempt in range(ATTEMPTS):
            dataset = opened(self.name)
            if has_commit(dataset, self.commit_id):
                if not has_commit(dataset, self.job_id, RUN):
                    for path in names:
                        remove(path)
                return
            self._check(dataset)
            try:
                self._add(dataset, names)
                return
            except Exception as error:  # Of conflicts Lance tells in several ways.
                now = opened(self.name)
                if attempt + 1 == ATTEMPTS or _version(now) == _version(dataset):
                    raise TableChanged(f"{self.name} could not be written: {_told(error)}") from error
                time.sleep(random.uniform(0, 0.1 * (attempt + 1)))

    def _check(self, dataset: Any) -> None:
        """Raise where the dataset is not what the files were written for."""
        if dataset is None:
            return
        if self.mode == "error":
            raise TableChanged(f"{self.name} is there by now, and is not written without --append or --overwrite")
        if self.schema is not None and not dataset.schema.remove_metadata().equals(self.schema):
            raise TableChanged(f"{self.name} has other columns by now than when the job began: run it again")
        if self.version != dataset.data_storage_version:
            raise TableChanged(f"{self.name} has files of another version by now than when the job began: run it again")

    def _add(self, dataset: Any, names: Sequence[str]) -> None:
        import lance

        assert self.columns is not None
        added = dataset is not None and self.mode == "append"
        fragments = _fragments(names, self.columns, self.version, dataset if added else None)
        change: Any = lance.LanceOperation.Append(fragments) if added else None
        change = change or lance.LanceOperation.Overwrite(self.columns.remove_metadata(), fragments)
        told = {**dict(self.told), JOB: self.commit_id, RUN: self.job_id}
        read = _version(dataset)
        # Where rows are replaced, or a dataset is made, nobody else may have come in between.
        retries: dict[str, Any] = {} if added else {"max_retries": 0}
        lance.LanceDataset.commit(
            os.path.abspath(self.name.path), lance.Transaction(read, change, transaction_properties=told), **retries
        )


def opened(name: LanceName) -> Any:
    """The dataset as it is now; None where there is none."""
    if not os.path.isdir(os.path.join(name.path, "_versions")):
        return None
    return open_lance(name, "--output")


def has_commit(dataset: Any, known: str | None, by: str = JOB) -> bool:
    """Whether a dataset is there, and has a version that is known by this."""
    if dataset is None or known is None:
        return False
    transactions = dataset.get_transactions(dataset.version)
    return any(one is not None and (one.transaction_properties or {}).get(by) == known for one in transactions)


def _version(dataset: Any) -> int:
    return 0 if dataset is None else int(dataset.version)


def _told(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _fragments(names: Sequence[str], columns: pa.Schema, version: Any, dataset: Any) -> list[Any]:
    """Files as fragments of a dataset that is there, or of one that is made of them.

    How Lance numbers columns, and which of them a file has, is told by a dataset of one row in memory.
    """
    from lance.file import LanceFileReader
    from lance.fragment import DataFile, FragmentMetadata

    like = dataset_like(columns, version)
    file = like.get_fragments()[0].metadata.files[0]
    paths = {number: path for path, number in _numbers(like.lance_schema.fields()).items()}
    own = _numbers((dataset or like).lance_schema.fields())
    fields = [own[paths[number]] for number in file.fields]
    made = []
    for name in names:
        rows = int(LanceFileReader(os.path.abspath(name)).metadata().num_rows)
        if not rows:
            remove(name)
            continue
        data = DataFile(
            os.path.basename(name),
            fields,
            list(file.column_indices),
            file.file_major_version,
            file.file_minor_version,
            os.path.getsize(name),
        )
        made.append(FragmentMetadata(0, [data], rows))
    return made


def dataset_like(columns: pa.Schema, version: Any) -> Any:
    """A dataset of these columns in memory, with a row of nulls.

    Raises:
        Exception: Lance's, for columns that it does not take.
    """
    import lance

    row = pa.table([pa.nulls(1, field.type) for field in columns], schema=columns.remove_metadata())
    return lance.write_dataset(row, f"memory://{os.urandom(8).hex()}", data_storage_version=version)


def _numbers(fields: Sequence[Any], above: tuple[str, ...] = ()) -> Mapping[tuple[str, ...], int]:
    """Path of a field -> its number."""
    found: dict[tuple[str, ...], int] = {}
    for field in fields:
        path = (*above, field.name())
        found |= {path: field.id(), **_numbers(field.children(), path)}
    return found


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Keep other commands of this machine from committing to the dataset: Lance lets two add the same rows.

    Raises:
        TableChanged: another one does, for long.
    """
    try:
        import fcntl
    except ImportError:  # Windows: who runs two jobs of one --commit_id at once there has to see to it.
        yield
        return
    os.makedirs(folder, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TableChanged(
                        f"{folder} is being written by another command for a minute: try again"
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(held)
