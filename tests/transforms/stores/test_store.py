from __future__ import annotations

import gc

import pytest

from beamsplit.models.errors import UsageError
from beamsplit.transforms.read import find_files
from beamsplit.transforms.stores import NotThere, StoreError
from beamsplit.transforms.stores.store import (
    below,
    check_writable,
    copy,
    delete,
    delete_below,
    directly_in,
    matching,
    open_read,
    open_write,
    read_all,
    read_each,
    stat,
)

MB = 1 << 20


def paths(found):
    return [one.path for one in found]


def test_files_are_written_read_copied_and_deleted(store):
    path, other = f"{store.root}/d/a[1]*.bin", f"{store.root}/e/b.bin"
    with open_write(path) as file:
        file.write(b"abc")
        file.write(memoryview(b"def"))
        assert file.tell() == 6
        assert stat(path) is None
    assert (stat(path).size, read_all(path)) == (6, b"abcdef")
    with open_read(path) as file:
        file.seek(2)
        assert (file.read(2), file.tell(), file.read()) == (b"cd", 4, b"ef")
    copy(path, other)
    delete([path, f"{store.root}/d/gone"])
    assert (stat(path), read_all(other)) == (None, b"abcdef")
    delete_below(f"{store.root}/e")
    assert store.names() == []


def test_a_new_content_is_a_new_version(store):
    path = store.put("a", b"abc")
    before = stat(path).version
    assert stat(path).version == before == below(store.root)[0].version
    store.put("a", b"abd")
    assert stat(path).version != before


def test_listing(store):
    for name in ("d/a.csv", "d/b.csv", "d/c.txt", "d/x/a.csv", "d/x/y/a.csv", "dd/a.csv", "e"):
        store.put(name, b"1")
    root = store.root
    assert paths(below(f"{root}/d")) == [f"{root}/d/{n}" for n in ("a.csv", "b.csv", "c.txt", "x/a.csv", "x/y/a.csv")]
    assert paths(below(f"{root}/d/", "x")) == [f"{root}/d/x/a.csv", f"{root}/d/x/y/a.csv"]
    assert paths(directly_in(f"{root}/d")) == [f"{root}/d/{n}" for n in ("a.csv", "b.csv", "c.txt")]
    assert below(f"{root}/none") == directly_in(f"{root}/none") == []
    assert paths(matching(f"{root}/d/*.csv")) == [f"{root}/d/a.csv", f"{root}/d/b.csv"]
    assert paths(matching(f"{root}/d/[ac].*")) == [f"{root}/d/a.csv", f"{root}/d/c.txt"]
    assert paths(matching(f"{root}/d*/a.csv")) == [f"{root}/d/a.csv", f"{root}/dd/a.csv"]
    assert paths(matching(f"{root}/d/**/a.csv")) == [f"{root}/d/{n}" for n in ("a.csv", "x/a.csv", "x/y/a.csv")]
    assert paths(matching(f"{root}/?")) == [f"{root}/e"]
    assert [file.path for file in find_files([f"{root}/d/x", f"{root}/e"])] == [
        f"{root}/d/x/a.csv",
        f"{root}/d/x/y/a.csv",
        f"{root}/e",
    ]


def test_many_files_are_listed_by_the_thousand(s3):
    from moto.s3.models import s3_backends

    bucket = next(one for account in s3_backends.values() for one in account.values() if "bucket" in one.buckets)
    for number in range(2_500):
        bucket.put_object("bucket", f"many/{number:05d}.csv", b"1")
    s3.proxy.reset()
    assert len(find_files([f"{s3.root}/many/*.csv"])) == len(find_files([f"{s3.root}/many/"])) == 2_500
    assert len(s3.proxy.requests) <= 8
    bucket.buckets["bucket"].keys.clear()


