"""Where a pipeline's processes show metrics, as an argument."""

from __future__ import annotations

import os
from dataclasses import replace

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint, require_prometheus


def endpoint_given(metrics: MetricsEndpoint | int | None, model: str) -> MetricsEndpoint | None:
    """The endpoint that an argument `metrics` means, of processes that hold a model.

    Raises:
        UsageError: it is no port, or prometheus-client is not installed.
    """
    if metrics is None:
        return None
    endpoint = metrics if isinstance(metrics, MetricsEndpoint) else MetricsEndpoint(metrics)
    port = endpoint.port
    if type(port) is not int or not 0 <= port <= 65535:
        raise UsageError(f"metrics is {port!r}; give a port such as 9400, 0 for any, or a MetricsEndpoint")
    require_prometheus()
    targets = None if endpoint.targets is None else os.path.abspath(endpoint.targets)
    version = endpoint.model_version or model_version(localize(model))
    return replace(endpoint, targets=targets, model_version=version)
