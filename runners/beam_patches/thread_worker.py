"""One of Beam's workers as a thread of this process, for what takes no time (see `parts_apart.py`).

Beam's own pool does the same unless told otherwise; what ends such a worker has no public name there.

Beam: none yet. To be reported: `SdkHarness` should have a `stop`.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

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
        from apache_beam.runners.worker import sdk_worker

        self._harness: Any = sdk_worker.SdkHarness(control, worker_id=worker_id)
        threading.Thread(target=self._run, name=f"worker-{worker_id}", daemon=True).start()

    def stop(self) -> None:
        """Let it end; it does too where the runner is gone."""
        from apache_beam.utils.sentinel import Sentinel

        self._harness._responses.put(Sentinel.sentinel)

    def _run(self) -> None:
        try:
            with contextlib.suppress(grpc.RpcError):  # the runner is gone
                self._harness.run()
        finally:
            # Beam does so only where the runner ends in order; what waits on either would stay.
            self.stop()
            self._harness._data_channel_factory.close()
