"""Starts the workers that a runner asks for, each a process of this machine: Beam's EXTERNAL environment.

    runner (a Flink TaskManager) --StartWorker--> pool --starts--> worker process --connects--> runner

Beam's own pool starts whatever `python` is first in PATH and answers at once: where that is the wrong one, the runner
waits for ever. This one starts the Python that it runs in, and answers when the worker has connected; a worker that
cannot start is told to the runner with the end of its log. `python -m beamsplit.runners.worker_pool` is the sidecar on
a cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

from beamsplit.runners.beam_patches.thread_worker import PARTS, ThreadWorker
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.pool_folder import pool_folder
from beamsplit.runners.process import Process

START_SECONDS = 180.0
"""Longest that a worker may take until it has connected."""

CALLS = 256
"""Calls that are answered at the same time; a StartWorker call lasts until its worker has connected."""

MOST_FAILURES = 3
"""Workers that cannot start, one after another, before the job is given up; before any has started, one is enough."""


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """A pool for the time of a `with`: its workers end with it, also if this process is killed.

    Args:
        folder: for the workers' logs, `worker-NAME.log`.
        host: where to listen; only the loopback interface unless told otherwise.
        port: 0 is a free one.
        command: what a worker is, for tests.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0, command: Sequence[str] | None = None):
        self.folder = folder
        self.failure: str | None = None
        """Why workers cannot start; set once it is no use to go on."""
        self.failed = threading.Event()
        """Set with `failure`, and when the pool is closed."""

        self._host, self._port = host, port
        self._command = list(command or [sys.executable, "-m", "beamsplit.runners.pool_worker"])
        self._workers: dict[str, list[Process]] = {}
        self._threads: dict[str, list[ThreadWorker]] = {}
        self._lock = threading.Lock()
        self._named: Counter[str] = Counter()
        self._started, self._failures, self._closed = 0, 0, False
        self._server: Any = None

    @property
    def address(self) -> str:
        """`host:port`, for `--environment_config`."""
        return f"{self._host}:{self._port}"

    def __enter__(self) -> WorkerPool:
        self._server = grpc.server(ThreadPoolExecutor(CALLS, "worker-pool"), options=[("grpc.so_reuseport", 0)])
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(self, self._server)
        try:
            self._port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise RunnerError(f"the worker pool cannot listen at {self.address}; choose another port") from error
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            workers, self._workers = [each for alike in self._workers.values() for each in alike], {}
            threads, self._threads = [each for alike in self._threads.values() for each in alike], {}
        for worker in workers:
            worker.kill()
        for thread in threads:
            thread.end()
        self.failed.set()  # whoever waits for it need wait no longer
        self._server.stop(0).wait()

    def pids(self) -> list[int]:
        """Of the workers that run."""
        with self._lock:
            workers = [each for alike in self._workers.values() for each in alike]
            return [pid for worker in workers if (pid := worker.pid) is not None]

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Answer when the worker has connected, or with an error."""
        if PARTS in request.params:
            return self._start_thread(request)
        name = "".join(c if c.isalnum() or c in "-." else "_" for c in request.worker_id)
        with self._lock:
            # The TaskManagers give their workers the same names.
            self._named[name] += 1
            name = name if self._named[name] == 1 else f"{name}.{self._named[name]}"
        ready = self.folder / f"{name}.ready"
        env = {
            "WORKER_ID": request.worker_id,
            "BEAMSPLIT_READY": str(ready),
            "BEAMSPLIT_PROVISION": request.provision_endpoint.url,
            "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{request.control_endpoint.url}"',
            "LOGGING_API_SERVICE_DESCRIPTOR": f'url: "{request.logging_endpoint.url}"',
            **python_environment(),
        }
        worker = Process(f"worker-{name}", self.folder, self._command, env, tied=True)
        with self._lock:
            if self._closed:
                return beam_fn_api_pb2.StartWorkerResponse(error="the worker pool is closed")
            alike = self._workers.setdefault(request.worker_id, [])
            alike[:] = [*(other for other in alike if other.pid is not None), worker]
            worker.start()
        try:
            worker.wait_until(ready.exists, START_SECONDS)
        except RunnerError as error:
            worker.kill()
            self._count_failure(str(error))
            return beam_fn_api_pb2.StartWorkerResponse(error=str(error))
        with self._lock:
            self._started, self._failures = self._started + 1, 0
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:
        """End a worker, unless several TaskManagers have one of this name: theirs end when they let go of them."""
        with self._lock:
            alike = self._workers.get(request.worker_id, [])
            worker = alike.pop() if len(alike) == 1 else None
            threads = [thread for thread in self._threads.pop(request.worker_id, []) if thread.running]
        if worker is not None:
            worker.stop(5)
        if len(threads) == 1:
            threads[0].stop()
        return beam_fn_api_pb2.StopWorkerResponse()

    def _start_thread(self, request: Any) -> Any:
        try:
            worker = ThreadWorker(request.worker_id, request.control_endpoint.url)
        except Exception as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"{type(error).__name__}: {error}")
        with self._lock:
            alike = self._threads.setdefault(request.worker_id, [])
            # Of a job that begins again there come more, of which nobody says that those before are to end.
            alike[:] = [*(other for other in alike if other.running), worker]
            if not self._closed:
                return beam_fn_api_pb2.StartWorkerResponse()
        worker.end()
        return beam_fn_api_pb2.StartWorkerResponse(error="the worker pool is closed")

    def _count_failure(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            if not self._closed and (not self._started or self._failures >= MOST_FAILURES):
                self.failure = self.failure or reason
                self.failed.set()


def python_environment() -> dict[str, str]:
    """Variables with which a worker finds what this process can import, and `python` is this Python."""
    found = [os.path.abspath(path) for path in sys.path if path == "" or os.path.isdir(path)]
    return {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([os.getcwd(), *found])),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def _exit(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # what ends it is at work, and takes no longer than it must
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> None:
    """A pool that runs until it is ended: by Ctrl-C, or by SIGTERM or SIGHUP, with which it exits by 143 or 129."""
    parser = argparse.ArgumentParser(
        prog="python -m beamsplit.runners.worker_pool", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--port", type=int, default=50000, help="default: %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s, since a pool runs what it is told")
    options = parser.parse_args(argv)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) is not signal.SIG_IGN:  # of nohup
            signal.signal(number, _exit)
    with (
        pool_folder() as folder,
        WorkerPool(folder, options.host, options.port) as pool,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(f"worker pool at {pool.address}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
