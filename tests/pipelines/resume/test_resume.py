"""`--resume` beside everything else that may happen to a job: it fails, changes, is run twice, is refused."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import beamsplit as bs
from beamsplit.models.owned_folder import hold
from beamsplit.pipelines.resume import facts
from beamsplit.pipelines.score import main
from beamsplit.transforms.resume import finish, score_units
from beamsplit.transforms.resume.folder import KeptFolder
from beamsplit.transforms.write import finalize
from tests import onnx_models
from tests.onnx_models import save
from tests.resumable import FILES, ROWS, Resumable, table

OUTPUT = "out/p.parquet"


@pytest.fixture
def fail_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the job fail when so many units are done; None lets it go on."""
    write, lock = KeptFolder.write_record, threading.Lock()

    def fail(count: int | None) -> None:
        left = [count]

        def noted(folder: KeptFolder, record: Any) -> None:
            with lock:
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] < 0:
                        raise OSError("the disk is gone")
            write(folder, record)

        monkeypatch.setattr(score_units.KeptFolder, "write_record", noted)

    return fail


def test_a_job_that_failed_goes_on_and_says_what_it_took_over(job: Resumable, fail_after: Callable[..., None]):
    fail_after(5)
    _, err = job.run(OUTPUT, code=1)
    assert err.splitlines()[-1] == (
        "error: the job failed, what is finished is kept, and the same command goes on there: the disk is gone "
        "(--debug shows all)"
    )
    assert [path.name for path in (job.folder / "out").iterdir()] == [".p.parquet-resume"]
    fail_after(None)
    summary, err = job.run(OUTPUT, code=3)
    resumed = summary["resumed"]
    assert resumed["splits"] == 5 and resumed["of_splits"] == FILES and resumed["rows"] == 5 * ROWS
    assert summary["rows_in"] == FILES * ROWS
    assert "in/00.parquet row 0: infer: null in column 'd'" in err
    assert [path.name for path in (job.folder / "out").iterdir()] == ["p.parquet"]


def test_the_plan_tells_what_is_there_and_changes_nothing(job: Resumable, fail_after: Callable[..., None]):
    fail_after(4)
    job.run(OUTPUT, code=1)
    names = sorted(path.name for path in (job.folder / "out" / ".p.parquet-resume").iterdir())
    assert main([*job.argv(OUTPUT), "--dry_run_plan"]) == 0
    out = job.capsys.readouterr().out
    assert f"4 of {FILES} splits, {4 * ROWS} rows" in out
    assert sorted(path.name for path in (job.folder / "out" / ".p.parquet-resume").iterdir()) == names


CHANGES: dict[str, tuple[Callable[[Resumable], tuple[str, ...]], str]] = {
    "an option": (lambda job: ("--keep", "id,a"), "--keep was id, now id a"),
    "a file's rows": (lambda job: write(job, 3, table(99)), "in/03.parquet changed"),
    "a new file": (lambda job: write(job, 50, table(50)), "in/50.parquet is new"),
    "a file that is gone": (lambda job: remove(job, 11), "in/11.parquet is gone"),
    "the model": (lambda job: other_model(job), "the model m.onnx is another"),
    "the model's weights": (lambda job: other_weights(job), "the model m.onnx is another"),
    "a step's code": (lambda job: other_code(job), "the code of {steps}:pause is another"),
    "a file that took another's place": (lambda job: in_its_place(job), "in/03.parquet changed"),
    "a version": (lambda job: other_version(job), f"pyarrow was {pa.__version__}, now 0.1"),
}


def write(job: Resumable, number: int, rows: Any) -> tuple[str, ...]:
    pq.write_table(rows, job.folder / "in" / f"{number:02}.parquet")
    return ()


def remove(job: Resumable, number: int) -> tuple[str, ...]:
    (job.folder / "in" / f"{number:02}.parquet").unlink()
    return ()


def other_model(job: Resumable) -> tuple[str, ...]:
    data = bytearray((job.folder / "m.onnx").read_bytes())
    (job.folder / "m.onnx").write_bytes(bytes(data).replace(b"beamsplit", b"Beamsplit") + b"\x3a\x00")
    return ()


def other_weights(job: Resumable) -> tuple[str, ...]:
    path = job.folder / "m.data"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    return ()


def in_its_place(job: Resumable) -> tuple[str, ...]:
    """Of the same size, and with the same time of change."""
    path, new = job.folder / "in" / "03.parquet", job.folder / "new"
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.rename(path)
    return ()


def other_version(job: Resumable) -> tuple[str, ...]:
    job.patch.setattr(facts, "version", lambda name: "0.1" if name == "pyarrow" else version(name))
    return ()


