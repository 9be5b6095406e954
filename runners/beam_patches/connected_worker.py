"""A worker that says when its control channel is up: what comes from then on, the runner sees.

Beam's worker tells nobody, so its own pool answers a runner before it knows whether the worker can start at all: where
it cannot, the runner waits for ever.

Beam: https://github.com/apache/beam/issues/18515 (a worker cannot tell the runner that it failed as it starts).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def run_worker(argv: list[str], connected: Callable[[], None]) -> None:
    """Be one of Beam's workers until the runner has no more work; `connected` is called when the runner is reached."""
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    class Harness(sdk_worker.SdkHarness):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            connected()

    sdk_worker_main.SdkHarness = Harness  # type: ignore[misc]
    sdk_worker_main.main(argv)
