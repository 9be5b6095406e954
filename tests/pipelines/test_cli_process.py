"""The command as a process of its own: help, exit codes, streams, a terminal. Few, since each start takes seconds."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests import onnx_models
from tests.command import write_table
from tests.onnx_models import save
from tests.pipelines.processes import ROOT, start
from tests.waiting import DEADLINE


def test_help_has_the_groups_an_example_of_each_common_job_and_the_steps():
    done = start("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for group in ("the job", "columns and inputs", "data stage and output stage", "workers", "watching", "examples"):
        assert f"\n{group}:\n" in done.stdout
    for example in ("--columns x=age,height,weight", "--prepare image:size=224", "--prepare text:", "--dry_run_plan"):
        assert example in done.stdout
    for step in ("image", "augment", "text", "bytes", "scale", "onehot", "softmax", "argmax", "top_k", "labels"):
        assert f"\n  {step} " in done.stdout
    assert "exit codes: 0 " in done.stdout


def test_exit_codes_and_streams(tmp_path: Path):
    model = save(onnx_models.picky(10), tmp_path / "m.onnx")
    good = write_table(tmp_path / "good.parquet", id=[1, 2], i=pa.array([1, 2], pa.int64()))
    bad = write_table(tmp_path / "bad.parquet", id=[1, 2], i=pa.array([1, 99], pa.int64()))
    options = ["--model", model, "--keep", "id", "--output", tmp_path / "out" / "p.jsonl", "--overwrite"]

    done = start("score", *options, "--input", good, module="pipelines")
    assert (done.returncode, done.stderr) == (0, "") and "2 in, 2 scored, 0 failed" in done.stdout

    done = start(*options, "--input", bad)
    assert done.returncode == 3 and "row 1: infer: the model failed" in done.stderr
    assert "2 in, 1 scored, 1 failed" in done.stdout

    done = start(*options, "--input", bad, "--keep", "nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --keep names nope, and the data has the columns id, i; name columns of the data\n"

    bad.write_bytes(bad.read_bytes()[:4] + bytes(100) + bad.read_bytes()[104:])
    done = start(*options, "--input", bad)
    assert (done.returncode, done.stdout) == (1, "") and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: the job failed, nothing was written: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0), (["sore"], 2)])
def test_the_console_script_names_its_commands(words: list[str], code: int, capsys: pytest.CaptureFixture[str]):
    from beamsplit.pipelines.__main__ import main

    assert main(words) == code
    assert "score" in "".join(capsys.readouterr())


def test_a_terminal_gets_a_bar():
    # A job long enough for a bar is too long for a test: the bar alone, with a terminal as its stream.
    master, slave = pty.openpty()
    script = (
        "import sys, threading\n"
        "from beamsplit.pipelines.report.summary import Progress\n"
        "shown, drawn = [], threading.Event()\n"
        "def counts():\n"
        "    shown.append(1)\n"
        "    if len(shown) == 2:\n"
        "        drawn.set()\n"
        "    return 40, 2\n"
        "with Progress(counts, 100, stream=sys.stderr):\n"
        "    drawn.wait(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=slave, env=os.environ | {"TERM": "xterm"}):
        os.close(slave)
        seen = b""
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:  # the other side was closed
                break
            if not data:
                break
            seen += data
    os.close(master)
    assert b"scoring" in seen and b"40/100 rows" in seen and b"2 failed" in seen


def test_a_plan_needs_no_beam(tmp_path: Path):
    model = save(onnx_models.picky(10), tmp_path / "m.onnx")
    good = write_table(tmp_path / "good.parquet", id=[1, 2], i=pa.array([1, 2], pa.int64()))
    options = ["--model", model, "--input", good, "--output", tmp_path / "p.parquet", "--dry_run_plan"]
    code = (
        "import sys; from beamsplit.pipelines.score import main; "
        f"code = main({[str(option) for option in options]}); "
        "assert 'apache_beam' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (0, "") and "workers" in done.stdout
