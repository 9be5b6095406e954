"""Jobs to a store that are killed: what is seen then, and what the next one makes of it."""

from __future__ import annotations

import os
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.transforms.read import check_unchanged, find_files
from beamsplit.transforms.read.inputs import InputChanged
from beamsplit.transforms.write import store_folders
from beamsplit.transforms.write.names import temp_folder
from beamsplit.transforms.write.store_folders import disown_store_folder, own_store_folder
from tests.transforms.stores.killed import kill_at, start
from tests.waiting import wait_until


def visible(store) -> list[str]:
    return [name for name in store.names("out") if not name.startswith("out/.")]


def begins_a_file(request) -> bool:
    own = "-check-" in request.path or ".owner-" in request.path
    return request.method in ("PUT", "POST") and "/.preds" in request.path and not own


MOMENTS = {
    "a file is begun": begins_a_file,
    "it gets its name": lambda one: one.method in ("PUT", "POST") and "/out/preds" in one.path.replace("%2F", "/"),
    "the folder goes": lambda one: one.method == "DELETE" and "-check-" not in one.path,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_job_leaves_one_file_as_it_was_or_the_new_one(s3, command, moment):
    s3.put("out/preds.parquet", b"old")
    output = f"{s3.root}/out/preds.parquet"
    kill_at(s3, command, output, MOMENTS[moment], signal.SIGKILL)
    assert visible(s3) == ["out/preds.parquet"]
    found = s3.get("out/preds.parquet")
    if moment == "the folder goes":
        assert pq.read_table(pa.BufferReader(found)).num_rows == 600
    else:
        assert found == b"old"
    left = [name for name in s3.names("out") if name.startswith("out/.preds")]
    assert left
    assert command.run("--quiet", "--keep", "id", output=output)[0] == 0
    assert s3.names("out") == ["out/preds.parquet"]
    assert pq.read_table(pa.BufferReader(s3.get("out/preds.parquet"))).num_rows == 600
    assert not s3.fs.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads")


def test_an_interrupted_job_leaves_nothing(s3, command):
    def slow(request):
        return "503" if begins_a_file(request) else None

    s3.proxy.fault = slow
    job = start(s3, command, f"{s3.root}/out/preds.parquet")
    wait_until(lambda: any(map(begins_a_file, list(s3.proxy.requests))) or job.poll() is not None)
    os.kill(job.pid, signal.SIGINT)
    _, err = job.communicate()
    s3.proxy.reset()
    assert job.returncode == 130, err
    assert s3.names("out") == []


@pytest.fixture
def folder(s3):
    """The temporary folder of a job of this machine."""
    return temp_folder(f"{s3.root}/out/p.csv", "0123456789ab")


NEXT = "ba9876543210"


def own_next(s3) -> None:
    own_store_folder(temp_folder(f"{s3.root}/out/p.csv", NEXT), NEXT)
    disown_store_folder(NEXT)


def test_the_folder_of_a_job_that_lives_is_left_alone(s3, folder):
    own_store_folder(folder, "0123456789ab")
    own_next(s3)
    assert any("0123456789ab/.owner-" in name for name in s3.names("out"))
    disown_store_folder("0123456789ab")
    own_next(s3)
    assert not any("0123456789ab" in name for name in s3.names("out"))


def test_the_folder_of_another_machine_is_left_for_a_week(s3, folder, monkeypatch):
    s3.put("out/.p.csv-0123456789ab/x", b"1")
    s3.put("out/.p.csv-0123456789ab/.owner-another", b"1")
    s3.put("out/.p.csv-other/x", b"not a job's")
    own_next(s3)
    assert "out/.p.csv-0123456789ab/x" in s3.names("out")
    monkeypatch.setattr(store_folders, "LEFT_SECONDS", -60)
    own_next(s3)
    assert not any("0123456789ab" in name for name in s3.names("out"))
    assert "out/.p.csv-other/x" in s3.names("out")


def test_what_changed_while_it_was_read_is_told(store):
    for number in range(5):
        store.put(f"d/{number}.csv", b"a\n1\n")
    few, many = find_files([f"{store.root}/d/0.csv"]), find_files([f"{store.root}/d"])
    check_unchanged([*few, *many])
    store.put("d/0.csv", b"a\n2\n")
    for files in (few, many):
        with pytest.raises(InputChanged, match=r"0\.csv changed while it was read \(another file was written"):
            check_unchanged(files)
    store.fs.rm_file("bucket/d/0.csv")
    with pytest.raises(InputChanged, match=r"0\.csv changed while it was read \(it is gone\)"):
        check_unchanged(few)
