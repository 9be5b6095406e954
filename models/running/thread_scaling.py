"""Whether several threads run a model faster than one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def thread_scaling(
    run: Callable[[], object],
    workers: int,
    *,
    budget_seconds: float = 0.1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """How much faster `workers` threads call `run` than one thread does: 1.0 is not at all, `workers` perfectly.

    Takes about `budget_seconds`, but calls `run` at least `workers + 2` times.
    """
    if workers < 2:
        return 1.0
    run()
    began = clock()
    run()
    once = max(clock() - began, 1e-7)
    # One thread's calls and then, if nothing scales, `workers` times as many.
    calls = max(1, int(budget_seconds / (once * (workers + 1))))
    alone = _seconds(run, 1, calls, clock)
    together = _seconds(run, workers, calls, clock)
    return workers * alone / max(together, 1e-9)


def _seconds(run: Callable[[], object], threads: int, calls: int, clock: Callable[[], float]) -> float:
    ready = threading.Barrier(threads + 1)
    failed: list[BaseException] = []

    def work() -> None:
        ready.wait()
        try:
            for _ in range(calls):
                run()
        except BaseException as error:
            failed.append(error)

    pool = [threading.Thread(target=work) for _ in range(threads)]
    for thread in pool:
        thread.start()
    ready.wait()
    began = clock()
    for thread in pool:
        thread.join()
    elapsed = clock() - began
    if failed:
        raise failed[0]
    return elapsed
