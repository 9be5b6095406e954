"""Jobs that are killed in the midst and go on: what their tests share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamsplit.pipelines.score import main
from tests import onnx_models
from tests.onnx_models import save
from tests.waiting import DEADLINE, wait_until

ROOT = Path(__file__).parents[1]
FILES, ROWS = 12, 50

STEPS = """
import os
import time
from pathlib import Path

FOLDER = Path(__file__).parent

def pause(batch):
    hold = FOLDER / "hold"
    if batch.num_rows and hold.exists() and len(list(FOLDER.glob("out*/.*-resume/done-*"))) >= int(hold.read_text()):
        (FOLDER / f"held-{os.getpid()}-{batch.column(0)[0].as_py()}").touch()
        deadline = time.monotonic() + 900
        while hold.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    return batch
"""
"""A step that waits, for as long as there is a file `hold`, once as many units are done as that says."""


@dataclass
class Resumable:
    """`score` on 12 files of 50 rows, each a unit: id, a to d; x: [rows, 4] -> y: [rows, 2]; every 37th row fails."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    workers: tuple[str, ...] = ("--workers", "2", "--worker_type", "thread")

    def __post_init__(self) -> None:
        save(onnx_models.mlp(4, outputs=2), self.folder / "m.onnx")
        (self.folder / "in").mkdir()
        for number in range(FILES):
            pq.write_table(table(number), self.folder / "in" / f"{number:02}.parquet")
        self.steps = f"steps_{abs(hash(self.folder))}"
        (self.folder / f"{self.steps}.py").write_text(STEPS)

    def argv(self, output: str, *options: str) -> list[str]:
        """A command line; `options` may name another `--input`."""
        given = ["--model", "m.onnx", "--output", output, "--columns", "x=a,b,c,d", "--keep", "id"]
        given += [] if "--input" in options else ["--input", "in"]
        step = ["--prepare", f"{self.steps}:pause", "--batch_size", "16", *self.workers]
        return [*given, *step, "--resume", "--summary", "summary.json", *options]

    def kill(self, done: int, output: str, *options: str) -> None:
        """Start the command, and kill it and its workers when so many units are done and no worker goes on."""
        with self._held(done, output, *options) as process:
            # Workers that are processes lead sessions of their own, and end with the command.
            os.killpg(process.pid, signal.SIGKILL)

    def kill_worker(self, done: int, output: str, *options: str) -> str:
        """Start the command, and kill one of its workers; what the command, which fails, tells."""
        with self._held(done, output, *options) as process:
            os.kill(int(next(self.folder.glob("held-*")).name.split("-")[1]), signal.SIGKILL)
            (self.folder / "hold").unlink()
            err: str = process.communicate(timeout=DEADLINE)[1]
        assert process.returncode == 1, err
        return err

    @contextmanager
    def _held(self, done: int, output: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """The command, when so many units are done and a worker waits."""
        (self.folder / "hold").write_text(str(done))
        path = os.pathsep.join([str(ROOT), str(self.folder)])
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.score", *self.argv(output, *options)],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait_until(lambda: list(self.folder.glob("held-*")) or process.poll() is not None)
            assert process.poll() is None, process.communicate()[1]
            yield process
        finally:
            process.kill()
            process.communicate(timeout=DEADLINE)
            for held in [*self.folder.glob("held-*"), *self.folder.glob("hold")]:
                held.unlink()

    def run(self, output: str, *options: str, code: int = 0) -> tuple[dict[str, object], str]:
        """(summary, stderr) of the command run in this process to its end."""
        os.chdir(self.folder)
        found = main(self.argv(output, *options))
        err = self.capsys.readouterr().err
        assert found == code, err
        return json.loads((self.folder / "summary.json").read_text()) if code in (0, 3) else {}, err

    def written(self, folder: str) -> dict[str, bytes]:
        """The files of a folder, hidden ones too."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / folder).iterdir())}


def table(number: int) -> pa.Table:
    """The rows of one file; a null fails."""
    rng = np.random.default_rng(number)
    columns = {name: rng.standard_normal(ROWS).astype(np.float32) for name in "abcd"}
    ids = np.arange(ROWS) + number * ROWS
    return pa.table({"id": ids, **columns, "d": pa.array(columns["d"], mask=ids % 37 == 0)})
