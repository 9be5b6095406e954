"""A session cluster of Flink, by its REST service: its slots, and which of its jobs is ours."""

from __future__ import annotations

import contextlib
import json
import sys
import time
import urllib.request
from typing import Any

from beamsplit.runners.errors import RunnerError

CANCEL_SECONDS = 120.0

SLOT_SECONDS = 60.0
"""How long a start waits for free slots of a cluster: those of a job that was just cancelled come back in a few."""

LEFT_SECONDS = 10.0
"""How long a start waits for a job that is cancelled since its command was killed."""

OVER = ("FINISHED", "FAILED", "CANCELED", "SUSPENDED")
"""Flink's states of a job that no longer runs."""


class FlinkFailed(RuntimeError):
    """The job failed since workers could not start; the message has the end of their log."""


def overview(master: str) -> dict[str, Any]:
    """Its slots, TaskManagers and jobs, counted.

    Raises:
        RunnerError: it does not answer.
    """
    try:
        return ask(master, "/overview")
    except (OSError, ValueError) as error:
        raise _unreachable(master, error) from error


def _unreachable(master: str, error: Exception) -> RunnerError:
    return RunnerError(
        f"--flink_master {master} does not answer as Flink's REST service ({error}); start a cluster there "
        "(python -m runners.local up --flink), or leave --flink_master out to run Flink on this machine"
    )


def ask(master: str, path: str, method: str = "GET") -> dict[str, Any]:
    """What the REST service answers.

    Raises:
        OSError: nothing.
        ValueError: something else than JSON.
    """
    return dict(_answer(master, path, method))


def _answer(master: str, path: str, method: str = "GET") -> Any:
    url = master if "://" in master else f"http://{master}"
    with urllib.request.urlopen(urllib.request.Request(f"{url}{path}", method=method), timeout=10) as answer:
        return json.load(answer)


def setting(master: str, key: str) -> str | None:
    """What a cluster's configuration says of a key; None where it says nothing, or is not told."""
    try:
        found = _answer(master, "/jobmanager/config")
    except (OSError, ValueError):
        return None
    return next((one["value"] for one in found if one["key"] == key), None)


def cancel_left(master: str, job: str, seconds: float = LEFT_SECONDS) -> bool:
    """Cancel a job whose workers are gone, and wait a while until it is over; False where it is, or nobody answers.

    Args:
        master: `host:port` of the cluster's REST service.
        job: its id.
        seconds: to wait at most.
    """
    deadline = time.monotonic() + seconds
    told = False
    with contextlib.suppress(OSError, ValueError):
        while ask(master, f"/jobs/{job}")["state"] not in OVER and time.monotonic() < deadline:
            if not told:
                ask(master, f"/jobs/{job}?mode=cancel", "PATCH")
                told = True
            time.sleep(0.2)
    return told


class ClusterJob:
    """The job of this name that is submitted next.

    Others may have the same name, before it and after: it is the first that was not there when this was made.

    Args:
        master: `host:port` of the cluster's REST service.
        name: of the job.

    Raises:
        RunnerError: the cluster does not answer.
    """

    def __init__(self, master: str, name: str):
        self.master, self.name = master, name
        self._id: str | None = None
        try:
            self._before = {job["jid"] for job in self._named()}
        except (OSError, ValueError) as error:
            raise _unreachable(master, error) from error

    def find(self) -> str | None:
        """Its id; None where it is not there yet."""
        if self._id is None:
            try:
                new = [job["jid"] for job in self._named() if job["jid"] not in self._before]
            except (OSError, ValueError):
                return None
            self._id = new[0] if new else None
        return self._id

    def failures(self) -> str:
        """What it has failed of, as Flink tells it: the newest first, those of its workers with their tracebacks."""
        if (job := self.find()) is None:
            return ""
        try:
            history = ask(self.master, f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]
        except (OSError, ValueError, KeyError):  # it does not answer, or no longer knows the job
            return ""
        told = [one for entry in history for one in (entry, *entry.get("concurrentExceptions", ()))]
        return "\n".join(str(one.get("stacktrace", "")) for one in told)

    @property
    def page(self) -> str:
        """The address of its page, where it is there; else that of the cluster's."""
        url = self.master if "://" in self.master else f"http://{self.master}"
        return url if self._id is None else f"{url}/#/job/running/{self._id}"

    def cancel(self, seconds: float = CANCEL_SECONDS) -> None:
        """Cancel it unless it is over, and wait until it is.

        Beam's job server forgets a job of a session cluster when it is told to cancel it: the job would run on.

        Raises:
            FlinkFailed: it still runs after `seconds`, or the cluster does not answer; with its id.
        """
        deadline = time.monotonic() + seconds
        running: list[str] = []
        reason = ""
        while True:
            try:
                running = [job["jid"] for job in self._named() if self._is_it(job["jid"]) and job["state"] not in OVER]
                if not running:
                    return
                for job in running:
                    ask(self.master, f"/jobs/{job}?mode=cancel", "PATCH")
                reason = "it was told to cancel it and still runs it"
            except (OSError, ValueError) as error:
                reason = f"it does not answer ({error})"
            if time.monotonic() >= deadline:
                break
            time.sleep(0.2)
        known = f"{', '.join(running)} ({self.name})" if running else self.name
        raise FlinkFailed(
            f"the job {known} may still run on the Flink cluster at {self.master}: for {seconds:.0f} s {reason}; "
            "cancel it there"
        )

    def _is_it(self, job: str) -> bool:
        return job == self._id if self._id is not None else job not in self._before

    def _named(self) -> list[dict[str, Any]]:
        """The jobs of its name, the oldest first."""
        named = [job for job in ask(self.master, "/jobs/overview")["jobs"] if job["name"] == self.name]
        return sorted(named, key=lambda job: job.get("start-time", 0))


def wait_for_slots(master: str, wanted: int, seconds: float = SLOT_SECONDS) -> None:
    """Wait until a cluster has as many free slots as a job has tasks side by side, and say so while it does not.

    Flink itself takes a job that it has no slots for and tries again for ever.

    Raises:
        RunnerError: there were too few after `seconds`; with the jobs that hold them.
    """
    deadline = time.monotonic() + seconds
    told = False
    while True:
        known = overview(master)
        free, total = int(known["slots-available"]), int(known["slots-total"])
        if wanted > total:
            raise RunnerError(
                f"--parallelism {wanted} needs as many slots, and the Flink cluster at {master} has {total}; "
                "start more TaskManagers, or give a smaller --parallelism"
            )
        if free >= wanted:
            return
        state = f"{free} of the {total} slots of the Flink cluster at {master} are free, and the job needs {wanted}"
        holders = f"the others are held by {_holders(master)}"
        if time.monotonic() >= deadline:
            raise RunnerError(
                f"after {seconds:.0f} s {state}; {holders}; cancel one, start more TaskManagers, or give a smaller "
                "--parallelism"
            )
        if not told:
            print(f"waiting for slots, {seconds:.0f} s at most: {state}; {holders}", file=sys.stderr, flush=True)
            told = True
        time.sleep(0.5)


def _holders(master: str) -> str:
    jobs = ask(master, "/jobs/overview")["jobs"]
    held = [f"{job['name']} ({job['jid']}, {job['state'].lower()})" for job in jobs if job["state"] not in OVER]
    return ", ".join(held) or "no job: TaskManagers that are going, or jobs that have just ended"
