"""A model that a worker opens once, with the GPU that falls to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import Session, SessionOptions, get_session
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.worker import device_in_turn


class LoadsOnce:
    """What a step that runs one ONNX file has of its session; a dataclass of these fields inherits it."""

    file: str | None
    sha256: str
    session: SessionOptions
    devices: int
    job_dir: str | None

    def loaded(self) -> Session:
        """This worker's session; loaded by the first call.

        Raises:
            UsageError: the file cannot be read, or is not what the plan saved.
        """
        # One a DoFn instance, so one a worker: a GPU is chosen once. Not a field, so it does not travel.
        session: Session | None = self.__dict__.get("_made_session")
        if session is None:
            assert self.file is not None, "there is no model to load"
            options = self.session
            if self.devices:
                options = replace(options, device=device_in_turn(self.job_dir, self.devices))
            session = self.__dict__["_made_session"] = get_session(ModelFile(localize(self.file, self.sha256)), options)
        return session

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the session."""
        return {name: value for name, value in self.__dict__.items() if name != "_made_session"}
