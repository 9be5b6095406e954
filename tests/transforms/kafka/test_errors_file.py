"""Error lines of transactions in a file: each once, whenever who writes them is killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beamsplit.transforms.failures.row_error import RowError
from beamsplit.transforms.kafka import errors, errors_file
from beamsplit.transforms.kafka.config import ClientConfig
from beamsplit.transforms.kafka.errors_file import ErrorsFile, PendingErrors
from beamsplit.transforms.kafka.offsets import Group

LINES = [b'{"offset": 1}\n', b'{"offset": 2}\n', b'{"offset": 2}\n']


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "made" / "errors.jsonl"


def owner(file: Path, partition: int = 0, group: str = "g") -> PendingErrors:
    return PendingErrors(ErrorsFile(str(file)), Group(ClientConfig("b:1"), "in", group), partition)


def kept(one: PendingErrors, *lines: bytes) -> str:
    """The id of the lines, which are kept for a commit."""
    for line in lines:
        one.add(line)
    made = one.keep()
    assert made is not None
    return made


def test_lines_are_there_when_they_are_committed(file: Path):
    one = owner(file)
    assert one.keep() is None
    one.publish()
    assert not file.parent.exists()
    kept(one, *LINES)
    assert not file.exists()
    one.publish()
    kept(one, b"more\n")
    one.publish()
    assert file.read_bytes() == b"".join([*LINES, b"more\n"]) and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("committed", [True, False])
def test_the_next_owner_puts_in_what_was_committed_and_forgets_the_rest(file: Path, committed: bool):
    made = kept(owner(file), *LINES)
    others = [owner(file, partition=1), owner(file, partition=11), owner(file, group="g2")]
    for other in others:
        other.recover(lambda: pytest.fail("asked, though it has no lines"))
    for _ in range(2):
        owner(file).recover(lambda: made if committed else "other")
    assert not list(file.parent.glob(".*"))
    assert (file.read_bytes() if committed else file.exists()) == (b"".join(LINES) if committed else False)


@pytest.mark.parametrize("written", range(sum(map(len, LINES)) + 1))
def test_a_kill_while_lines_are_written(file: Path, monkeypatch: pytest.MonkeyPatch, written: int):
    """Of the lines any number of bytes were written, behind those of others."""
    first = owner(file, partition=1)
    kept(first, b"first\n")
    first.publish()
    one = owner(file)
    made = kept(one, *LINES)
    between = owner(file, partition=2)
    kept(between, b"between\n")
    between.publish()

    def killed(path: str, lines: list[bytes]) -> None:
        with open(path, "ab") as to:
            to.write(b"".join(lines)[:written])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(errors_file, "append_lines", killed)
        one.publish()
    owner(file).recover(lambda: made)
    assert file.read_bytes() == b"".join([b"first\n", b"between\n", *LINES])
    assert list(file.parent.iterdir()) == [file]


def test_an_owner_whose_lines_the_next_has_put_in_adds_nothing(file: Path):
    zombie = owner(file)
    made = kept(zombie, *LINES)
    owner(file).recover(lambda: made)
    zombie.publish()
    assert file.read_bytes() == b"".join(LINES)


def test_lines_of_a_commit_that_failed_are_not_put_in_later(file: Path):
    """By a zombie that kept them when another owner was at work already, whose offsets are beyond its own by now."""
    zombie, other = owner(file), owner(file)
    kept(zombie, *LINES)
    made = kept(other, *LINES[:1])
    other.publish()
    owner(file).recover(lambda: made)
    assert file.read_bytes() == LINES[0] and list(file.parent.iterdir()) == [file]


def test_a_file_that_was_moved_away_meanwhile_gets_all(file: Path):
    one = owner(file)
    kept(one, *LINES)
    one.publish()
    made = kept(one, b"more\n")
    file.rename(file.with_name("old"))
    owner(file).recover(lambda: made)
    assert file.read_bytes() == b"more\n"


def test_what_cannot_be_kept_leaves_nothing(file: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(errors_file.os, "fsync", full)
    one = owner(file)
    one.add(LINES[0])
    with pytest.raises(OSError, match="No space"):
        one.keep()
    assert not list(file.parent.iterdir())


def failed(row: int, stage: str = "infer") -> RowError:
    return RowError("in/0", row, stage, f"row {row}")


def test_the_first_that_fail_are_shown(capsys: pytest.CaptureFixture[str]):
    show = errors._Show()
    show.process(failed(0, errors.STAGE))
    for row in range(errors.SHOWN + 3):
        show.process(failed(row))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == errors.SHOWN + 1
    assert [json.loads(one.removeprefix("failed: "))["reason"] for one in lines[:-1]] == [
        f"row {row}" for row in range(errors.SHOWN)
    ]
    assert lines[-1] == "more that fail are counted; --errors kafka://... or FILE.jsonl keeps all"


def test_a_bundles_errors_are_added_at_its_end(tmp_path: Path):
    path = tmp_path / "made" / "e.jsonl"
    append = errors._Append(str(path))
    append.start_bundle()
    append.finish_bundle()
    assert not path.parent.exists()
    append.process(failed(1))
    assert not path.parent.exists()
    append.finish_bundle()
    append.process(failed(9))  # of a bundle that fails
    append.start_bundle()
    append.process(failed(2))
    append.finish_bundle()
    assert [json.loads(line)["reason"] for line in path.read_text().splitlines()] == ["row 1", "row 2"]
