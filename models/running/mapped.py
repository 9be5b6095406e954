"""Large models that are run a few times only, to plan and to check: their weights stay in their file.

ONNX Runtime maps external data, and then packs the weights of products and convolutions into memory of its own: worth
it for who scores rows, not for who compares the parts of a model with the whole. Mapped pages belong to the file: the
system takes them back when it needs them, so that a model larger than the memory can be run too, slowly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from beamsplit.models.free_memory import free_memory
from beamsplit.models.graph.model_file import external_bytes
from beamsplit.models.running.providers import CPU
from beamsplit.models.running.session import Session, SessionOptions

LEAST_BYTES = 256 << 20
"""Of external data: the memory of a smaller model matters less than its speed."""


def for_few_runs(options: SessionOptions, path: str) -> SessionOptions:
    """The options with the weights of a large model left in their file.

    Args:
        options: of the session; on a GPU the weights are copied there anyway.
        path: of the model on this machine.
    """
    if options.providers[:1] != (CPU,) or external_bytes(path) < LEAST_BYTES:
        return options
    return replace(options, mapped=True)


@contextmanager
def unmapped(session: Session) -> Iterator[Session | None]:
    """The session as who scores rows has it, to be timed, and gone behind the block; None without memory for it."""
    if not session.options.mapped:
        yield session
    elif session.model_bytes > free_memory():
        yield None
    else:
        yield Session(session.model, replace(session.options, mapped=False))
