"""A worker that a pool has started: Beam's SDK worker, which says when it is connected."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from beamsplit.runners.beam_patches.connected_worker import run_worker
from beamsplit.runners.beam_patches.lean_import import import_beam
from beamsplit.runners.without_pandas import leave_pandas_out

PROVISION_SECONDS = 120.0


def _provision() -> None:
    """Ask the runner for the pipeline's options, as the start of Beam's containers does."""
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
    from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
    from google.protobuf import json_format

    with grpc.insecure_channel(os.environ["BEAMSPLIT_PROVISION"]) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(os.environ["WORKER_ID"]))
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(named)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = stub.GetProvisionInfo(request, timeout=PROVISION_SECONDS, wait_for_ready=True).info
    os.environ["PIPELINE_OPTIONS"] = json_format.MessageToJson(info.pipeline_options)
    os.environ["RUNNER_CAPABILITIES"] = " ".join(info.runner_capabilities)


def main() -> None:
    """Run until the runner has no more work."""
    logging.basicConfig(level=logging.WARNING)
    leave_pandas_out()
    import_beam()
    _provision()
    run_worker(sys.argv, Path(os.environ["BEAMSPLIT_READY"]).touch)


if __name__ == "__main__":
    main()
