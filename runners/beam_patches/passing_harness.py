"""One of Beam's workers in a process that outlives its runner: it ends with that, without a word, and leaves nothing.

A worker of Beam's is a process that goes with its runner, so threads die with an exception of gRPC's, bundles fail with
a traceback in stderr, and channels stay open:

    runner goes -> data stream breaks  -> its thread raises                      here: it is at its end
                                       -> bundles: "Channel closed prematurely"  here: answered, to nobody
                -> control stream breaks -> the worker raises, closes nothing    here: `close`
                -> state stream breaks   -> its thread raises                    here: none is opened

Steps that only make the parts of sources have no state and no side inputs.

Beam: none yet. To be reported: `SdkHarness` should have a `stop`, and end in order where the runner ends its streams.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker import data_plane, sdk_worker
from apache_beam.runners.worker.channel_factory import GRPCChannelFactory
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor

GONE = "the runner is gone"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class PassingHarness(sdk_worker.SdkHarness):
    """A worker that ends with its runner.

    Args:
        control: `host:port` of the runner's control service.
        worker_id: as the runner knows it.

    Raises:
        FutureTimeoutError: of gRPC, where nobody answers there.
    """

    def __init__(self, control: str, worker_id: str):
        try:
            super().__init__(control, worker_id=worker_id)
        except grpc.FutureTimeoutError:
            self._control_channel.close()  # else it is tried for ever
            raise
        self._channels = _DataChannels(worker_id)
        harness: Any = self
        cache: Any = self._bundle_processor_cache
        harness._data_channel_factory = cache.data_channel_factory = self._channels
        harness._state_handler_factory = cache.state_handler_factory = _NoState()

    def stop(self) -> None:
        """Answer no more: the runner then ends the control stream, and `run` returns."""
        from apache_beam.utils.sentinel import Sentinel

        self._responses.put(Sentinel.sentinel)

    def close(self) -> None:
        """Close all that is open, whatever the runner does."""
        self.stop()
        self._channels.close()
        self._bundle_processor_cache.shutdown()
        self._report_progress_executor.shutdown(wait=False)
        self._control_channel.close()

    def _execute(self, task: Any, request: Any) -> None:
        def answered() -> Any:
            try:
                return task()
            except Exception as error:
                # What was asked of the runner, or awaited from it, while it went.
                if not isinstance(error, grpc.RpcError) and not self._channels.gone:
                    raise
                return beam_fn_api_pb2.InstructionResponse(instruction_id=request.instruction_id, error=GONE)

        super()._execute(answered, request)


class _DataChannels(data_plane.GrpcClientDataChannelFactory):
    """Beam's, which know their wires and whether one broke."""

    def __init__(self, worker_id: str):
        super().__init__(worker_id=worker_id)
        self._wires: list[Any] = []
        self._opened: dict[tuple[str, str], _DataChannel] = {}
        self._data_channel_cache: Any = self._opened

    @property
    def gone(self) -> bool:
        """Whether a stream was broken off."""
        return any(channel.gone for channel in list(self._opened.values()))

    def create_data_channel_from_url(self, url: str, data_stream_id: str | None = None) -> Any:
        if not url:
            return None
        with self._lock:
            key = url, data_stream_id or ""
            if key not in self._opened:
                wire = GRPCChannelFactory.insecure_channel(url, options=UNLIMITED)
                self._wires.append(wire)
                ids = [WorkerIdInterceptor(self._worker_id)]
                if data_stream_id:
                    ids.append(data_plane.DataStreamIdInterceptor(data_stream_id))
                stub = beam_fn_api_pb2_grpc.BeamFnDataStub(grpc.intercept_channel(wire, *ids))
                self._opened[key] = _DataChannel(stub)
            return self._opened[key]

    def close(self) -> None:
        for channel in list(self._opened.values()):
            channel.end()
        for wire in self._wires:
            wire.close()


class _DataChannel(data_plane.GrpcClientDataChannel):
    def __init__(self, stub: Any):
        self.gone = False
        super().__init__(stub)

    def end(self) -> None:
        """Let its threads end, not as `close` does, which raises what was told already."""
        self._enqueue_to_send(self._WRITES_FINISHED)

    def _read_inputs(self, elements_iterator: Iterable[Any]) -> None:
        super()._read_inputs(self._until_it_breaks(elements_iterator))

    def _until_it_breaks(self, elements: Iterable[Any]) -> Iterator[Any]:
        try:
            yield from elements
        except grpc.RpcError:
            self.gone = True


class _NoState(sdk_worker.StateHandlerFactory):
    def create_state_handler(self, api_service_descriptor: Any) -> Any:
        return _NoStateHandler()

    def close(self) -> None:
        """Nothing is open."""


class _NoStateHandler(sdk_worker.ThrowingStateHandler):
    @contextlib.contextmanager
    def process_instruction_id(self, bundle_id: str, cache_tokens: Any) -> Iterator[None]:
        yield
