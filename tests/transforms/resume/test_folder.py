"""What is kept of a job: a unit is done, or not; who has the folder; what of another job is nobody's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from beamsplit.transforms.failures.error_file import FailedRows
from beamsplit.transforms.failures.reasons import FailureSummary
from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.resume.folder import JOB, KeptFolder, OtherRunError
from beamsplit.transforms.resume.record import UnitRecord, all_failures, total_counters, unit_order
from beamsplit.transforms.write.temp_file import TempFile


@pytest.fixture
def folder(tmp_path: Path) -> KeptFolder:
    return replace(KeptFolder.beside(str(tmp_path / "p.csv")), job="job")


def record(folder: KeptFolder, unit: int, rows: int = 3, failed: int = 0) -> UnitRecord:
    """A unit that is done, with its files."""
    kept = FailureSummary(5)
    for row in range(failed):
        kept.add(RowError("a.csv", row, "infer", f"row {row} is bad"))
    files = []
    for path, count in ((folder.new_part(unit), rows), (folder.new_errors(unit), failed)):
        Path(path).parent.mkdir(exist_ok=True)
        if count:
            Path(path).write_bytes(b"x" * count)
        files.append(TempFile(path, count, count, unit_order(unit)) if count else None)
    errors = None if files[1] is None else FailedRows(files[1], frozenset({("a.csv", 7)}))
    return UnitRecord(unit, files[0], errors, {"rows_scored": rows, "rows_failed": failed}, kept)


def test_what_was_noted_is_found(folder: KeptFolder):
    written = [record(folder, 0), record(folder, 1, 0, 2), record(folder, 2, 0)]
    for one in written:
        folder.write_record(one)
    found = folder.read_records()
    assert [found[unit] for unit in range(3)] == written
    assert folder.read_record(3) is None
    assert total_counters(found.values()) == {"rows_scored": 3, "rows_failed": 2}
    failed = all_failures(found.values())
    assert (failed.kinds.total, [error.row for error in failed.first()]) == (2, [0, 1])


@pytest.mark.parametrize("harm", ["cut", "gone", "no json", "another job's", "no record"])
def test_a_unit_is_done_only_if_all_of_it_is_there(folder: KeptFolder, harm: str):
    done = record(folder, 0)
    assert done.file is not None
    folder.write_record(done)
    path = Path(folder.path) / "done-000000.json"
    if harm == "cut":
        Path(done.file.path).write_bytes(b"x")
    elif harm == "gone":
        Path(done.file.path).unlink()
    elif harm == "no json":
        path.write_bytes(path.read_bytes()[:-5])
    elif harm == "no record":
        path.write_text("{}")
    reader = replace(folder, job="another") if harm == "another job's" else folder
    assert reader.read_records() == {} and reader.read_record(0) is None


def test_units_that_were_begun_and_not_done_are_counted(folder: KeptFolder):
    for unit in (0, 1, 5):
        folder.note_begun(unit)
    folder.write_record(record(folder, 0))
    assert folder.begun(folder.read_records()) == 2


def test_who_comes_later_has_the_folder(folder: KeptFolder):
    with pytest.raises(OtherRunError, match="another command with --resume goes on"):
        folder.check_owner()
    folder.take_over()
    folder.check_owner()
    later = replace(folder, run="later")
    later.take_over()
    later.check_owner()
    with pytest.raises(OtherRunError):
        folder.check_owner()


def test_all_but_what_is_done_is_removed(folder: KeptFolder):
    kept, lost = record(folder, 0, 3, 1), record(folder, 1)
    for one in (kept, lost):
        folder.write_record(one)
    folder.take_over()
    folder.write_json(JOB, {"a": 1})
    (Path(folder.path) / ".owner-here").touch()
    (Path(folder.path) / "renaming").touch()
    folder.clear([kept])
    left = {path.name for path in Path(folder.path).iterdir()}
    files = {Path(file.path).name for file in kept.files}
    assert left == {"done-000000.json", "job.json", "owner", ".owner-here", *files}
    folder.clear()
    assert {path.name for path in Path(folder.path).iterdir()} == {"owner", ".owner-here"}
