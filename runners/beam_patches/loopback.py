"""Beam's servers for worker processes of this machine, kept to this machine.

Beam: https://github.com/apache/beam/pull/10161 opened them to all interfaces. To be reported: the in-process runner's
servers, which ask nobody who they are, should listen on the loopback interface.
"""

from __future__ import annotations

from typing import Any

EVERYWHERE, HERE = "[::]", "127.0.0.1"


class _Server:
    """A gRPC server that listens on the loopback interface where it was told to listen on all."""

    def __init__(self, server: Any):
        self._server = server

    def add_insecure_port(self, address: str) -> int:
        """As gRPC's own; gives the port."""
        return int(self._server.add_insecure_port(address.replace(EVERYWHERE, HERE)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class _Grpc:
    """The module `grpc` with such servers."""

    def __init__(self, module: Any):
        self._module = module

    def server(self, *args: Any, **options: Any) -> _Server:
        """As gRPC's own."""
        return _Server(self._module.server(*args, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def keep_servers_here() -> None:
    """Let the in-process runner's servers listen on the loopback interface only.

    Beam binds them to all interfaces and asks nobody who they are: who reaches them reads the rows, and gives workers
    things to do. No option reaches the address.
    """
    from apache_beam.runners.portability import local_job_service
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    modules: list[Any] = [worker_handlers, local_job_service]
    for module in modules:
        if not isinstance(module.grpc, _Grpc):
            module.grpc = _Grpc(module.grpc)
