"""Distributed inference of ONNX models as a dataflow, on Apache Beam: `import beamsplit as bs`.

Names are imported when they are used: `import beamsplit` imports neither Beam nor ONNX Runtime.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

_HERE = os.path.dirname(os.path.abspath(__file__))

if not os.path.isdir(os.path.join(_HERE, "models")):
    # A checkout: the layers lie beside this folder. Installed, they lie in it.
    __path__.append(os.path.dirname(_HERE))

if TYPE_CHECKING:
    from beamsplit.models.errors import UsageError
    from beamsplit.pipelines.api.handler import OnnxModelHandler
    from beamsplit.pipelines.api.job import JobFailed, JobResult, score
    from beamsplit.pipelines.api.model_plan import ModelPlan, plan
    from beamsplit.pipelines.api.model_shards import ModelShards
    from beamsplit.pipelines.api.model_strategy import ModelStrategy
    from beamsplit.pipelines.api.score_transform import Score, ScoreResult
    from beamsplit.pipelines.api.scorer import RowsFailed, ScoredRows, Scorer
    from beamsplit.transforms.failures.row_error import RowError
    from beamsplit.transforms.telemetry.endpoint import MetricsEndpoint

_WHERE = {
    "JobFailed": "pipelines.api.job",
    "JobResult": "pipelines.api.job",
    "MetricsEndpoint": "transforms.telemetry.endpoint",
    "ModelPlan": "pipelines.api.model_plan",
    "ModelShards": "pipelines.api.model_shards",
    "ModelStrategy": "pipelines.api.model_strategy",
    "OnnxModelHandler": "pipelines.api.handler",
    "RowError": "transforms.failures.row_error",
    "RowsFailed": "pipelines.api.scorer",
    "Score": "pipelines.api.score_transform",
    "ScoreResult": "pipelines.api.score_transform",
    "ScoredRows": "pipelines.api.scorer",
    "Scorer": "pipelines.api.scorer",
    "UsageError": "models.errors",
    "plan": "pipelines.api.model_plan",
    "score": "pipelines.api.job",
}
"""Public name -> module."""

__all__ = [
    "JobFailed",
    "JobResult",
    "MetricsEndpoint",
    "ModelPlan",
    "ModelShards",
    "ModelStrategy",
    "OnnxModelHandler",
    "RowError",
    "RowsFailed",
    "Score",
    "ScoreResult",
    "ScoredRows",
    "Scorer",
    "UsageError",
    "plan",
    "score",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'beamsplit' has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"beamsplit.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
