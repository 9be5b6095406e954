"""The stream of a soak: a job on a Flink cluster, both its ends, and the blows that it takes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from beamsplit.runners.flink_rest import OVER
from beamsplit.runners.local import FlinkCluster, KafkaBroker
from benchmarks import soak_poison
from benchmarks.measure import ROOT, ProgramFailed
from benchmarks.soak_topics import Counter, ErrorsCounter, Sender, committed, delete_below

PARTITIONS = 4
PARALLELISM = 2
AWAY_SECONDS = 20.0
TAKEN = 50
"""Messages of each partition that retention takes before anyone has read them."""

START_SECONDS, GO_ON_SECONDS, END_SECONDS = 240.0, 240.0, 120.0
"""Most that a job may take to its first outputs, to outputs of what was sent after a hit, and to end when asked to."""


@dataclass
class Outcome:
    """What became of the messages of one soak."""

    delivery: str
    sent: int
    seconds: float = 0.0
    """From the first message sent to the last one out."""

    lost: int = 0
    """Messages with neither an output nor an error, those aside that are told to be gone."""

    doubled: int = 0
    """Outputs and errors beyond the first of a message."""

    failed: int = 0
    """Messages with an error."""

    misjudged: int = 0
    """Poison with an output, others with an error, and what is told to be gone and is there."""

    taken: int = 0
    """Messages that retention took."""

    hits: dict[str, list[float]] = field(default_factory=dict)
    """For each kind of blow the seconds from each until messages that were sent after it had come out."""

    @property
    def good(self) -> bool:
        """Whether all was scored or told, as often as was promised."""
        return not (self.lost or self.misjudged or (self.doubled and self.delivery == "exactly_once"))


class Soak:
    """A stream that runs for the time of a `with`, from a topic that is being filled.

    Args:
        broker: runs.
        cluster: runs, with at least two TaskManagers.
        folder: for the model and logs.
        delivery: one of `DELIVERIES`.
        rate: messages sent a second.
        checkpoint: as `--checkpoint` takes it.
        more: other options of `score`.
        poison: one message of so many cannot be scored (`soak_poison`); 0 is none.
    """

    def __init__(
        self,
        broker: KafkaBroker,
        cluster: FlinkCluster,
        folder: Path,
        delivery: str,
        rate: float,
        checkpoint: str = "5s",
        more: Sequence[str] = (),
        poison: int = 0,
    ):
        self.broker, self.cluster, self.delivery = broker, cluster, delivery
        self._folder, self._checkpoint, self._more = folder, checkpoint, list(more)
        name = uuid.uuid4().hex[:8]
        self._group = f"soak-{name}"
        self._input = broker.create_topic(f"in-{name}", PARTITIONS, soak_poison.INPUT_SETTINGS)
        self._output = broker.create_topic(f"out-{name}", PARTITIONS, soak_poison.OUTPUT_SETTINGS)
        self._errors = broker.create_topic(f"err-{name}", PARTITIONS)
        self._poison = poison
        self._gone = [(0, 0)] * PARTITIONS
        self._temporary = folder / f"tmp-{name}"
        self._temporary.mkdir()
        self._model = _model(folder)
        self._job: subprocess.Popen[bytes] | None = None
        self._kills = 0
        self.sender = Sender(broker.address, self._input, PARTITIONS, rate, poison)
        self.counter = Counter(broker.address, self._output, PARTITIONS)
        self.errors = ErrorsCounter(broker.address, self._errors, PARTITIONS)

    def __enter__(self) -> Soak:
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)  # also where it does not come up
            self._start_job()
            self.sender.start()
            self.counter.start()
            self.errors.start()
            self._until(lambda: bool(self.counter.highest().min() >= 0), START_SECONDS, "no outputs of each partition")
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.stop()
        self._kill_job()
        self.counter.stop()
        self.errors.stop()

    @property
    def pid(self) -> int:
        """The process id of the job's command."""
        assert self._job is not None, "it runs for the time of a with"
        return self._job.pid

    def hit(self, what: str) -> float:
        """Strike, mend what does not mend itself, and wait until the stream goes on; gives the seconds of it."""
        started = time.monotonic()
        sent = HITS[what](self)
        what_to_see = f"what was sent after the hit ({what}) does not come out"
        self._until(lambda: bool((self.counter.highest() >= sent).all()), GO_ON_SECONDS, what_to_see)
        return round(time.monotonic() - started, 1)

    def finish(self) -> Outcome:
        """Stop sending, wait for the last outputs and end the job.

        Raises:
            ProgramFailed: it does not end, or leaves something behind.
        """
        sent = self.sender.stop()
        taken = sum(end - start for start, end in self._gone)

        def through() -> bool:
            return self.counter.distinct() + self.errors.distinct() + taken >= int(sent.sum())

        with contextlib.suppress(ProgramFailed):  # what is missing is told as lost
            self._until(through, GO_ON_SECONDS, "outputs are missing")
        self._stop_job()
        self.counter.stop(to_end=True)
        self.errors.stop(to_end=True)
        if left := sorted(path.name for path in self._temporary.iterdir()):
            raise ProgramFailed(f"the jobs are over, and left {', '.join(left)}")
        return self._judge(sent)

    def _judge(self, sent: np.ndarray) -> Outcome:
        outcome = Outcome(self.delivery, int(sent.sum()))
        counted = zip(self.counter.counts(sent), self.errors.counts(sent), self._gone, self.errors.gone, strict=True)
        for partition, (outputs, errors, (start, end), told) in enumerate(counted):
            gone, told_gone = np.zeros((2, len(outputs)), bool)
            gone[start:end] = True
            told_gone[list(told)] = True
            bad = soak_poison.is_poison(np.arange(len(outputs)) * PARTITIONS + partition, self._poison)
            outcome.lost += int(((outputs + errors == 0) & ~told_gone).sum())
            outcome.doubled += int(np.maximum(outputs + errors - 1, 0).sum())
            outcome.failed += int((errors > 0).sum())
            outcome.misjudged += int(((outputs > 0) & bad | (errors > 0) & ~bad | (gone != told_gone)).sum())
            outcome.taken += end - start
        return outcome

    def kill_worker(self) -> np.ndarray:
        """One of the job's worker processes: of parts with workers of their own another one each time."""
        assert self._job is not None
        workers = [each for each in psutil.Process(self._job.pid).children(recursive=True) if _is_worker(each)]
        workers[self._kills % len(workers)].kill()
        self._kills += 1
        return self.sender.sent()

    def kill_task_manager(self) -> np.ndarray:
        """One of the cluster's TaskManagers, which is started again."""
        self.cluster.task_managers[0].kill()
        sent = self.sender.sent()
        self.cluster.start()
        return sent

    def kill_job_manager(self) -> np.ndarray:
        """The JobManager: it comes back without the job, which is started again."""
        self.cluster.job_manager.kill()
        sent = self.sender.sent()
        self._kill_job()
        self.cluster.start()
        self._start_job()
        return sent

    def kill_broker(self, away: float = 0.0) -> np.ndarray:
        """The broker, which is started again after some seconds."""
        self.broker.kill()
        sent = self.sender.sent()
        time.sleep(away)
        self.broker.start()
        return sent

    def stop_and_start(self) -> np.ndarray:
        """The job, which is asked to end, and started again."""
        self._stop_job()
        sent = self.sender.sent()
        self._start_job()
        return sent

    def retention(self) -> np.ndarray:
        """The broker drops messages that nobody has read, while the job is stopped; it is started again."""
        self._stop_job()
        done = committed(self.broker.address, self._group, self._input)
        wanted = done + TAKEN
        self._until(lambda: bool((self.sender.sent() > wanted).all()), GO_ON_SECONDS, "too few messages are sent")
        delete_below(self.broker.address, self._input, wanted)
        self._gone = list(zip(done.tolist(), wanted.tolist(), strict=True))
        sent = self.sender.sent()
        self._start_job()
        return sent

    def _start_job(self) -> None:
        command = [sys.executable, "-m", "pipelines.score", "--model", str(self._model), "--group", self._group]
        command += ["--input", f"kafka://{self.broker.address}/{self._input}", "--format", "tensor"]
        command += ["--output", f"kafka://{self.broker.address}/{self._output}", "--output_format", "tensor"]
        command += ["--errors", f"kafka://{self.broker.address}/{self._errors}"]
        command += ["--delivery", self.delivery, "--quiet", "--runner", "FlinkRunner", "--threads", "1"]
        command += ["--flink_master", self.cluster.address, "--parallelism", str(PARALLELISM)]
        command += ["--checkpoint", self._checkpoint, *self._more]
        with open(self._log, "ab") as log:
            environment = os.environ | {"TMPDIR": str(self._temporary)}
            ends: Any = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL}
            self._job = subprocess.Popen(command, cwd=ROOT, env=environment, **ends)

    def _stop_job(self) -> None:
        """As a user does; nothing of it may be left."""
        assert self._job is not None
        children = psutil.Process(self._job.pid).children(recursive=True)
        self._job.send_signal(signal.SIGTERM)
        try:
            code = self._job.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"the job did not end within {END_SECONDS:.0f} s: {self._tail()}") from None
        if code:
            raise ProgramFailed(f"the job ended with {code}: {self._tail()}")
        if left := [child.pid for child in psutil.wait_procs(children, 5.0)[1]]:
            raise ProgramFailed(f"the job is over, and its processes {left} are not")
        if left := [job for job, state in self.cluster.jobs().items() if state not in OVER]:
            raise ProgramFailed(f"the job is over, and runs on the cluster: {', '.join(left)}")

    def _kill_job(self) -> None:
        """The submitter, whose job server and workers end with it."""
        if self._job is None or self._job.poll() is not None:
            return
        children = psutil.Process(self._job.pid).children(recursive=True)
        self._job.kill()
        self._job.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    @property
    def _log(self) -> Path:
        return self._folder / f"{self._group}.log"

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-800:]

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self.counter.check()
            self.errors.check()
            if self._job is not None and self._job.poll() is not None:
                raise ProgramFailed(f"the job ended by itself with {self._job.returncode}: {self._tail()}")
            if time.monotonic() > deadline:
                raise ProgramFailed(f"{what} within {seconds:.0f} s: {self._tail()}")
            time.sleep(0.05)


HITS: dict[str, Callable[[Soak], np.ndarray]] = {
    "worker": Soak.kill_worker,
    "task_manager": Soak.kill_task_manager,
    "broker": Soak.kill_broker,
    "broker_away": lambda soak: soak.kill_broker(AWAY_SECONDS),
    "job_manager": Soak.kill_job_manager,
    "stop_and_start": Soak.stop_and_start,
    "retention": Soak.retention,
}
"""What a stream can be hit by; each gives how many messages of each partition were sent when it was."""


def _is_worker(process: Any) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() != "sh" and "beamsplit.runners.pool_worker" in process.cmdline()
    return False


def _model(folder: Path) -> Path:
    """x: [N, 4] -> y: [N, 2], as small as can be: what is tried is not the model."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(4, 2), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "soak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
        [weights],
    )
    path = folder / "soak.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
