"""`--metrics`: where the processes of a job show what they count."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.options.values import ScoreOptions
from beamsplit.pipelines.running.job_name import job_name
from beamsplit.transforms.telemetry.endpoint import (
    MetricsEndpoint,
    remove_dead_targets,
    require_prometheus,
    stop_serving,
)


def metrics_endpoint(options: ScoreOptions, model: str, local: bool) -> MetricsEndpoint | None:
    """Where the processes of a job show their metrics; None where that is not asked for.

    Args:
        options: of the job.
        model: its file, on this machine.
        local: whether workers run on this machine.

    Raises:
        UsageError: it cannot work; one line with the fix.
    """
    watching = options.watching
    if watching.metrics is None:
        host, targets = watching.metrics_host, watching.metrics_targets
        given = "metrics_targets" if targets is not None else "metrics_host" if host != "127.0.0.1" else None
        if given is not None:
            raise UsageError(f"--{given} is for --metrics, which is not given; add --metrics 9400, or leave it out")
        return None
    if options.sink.resume:
        raise UsageError("--metrics does not go with --resume, whose splits are scored in one step; leave one out")
    name, version = job_name(options), model_version(model)
    endpoint = MetricsEndpoint(watching.metrics, watching.metrics_host, watching.metrics_targets, name, version)
    return checked_endpoint(endpoint) if local else endpoint


def checked_endpoint(endpoint: MetricsEndpoint) -> MetricsEndpoint:
    """The endpoint, of processes of this machine.

    Raises:
        UsageError: it cannot work here.
    """
    require_prometheus()
    _check_host(endpoint.host)
    targets = endpoint.targets
    if targets is None:
        return endpoint
    if os.path.exists(targets) and not os.path.isdir(targets):
        raise UsageError(f"--metrics_targets {targets} is a file, and a folder is wanted; type another name")
    return replace(endpoint, targets=os.path.abspath(targets))


def _check_host(host: str) -> None:
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--metrics_host {host} is no address of this machine ({error}); type 127.0.0.1, or 0.0.0.0 for all"
        ) from None


@contextlib.contextmanager
def metrics_over(endpoint: MetricsEndpoint | None) -> Iterator[None]:
    """Behind it, this process shows nothing any more, and no file tells of workers that have ended."""
    try:
        yield
    finally:
        if endpoint is not None:
            stop_serving(endpoint)
            if endpoint.targets is not None:
                remove_dead_targets(endpoint.targets)