def other_code(job: Resumable) -> tuple[str, ...]:
    with open(job.folder / f"{job.steps}.py", "a") as file:
        file.write("\n# another\n")
    return ()


@pytest.mark.parametrize("what", CHANGES)
def test_another_job_says_what_changed_and_starts_anew(job: Resumable, fail_after: Callable[..., None], what: str):
    change, expected = CHANGES[what]
    save(onnx_models.mlp(4, outputs=2), job.folder / "m.onnx", external="m.data")
    fail_after(5)
    job.run(OUTPUT, code=1)
    more = change(job)
    fail_after(None)
    summary, err = job.run(OUTPUT, *more, code=3)
    (line,) = (line for line in err.splitlines() if line.startswith("warning: --resume"))
    assert line == (
        f"warning: --resume: this is not the job that was begun ({expected.format(steps=job.steps)}), so it starts "
        "anew: 5 splits that had been finished are dropped"
    )
    assert summary["resumed"]["splits"] == 0
    assert summary["rows_in"] == ROWS * len(list((job.folder / "in").iterdir()))


def test_what_changes_no_result_changes_nothing(job: Resumable, fail_after: Callable[..., None]):
    fail_after(6)
    job.run(OUTPUT, code=1)
    fail_after(None)
    more = ("--workers", "1", "--errors", "e.jsonl", "--max_failed", "50%", "--threads", "1")
    more += ("--partition", "contiguous")
    summary, _ = job.run(OUTPUT, *more)
    assert summary["resumed"]["splits"] == 6


