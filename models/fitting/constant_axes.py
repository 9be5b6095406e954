"""Which axis of an input given with --set has as many rows as the data of each run."""

from __future__ import annotations

from collections.abc import Mapping

from beamsplit.models.graph.signature import Signature


def with_constants(
    axes: Mapping[str, int | None], signature: Signature, sets: Mapping[str, str]
) -> dict[str, int | None]:
    """The rows axes of all inputs, with those given with --set.

    These have the rows where they have the symbol that the others carry the rows on: a recurrent state
    [2, batch, hidden] that starts from zeros has as many rows as the data of each run. One value (no array from a file)
    fills any shape, so that it may also have them on its only axis of open size, or else its first, unless columns tell
    that size: scikit-learn's converters write [?, 1] for each column of a table.
    """
    shapes = {spec.name: spec.shape or () for spec in signature.inputs}
    symbols = {shapes[name][axis] for name, axis in axes.items() if axis is not None and axis < len(shapes[name])}
    told = {dim for name, shape in shapes.items() if name not in sets for dim in shape if isinstance(dim, str)}
    full = {name: axes.get(name) for name in shapes}
    for name, value in sets.items():
        shape = shapes.get(name, ())
        dynamic = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int)]
        shared = [axis for axis in dynamic if shape[axis] is not None and shape[axis] in symbols]
        if not shared and not value.endswith(".npy"):
            free = [axis for axis in dynamic if shape[axis] not in told]
            shared = free if len(free) == 1 else [0] if 0 in free else []
        full[name] = shared[0] if len(shared) == 1 else None
    return full
