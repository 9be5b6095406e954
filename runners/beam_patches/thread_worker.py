"""One of Beam's workers as a thread of this process, for what takes no time (see `parts_apart.py`).

Beam's own pool does the same unless told otherwise; what ends such a worker has no public name there.

Beam: none yet. To be reported: `SdkHarness` should have a `stop`.
"""

from __future__ import annotations

import contextlib
import threading

import grpc

PARTS = "beamsplit.parts"
"""Parameter of an external environment whose workers make the parts of sources, and nothing else."""


class ThreadWorker:
    """A worker that is connected.

    Args:
        worker_id: as the runner knows it.
        control: `host:port` of the runner's control service.

    Raises:
        FutureTimeoutError: of gRPC, where nobody answers there.
    """

    def __init__(self, worker_id: str, control: str):
        from beamsplit.runners.beam_patches.passing_harness import PassingHarness

        self._harness = PassingHarness(control, worker_id)
        self._thread = threading.Thread(target=self._run, name=f"worker-{worker_id}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has a runner still."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Let it end; it does too where the runner is gone."""
        self._harness.stop()

    def end(self) -> None:
        """End it now, whether or not its runner hears of it."""
        self._harness.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.suppress(grpc.RpcError):  # the runner is gone
                self._harness.run()
        finally:
            # Beam does so only where the runner ends in order; what waits on any of it would stay.
            self._harness.close()
