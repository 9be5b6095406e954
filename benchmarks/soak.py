"""A stream through Flink that is hit while it runs: what is lost, what is doubled, how soon it goes on.

python -m benchmarks.soak                                   # 1M messages for each delivery; Java and Maven
python -m benchmarks.soak --messages 50000 --delivery exactly_once --hits worker,broker

sender --rate--> topic --> [ Flink: 2 TaskManagers, a worker a slot ] --> topic --> counter (committed messages)
                   ^            ^     ^              ^                      ^
                broker      JobManager, TaskManager, worker: SIGKILL     broker
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measure import ROOT, ProgramFailed
from benchmarks.soak_topics import Counter, Sender
from runners.local import FlinkCluster, KafkaBroker

PARTITIONS = 4
PARALLELISM = 2
AWAY_SECONDS = 20.0
SETTINGS = {"cluster.evenly-spread-out-slots": "true"}
"""Of the cluster: else one TaskManager may get all there is to do."""

START_SECONDS, GO_ON_SECONDS, END_SECONDS = 240.0, 240.0, 120.0
"""Most that a job may take to its first outputs, to outputs of what was sent after a hit, and to end when asked to."""

DELIVERIES = ("at_least_once", "exactly_once")


@dataclass
class Hit:
    """One blow and what came of it."""

    what: str
    """One of `HITS`."""

    seconds: float
    """From the blow until messages of each partition that were sent after it had come out."""


@dataclass
class Outcome:
    """What became of the messages of one soak."""

    delivery: str
    sent: int
    seconds: float
    """From the first message sent to the last one out."""

    lost: int
    """Messages without an output."""

    doubled: int
    """Outputs beyond the first of a message."""

    hits: list[Hit] = field(default_factory=list)


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
    ):
        self.broker, self.cluster, self.delivery = broker, cluster, delivery
        self._folder, self._checkpoint, self._more = folder, checkpoint, list(more)
        name = uuid.uuid4().hex[:8]
        self._group = f"soak-{name}"
        self._input = broker.create_topic(f"in-{name}", PARTITIONS)
        self._output = broker.create_topic(f"out-{name}", PARTITIONS)
        self._model = _model(folder)
        self._job: subprocess.Popen[bytes] | None = None
        self._kills = 0
        self.sender = Sender(broker.address, self._input, PARTITIONS, rate)
        self.counter = Counter(broker.address, self._output, PARTITIONS)

    def __enter__(self) -> Soak:
        self._start_job()
        self.sender.start()
        self.counter.start()
        self._until(lambda: bool(self.counter.highest().min() >= 0), START_SECONDS, "no outputs of each partition")
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.stop()
        self._kill_job()
        self.counter.stop()

    def hit(self, what: str) -> Hit:
        """Strike, mend what does not mend itself, and wait until the stream goes on."""
        started = time.monotonic()
        sent = HITS[what](self)
        what_to_see = f"what was sent after the hit ({what}) does not come out"
        self._until(lambda: bool((self.counter.highest() >= sent).all()), GO_ON_SECONDS, what_to_see)
        return Hit(what, round(time.monotonic() - started, 1))

    def finish(self) -> tuple[int, int, int]:
        """Stop sending, wait for the last outputs, end the job: (sent, lost, doubled)."""
        sent = self.sender.stop()
        with contextlib.suppress(ProgramFailed):  # what is missing is told as lost
            self._until(lambda: self.counter.distinct() >= int(sent.sum()), GO_ON_SECONDS, "outputs are missing")
        assert self._job is not None
        self._job.send_signal(signal.SIGTERM)
        try:
            code = self._job.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"the job did not end within {END_SECONDS:.0f} s: {self._tail()}") from None
        if code:
            raise ProgramFailed(f"the job ended with {code}: {self._tail()}")
        self.counter.stop(to_end=True)
        return int(sent.sum()), *self.counter.judge(sent)

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

    def _start_job(self) -> None:
        command = [sys.executable, "-m", "pipelines.score", "--model", str(self._model), "--group", self._group]
        command += ["--input", f"kafka://{self.broker.address}/{self._input}", "--format", "tensor"]
        command += ["--output", f"kafka://{self.broker.address}/{self._output}", "--output_format", "tensor"]
        command += ["--delivery", self.delivery, "--quiet", "--runner", "FlinkRunner", "--threads", "1"]
        command += ["--flink_master", self.cluster.address, "--parallelism", str(PARALLELISM)]
        command += ["--checkpoint", self._checkpoint, *self._more]
        with open(self._log, "ab") as log:
            self._job = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

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
}
"""What a stream can be hit by; each gives how many messages of each partition were sent when it was."""


def run_soak(soak: Soak, messages: int, hits: Sequence[str], say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Send so many messages, or more where the hits take longer, with the hits spread evenly over them."""
    started = time.monotonic()
    done = []
    with soak:
        for number, what in enumerate(hits, 1):
            soak.sender.wait_for(messages * number // (len(hits) + 1))
            done.append(soak.hit(what))
            say(f"  {what}: went on after {done[-1].seconds:.1f} s")
        soak.sender.wait_for(messages)
        sent, lost, doubled = soak.finish()
    return Outcome(soak.delivery, sent, round(time.monotonic() - started, 1), lost, doubled, done)


def _is_worker(process: Any) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() != "sh" and "runners.pool_worker" in process.cmdline()
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


@contextlib.contextmanager
def _services(folder: Path) -> Iterator[tuple[KafkaBroker, FlinkCluster]]:
    with (
        KafkaBroker(folder / "kafka") as broker,
        FlinkCluster(folder / "flink", task_managers=2, slots=2, settings=SETTINGS) as cluster,
    ):
        yield broker, cluster


def main(argv: list[str] | None = None) -> int:
    """The command; 1 if anything was lost, or doubled where it must not be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rate", type=float, default=5_000, metavar="N", help="messages a second (default: 5000)")
    parser.add_argument("--delivery", choices=(*DELIVERIES, "both"), default="both")
    parser.add_argument("--hits", default=",".join(HITS), metavar=",".join(HITS), help="in their order; default: all")
    parser.add_argument("--checkpoint", default="5s", metavar="5s")
    parser.add_argument("--more", default="", metavar="OPTIONS", help="other options of score, e.g. '--shards 2'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    options = parser.parse_args(argv)
    hits = [each for each in options.hits.split(",") if each]
    if unknown := [each for each in hits if each not in HITS]:
        parser.error(f"--hits {unknown[0]} is none of {', '.join(HITS)}")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="beamsplit-soak-") as name, _services(Path(name)) as (broker, cluster):
        for delivery in DELIVERIES if options.delivery == "both" else (options.delivery,):
            print(f"{delivery}: {options.messages:,} messages at {options.rate:,.0f}/s", flush=True)
            more = shlex.split(options.more)
            soak = Soak(broker, cluster, Path(name), delivery, options.rate, options.checkpoint, more)
            outcome = run_soak(soak, options.messages, hits, lambda line: print(line, flush=True))
            outcomes.append(outcome)
            lost, doubled = f"{outcome.lost:,} lost", f"{outcome.doubled:,} doubled"
            print(f"  {outcome.sent:,} sent in {outcome.seconds:.0f} s: {lost}, {doubled}", flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in outcomes], indent=1) + os.linesep)
    bad = [each for each in outcomes if each.lost or (each.doubled and each.delivery == "exactly_once")]
    return 1 if bad else 0


if __name__ == "__main__":
    # Ctrl-C and a kill end the services in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
