"""A model that is run whole, in one session."""

from __future__ import annotations

from dataclasses import dataclass, replace

from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.runs import Fetch
from beamsplit.models.running.session import Session, SessionOptions, get_session


@dataclass(frozen=True)
class WholeModel:
    """A model in one file and how it is run."""

    file: ModelFile
    session: SessionOptions

    def fetched(self, fetch: Fetch) -> WholeModel:
        """The same with its file on this machine."""
        return replace(self, file=replace(self.file, path=fetch(self.file.path, "")))

    def open(self, device: int | None = None) -> Session:
        """This process's session; loaded by the first call.

        Args:
            device: the GPU that falls to this worker; None leaves that of the options.

        Raises:
            UsageError: ONNX Runtime cannot load the model.
        """
        return get_session(self.file, self.session if device is None else replace(self.session, device=device))
