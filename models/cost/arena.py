"""Memory that one session takes for what it computes, from the sizes of its tensors: an estimate, nothing is run.

ONNX Runtime takes a tensor's place from its arena when a node makes it, and gives it back behind the last node that
reads it; elementwise nodes write over what nobody reads any more. What the arena ever took it keeps. The first run
takes piece by piece, and from the second on all pieces come out of one block that is as large as the most that lay
there at once (the memory pattern), beside the pieces of the first run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from beamsplit.models.graph.operators import BROADCAST, UNARY

ARENA_TIMES = 2.0
"""Bytes of an arena for each that lies there at once: the pieces of the first run, and the block of the others."""

_IN_PLACE = frozenset(
    {*UNARY, *BROADCAST, "BatchNormalization", "Dropout", "Flatten", "Reshape", "Softmax", "Squeeze", "Unsqueeze"}
)


class ArenaNode(NamedTuple):
    """A node that runs."""

    operator: str
    reads: Sequence[str]
    """Tensors that are no constants."""

    makes: Sequence[str]


def live_bytes(steps: Sequence[ArenaNode], sizes: Mapping[str, float], outputs: Iterable[str]) -> Iterator[float]:
    """While each node runs, the bytes of the tensors that nodes made and that are still read; inputs are the caller's.

    Args:
        steps: in the order in which they run.
        sizes: bytes of tensors by name; what has none does not count.
        outputs: tensors that stay to the end.
    """
    last = {name: at for at, step in enumerate(steps) for name in step.reads}
    last |= {name: len(steps) for name in outputs}
    ends: dict[int, list[str]] = {}
    held: dict[str, float] = {}
    total = 0.0
    for at, step in enumerate(steps):
        made = {name: sizes.get(name, 0.0) for name in step.makes}
        first = next(iter(made), None)
        over = _written_over(step, held, last, at)
        if over is not None and first is not None and held[over] == made[first]:
            total -= held.pop(over)
        for name, nbytes in made.items():
            held[name] = nbytes
            total += nbytes
            ends.setdefault(last.get(name, at), []).append(name)
        yield total
        for name in ends.pop(at, ()):
            total -= held.pop(name, 0.0)


def _written_over(step: ArenaNode, held: Collection[str], last: Mapping[str, int], at: int) -> str | None:
    if step.operator not in _IN_PLACE:
        return None
    return next((name for name in step.reads if name in held and last[name] == at), None)