@pytest.mark.parametrize(("output", "moved"), [(OUTPUT, 0), (OUTPUT, 1), ("out/p-*.parquet", 2)])
def test_files_that_were_getting_their_names_get_them(
    job: Resumable, output: str, moved: int, monkeypatch: pytest.MonkeyPatch
):
    errors = ("--errors", "errors.jsonl")
    job.run(output.replace("out", "whole"), *errors)
    (job.folder / "errors.jsonl").unlink()
    move, left = finalize.move_into_place, [moved]

    def some(file: Any, name: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("killed")
        move(file, name)

    for module in (finish, finalize):
        monkeypatch.setattr(module, "move_into_place", some)
    job.run(output, *errors, code=1)
    for module in (finish, finalize):
        monkeypatch.setattr(module, "move_into_place", move)
    summary, _ = job.run(output, *errors)
    assert summary["resumed"] == {"splits": FILES, "of_splits": FILES, "rows": FILES * ROWS, "scored_again": 0}
    assert summary["rows_in"] == FILES * ROWS and summary["rows_failed"] == 17
    assert job.written("out") == job.written("whole")
    assert len((job.folder / "errors.jsonl").read_text().splitlines()) == 17


def killed(*_: object) -> None:
    raise OSError("killed")


def test_errors_may_go_elsewhere_when_files_have_their_names(job: Resumable, monkeypatch: pytest.MonkeyPatch):
    output = "out/p-*.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(finish, "remove_folder", killed)
        job.run(output, "--errors", "errors.jsonl", code=1)
    assert len(list((job.folder / "out").glob("p-*"))) == FILES
    summary, _ = job.run(output, "--errors", "elsewhere.jsonl")
    assert summary["rows_failed"] == 17
    assert len((job.folder / "elsewhere.jsonl").read_text().splitlines()) == 17


def test_a_second_command_is_refused(job: Resumable):
    held = hold(str(job.folder / "out" / ".p.parquet-resume"))
    assert held is not None
    _, err = job.run(OUTPUT, code=2)
    held.release()
    assert err == (
        "error: --output out/p.parquet is being written by another command with --resume: wait for its end, or give "
        "--output another name\n"
    )


def test_a_run_without_clears_what_is_left_when_its_output_is_there(job: Resumable, fail_after: Callable[..., None]):
    fail_after(3)
    job.run(OUTPUT, code=1)
    fail_after(None)
    without = [one for one in job.argv(OUTPUT) if one != "--resume"]
    assert main(without) == 3
    assert "what a job with --resume had finished of this output is removed" in job.capsys.readouterr().err
    assert [path.name for path in (job.folder / "out").iterdir()] == ["p.parquet"]


def test_too_many_failed_keeps_what_is_finished(job: Resumable):
    _, err = job.run(OUTPUT, "--max_failed", "1%", code=1)
    assert "failed, more than --max_failed 1% allows" in err and "what is finished is kept" in err
    summary, _ = job.run(OUTPUT, "--max_failed", "5%", code=3)
    assert summary["resumed"]["of_splits"] == FILES and summary["rows_failed"] == 17


def test_an_output_that_is_there_is_refused(job: Resumable):
    job.run(OUTPUT, code=3)
    _, err = job.run(OUTPUT, code=2)
    assert "--output out/p.parquet is there already; add --overwrite" in err
    assert [path.name for path in (job.folder / "out").iterdir()] == ["p.parquet"]


def test_a_job_that_does_not_start_leaves_no_folder(job: Resumable):
    _, err = job.run("new/deep/p.parquet", "--keep", "nothing", code=2)
    assert "nothing" in err and not (job.folder / "new").exists()


REFUSED = {
    "a stream": (
        ("--input", "kafka://h:1/in", "--output", "kafka://h:1/out"),
        "--resume is for files, and a stream goes on at its --group's offsets anyway (kafka://h:1/in); leave it out",
    ),
    "a topic up to its end": (
        ("--input", "kafka://h:1/in", "--until_end"),
        "--resume keeps splits of files, and messages of kafka://h:1/in may be gone when it goes on; leave it out, or "
        "write the topic to files first",
    ),
    "an option of streams": (("--until_end",), "--until_end is for a stream"),
    "a topic as output": (
        ("--output", "kafka://h:1/out"),
        "--resume keeps what is finished until files get their names, and messages to --output kafka://h:1/out are "
        "sent at once; leave it out, or type a file",
    ),
    "a topic of errors": (
        ("--errors", "kafka://h:1/e"),
        "--resume keeps what is finished until files get their names, and messages to --errors kafka://h:1/e are sent "
        "at once; leave it out, or type a file",
    ),
    "a table of a database": (
        ("--output", "sqlite:p.db#t"),
        "--resume keeps files until all of them get their names, or are committed to a table of Delta, Iceberg or "
        "Lance, and --output sqlite:p.db#t is another; leave --resume out, or type a file",
    ),
    "workers of their own": (
        ("--placement", "distributed", "--stages", "2"),
        "--resume keeps splits that one worker has scored from end to end, and with --placement distributed rows go "
        "from worker to worker; type --placement inline, or leave --resume out",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_go_with_it_is_refused(job: Resumable, what: str):
    options, error = REFUSED[what]
    _, err = job.run(OUTPUT, *options, code=2)
    assert error in err and err.count("\n") == 1
    assert not (job.folder / "out").exists()


def test_audited_rows_of_all_runs_are_told(job: Resumable, fail_after: Callable[..., None]):
    fail_after(5)
    job.run(OUTPUT, "--audit", str(FILES * ROWS), code=1)
    fail_after(None)
    summary, _ = job.run(OUTPUT, "--audit", str(FILES * ROWS), code=3)
    assert summary["resumed"]["splits"] == 5
    assert summary["rows_audited"] == summary["rows_scored"] == FILES * ROWS - 17


def test_a_disk_that_is_full_is_one_line_and_loses_nothing(job: Resumable):
    """Files may not grow beyond a size that those of a split do not reach, and the output does."""
    resource = pytest.importorskip("resource")
    output = "out/p.csv"
    job.run("whole/p.csv", code=3)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * os.path.getsize("whole/p.csv") // FILES, limit[1]))
    try:
        _, err = job.run(output, code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    (line,) = (line for line in err.splitlines() if line.startswith("error"))
    assert "what is finished is kept, and the same command goes on there" in line and "File too large" in line
    assert [path.name for path in (job.folder / "out").iterdir()] == [".p.csv-resume"]
    summary, _ = job.run(output, code=3)
    assert summary["resumed"]["splits"] == FILES
    assert job.written("out") == job.written("whole")


def test_from_python(job: Resumable, fail_after: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    given: dict[str, Any] = {"columns": {"x": ["a", "b", "c", "d"]}, "workers": 2, "resume": True}
    fail_after(2)
    with pytest.raises(bs.JobFailed, match="the disk is gone"):
        bs.score("in", "m.onnx", output=OUTPUT, **given)
    fail_after(None)
    result = bs.score("in", "m.onnx", output=OUTPUT, **given)
    assert (result.rows, result.failed, result.summary.resumed["splits"]) == (FILES * ROWS - 17, 17, 2)
    assert len(result.errors) == 17
    with pytest.raises(bs.UsageError, match="no output is given"):
        bs.score("in", "m.onnx", **given)


def test_the_summary_is_one_line(job: Resumable, fail_after: Callable[..., None]):
    fail_after(5)
    job.run(OUTPUT, code=1)
    fail_after(None)
    assert main(job.argv(OUTPUT)) == 3
    out = job.capsys.readouterr().out
    assert f"resumed  5 of {FILES} splits, {5 * ROWS} rows; " in out
    assert json.loads(Path("summary.json").read_text())["resumed"]["scored_again"] >= 1
