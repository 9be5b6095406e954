"""A model with what it is run on while it is measured."""

from __future__ import annotations

from dataclasses import dataclass

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions
from beamsplit.models.values.tensors import Array


@dataclass(frozen=True)
class SampleRun:
    """One micro-batch of a model, as one worker runs it."""

    model_file: ModelFile
    feeds: dict[str, Array]
    """One array an input, with the micro-batch's rows."""

    options: SessionOptions
    """Of one worker's session: the provider and threads that seconds are to be of."""

    rows: int
    """In the micro-batch."""

    cache_folder: str | None = ""
    """Where measured profiles are kept; `""` is `profile_cache.default_folder()`, None none."""
