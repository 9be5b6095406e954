"""Jobs that are killed at random moments and started again, beside the same jobs undisturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import fastavro
import psutil

from benchmarks.resume_jobs import JOBS, KilledJob
from tests.resume_inputs import INPUTS, iceberg_environment, models

ROOT = Path(__file__).parents[1]

SLOW = """
import time

def pace(batch):
    time.sleep(0.05)
    return batch
"""
"""A step that makes a job last, so that kills find it at work."""

KILLS_A_JOB = 3
"""At most."""

AT_ANY_TIME = 0.2
"""Of the kills: they may come before the first split is begun; the others wait for a number of splits."""


class Kill(NamedTuple):
    """What one kill met."""

    begun: int
    """Splits that were at work."""

    done: int
    """Splits that were finished."""


def kill_all(folder: Path, count: int, seed: int) -> None:
    """Kill jobs at random moments until so many were hit, compare what they end with, and print a table.

    Raises:
        AssertionError: a job ended otherwise than it does undisturbed.
    """
    rng = random.Random(seed)
    (folder / "slow.py").write_text(SLOW)
    models(folder)
    expected: dict[int, Undisturbed] = {}
    hits: list[Kill] = []
    print("| input | output | options | killed | splits that were done | at work |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    for number in range(10 * count):
        if len(hits) >= count:
            break
        at = number % len(JOBS)
        job = JOBS[at]
        if at not in expected:
            expected[at] = undisturbed(folder, job, f"whole-{at}")
        found = killed(folder, job, f"out-{number}", expected[at], rng)
        hits += found
        done, work = (", ".join(str(kill[which]) for kill in found) for which in (1, 0))
        print(f"| {job.input} | {job.output} | {' '.join(job.options)} | {job.kills} | {done} | {work} |", flush=True)
    again = max(kill.begun for kill in hits)
    met = sum(1 for kill in hits if kill.done or kill.begun)
    print(f"\n{len(hits)} kills, seed {seed}, {met} of them with splits done or at work; at most {again} at work")


class Undisturbed(NamedTuple):
    """A job that nobody kills."""

    content: dict[str, object]
    seconds: float
    splits: int
    summary: dict[str, Any]


def undisturbed(folder: Path, job: KilledJob, name: str) -> Undisturbed:
    """Run it, and check that it has all rows."""
    if not (folder / job.input).exists():
        (folder / job.input).mkdir()
        models(folder / job.input)
        INPUTS[job.input].make(folder / job.input)
    began = time.monotonic()
    process = start(folder, job, name)
    err = process.communicate()[1]
    assert process.returncode == 0, err
    summary = told(folder, job, name)
    return Undisturbed(
        content(where(folder, job, name)), time.monotonic() - began, summary["resumed"]["of_splits"], summary
    )


def where(folder: Path, job: KilledJob, name: str) -> Path:
    """The folder that a job writes to."""
    return folder / job.input / name


def told(folder: Path, job: KilledJob, name: str) -> dict[str, Any]:
    """Its summary."""
    return json.loads((folder / job.input / f"{name}.json").read_text())


def start(folder: Path, job: KilledJob, name: str) -> subprocess.Popen[str]:
    """The command."""
    of = INPUTS[job.input]
    source = {"delta": "delta:in", "iceberg": "iceberg://local/db.t", "lance": "lance:in.lance"}.get(job.input)
    source = source or next(path.name for path in sorted((folder / job.input).glob("in*")))
    output = name + "/" if job.output == "out/" else f"{name}/{job.output}"
    given = [
        "--input",
        source,
        *of.options,
        "--prepare",
        "slow:pace",
        "--output",
        output,
        "--errors",
        f"{name}/e.jsonl",
    ]
    given += ["--batch_size", "64", "--quiet", "--summary", f"{name}.json", "--resume", *job.options]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.score", *given],
        cwd=folder / job.input,
        env=os.environ | iceberg_environment(folder / job.input) | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def killed(folder: Path, job: KilledJob, name: str, whole: Undisturbed, rng: random.Random) -> list[Kill]:
    """Kill it until it has had enough, then let it come to its end; the kills that it met."""
    hits: list[Kill] = []
    while True:
        process = start(folder, job, name)
        if len(hits) < KILLS_A_JOB and hit(process, where(folder, job, name), job, whole, rng):
            found = at_work(where(folder, job, name))
            assert found.begun <= job.workers, f"{job}: {found.begun} splits were at work"
            hits.append(found)
            if rng.random() < 0.5:
                continue
            process = start(folder, job, name)
        err = process.communicate()[1]
        if process.returncode == 2 and "is there already" in err and hits:
            break  # killed between its end and its exit
        assert process.returncode == 0, f"{job}: {err}"
        summary = told(folder, job, name)
        for what in ("rows_in", "rows_scored", "rows_failed", "failed_by_reason"):
            assert summary[what] == whole.summary[what], f"{job}: {what} is another"
        break
    assert content(where(folder, job, name)) == whole.content, f"{job}: another output"
    return hits


def hit(process: subprocess.Popen[str], out: Path, job: KilledJob, whole: Undisturbed, rng: random.Random) -> bool:
    """Kill the command, or one of its workers, at a random moment; False where it came to its end before."""
    seconds, splits = rng.uniform(0, 1.1) * whole.seconds, rng.uniform(0, whole.splits)
    at_any_time, later = rng.random() < AT_ANY_TIME, rng.uniform(0, 0.1)
    began = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - began > seconds if at_any_time else len(list(out.glob(".*-resume/done-*"))) >= splits:
            break
        time.sleep(0.002)
    time.sleep(later)
    while not (workers := list(workers_of(process))) and job.kills == "worker" and process.poll() is None:
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    os.kill(process.pid if job.kills == "command" else rng.choice(workers).pid, signal.SIGKILL)
    process.communicate()
    psutil.wait_procs(workers)
    return process.returncode != 0


def workers_of(process: subprocess.Popen[str]) -> Iterable[psutil.Process]:
    """The worker processes of a command."""
    try:
        for one in psutil.Process(process.pid).children(recursive=True):
            if any("process_worker" in part for part in one.cmdline()):
                yield one
    except psutil.NoSuchProcess:
        return


def at_work(out: Path) -> Kill:
    """What a killed job has left."""
    done = {path.name[len("done-") : -len(".json")] for path in out.glob(".*-resume/done-*.json")}
    begun = {path.name[len("begun-") :] for path in out.glob(".*-resume/begun-*")}
    return Kill(len(begun - done), len(done))


def content(folder: Path) -> dict[str, object]:
    """What the files of a folder hold, hidden ones too; of Avro, whose marks are drawn anew for each file, the rows."""
    return {
        path.name: list(fastavro.reader(path.open("rb"))) if path.suffix == ".avro" else path.read_bytes()
        for path in sorted(folder.iterdir())
    }
