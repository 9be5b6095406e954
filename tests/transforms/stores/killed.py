"""Commands on a store that are killed at a request."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.waiting import wait_until


def start(store, command, output: str, *options: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "pipelines.score", "--model", command.model, "--input", str(command.data)]
    argv += ["--output", output, "--columns", "x=a,b,c,d", "--keep", "id", "--workers", "1", "--overwrite", *options]
    return subprocess.Popen(argv, env=os.environ | store.environment, stderr=subprocess.PIPE)


def kill_at(store, command, output: str, is_moment, number: int, *options: str) -> None:
    """Start the job, and end it with the signal when a request comes that is the moment."""
    came = []

    def fault(request):
        if came or is_moment(request):
            came.append(request)
            time.sleep(0.05 * (len(came) > 1))
            return "cut"
        return None

    store.proxy.fault = fault
    job = start(store, command, output, *options)
    wait_until(lambda: came or job.poll() is not None)
    os.kill(job.pid, number)
    job.communicate()
    store.proxy.reset()
