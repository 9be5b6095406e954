"""Sessions of still twins: what a model that draws random numbers is checked by (`models.graph.random_draws`)."""

from __future__ import annotations

from beamsplit.models.graph.random_draws import still_file
from beamsplit.models.running.session import Session, get_session


def still(session: Session) -> Session:
    """The session of a model's still twin; itself where the model draws nothing.

    Raises:
        UsageError: ONNX Runtime cannot load the twin.
    """
    file = still_file(session.model)
    return session if file is session.model else get_session(file, session.options)