@pytest.mark.parametrize("size", [10, 70 * MB])
def test_what_is_left_by_an_error_is_no_file(s3, size):
    path = f"{s3.root}/a"
    with pytest.raises(RuntimeError), open_write(path) as file:
        file.write(bytes(size))
        raise RuntimeError
    file = open_write(path)
    file.write(bytes(size))
    del file
    gc.collect()
    assert s3.names() == []
    assert not s3.fs.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads")


def test_uploads_of_a_killed_process_are_ended_with_its_folder(s3):
    for name in ("t/a", "u/a"):
        s3.fs.call_s3("create_multipart_upload", Bucket="bucket", Key=name)
    delete_below(f"{s3.root}/t")
    left = s3.fs.call_s3("list_multipart_uploads", Bucket="bucket")["Uploads"]
    assert [one["Key"] for one in left] == ["u/a"]
    delete_below(f"{s3.root}/u")


def test_what_fails_on_its_way_is_tried_again(store):
    store.put("a", bytes(range(256)) * 1000)
    faults = ["503", "cut", "lost", "500", "half"]
    store.proxy.fault = lambda request: None if request.number % 3 else faults[request.number // 3 % 5]
    with open_write(f"{store.root}/b") as file:
        for _ in range(6):
            file.write(bytes(range(256)) * 24 * 1024)
    assert stat(f"{store.root}/b").size == 256 * 24 * 1024 * 6
    assert read_all(f"{store.root}/a") == bytes(range(256)) * 1000
    assert paths(below(store.root)) == [f"{store.root}/a", f"{store.root}/b"]
    with open_read(f"{store.root}/b", MB) as file:
        file.seek(256 * 1024 + 7)
        assert file.read(3) == b"\x07\x08\x09"
    copy(f"{store.root}/a", f"{store.root}/c")
    delete([f"{store.root}/a", f"{store.root}/b"])
    store.proxy.reset()
    assert store.names() == ["c"]


def test_reading_many_files_tells_which_is_wrong(store):
    good = [store.put(f"{n}", b"x" * n) for n in range(3)]
    a, wrong, b = read_each([good[1], f"{store.root}/none", good[2]])
    assert (a, b) == (b"x", b"xx")
    assert isinstance(wrong, NotThere)
    assert str(wrong) == f"{store.root}/none is not there: check the path"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://user:pass@bucket/a", "a user or password in front of the bucket: leave them out; credentials come from"),
        ("s3://key@bucket/a", "leave them out"),
        ("hdfs://h/a", "no files are read or written at hdfs://; use a path of this machine, s3:// and gs://"),
        ("s3:///a", "names no bucket; write s3://BUCKET/path"),
        ("s3://*/a", "a bucket is named without"),
    ],
)
def test_names_that_are_refused(path, words):
    with pytest.raises(UsageError, match=words) as refused:
        find_files([path])
    assert "pass@" not in str(refused.value)


def test_no_such_bucket_is_told_at_once(store):
    path = f"{store.scheme}://no-such-bucket/d/"
    with (
        pytest.raises(StoreError, match=r"no bucket no-such-bucket at .*; make it, or check the name"),
        open_write(path + "a") as file,
    ):
        file.write(b"abc")
    assert len(store.proxy.requests) <= 4


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_what_is_refused_is_told_at_once(s3, code, monkeypatch):
    from tests import fault_proxy

    refused = f"<Error><Code>{code}</Code><Message>no, for {code}</Message></Error>".encode()
    monkeypatch.setattr(fault_proxy, "_pass_on", lambda handler, *_: fault_proxy._answer(handler, 403, refused))
    for do in (stat, read_all, below, check_writable):
        with pytest.raises(
            StoreError, match=r"may not be .*: give these credentials the permission, or use|have expired"
        ):
            do(f"{s3.root}/a")
    assert len(s3.proxy.requests) <= 4


def test_no_credentials(s3, monkeypatch, tmp_path):
    import s3fs

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(StoreError, match="no credentials for Amazon S3 were found; set AWS_ACCESS_KEY_ID and"):
            find_files(["s3://bucket/a.csv"])
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
