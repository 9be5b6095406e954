"""The ways in which the rows of the data may be the rows of a model that fixes sizes: which input has them where.

x[4, 3]         a column of [3]: a batch of 4        a column of [4, 3]: one row is all of x
x[1, samples]   a column of [50]: a batch of 1
x[n, 3], s[1]   columns of [3] and of one number: a batch, but s is given whole, so rows run one by one
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from beamsplit.models.binding.bound_input import BoundInput
from beamsplit.models.graph.signature import Signature, TensorSpec


@dataclass(frozen=True)
class Way:
    """One of them."""

    axes: Mapping[str, int]
    """Of each input that takes columns the axis of the rows; of those given whole the one that is put in front."""

    whole: tuple[str, ...] = ()
    """Inputs of which each row of the data is all."""

    exact: bool = True
    """Whether columns must have the very axes that the model has, because the guess is a bold one."""

    def sizes(self, signature: Signature) -> dict[str, int | None]:
        """How many rows each input takes in a run; None for any number."""
        shapes = {spec.name: spec.shape or () for spec in self.signature(signature).inputs}
        found = {name: shapes[name][axis] if axis < len(shapes[name]) else None for name, axis in self.axes.items()}
        return {name: size if isinstance(size, int) else None for name, size in found.items()}

    def signature(self, signature: Signature) -> Signature:
        """The inputs as the data fills them: an axis of 1 in front of those that are given whole."""
        inputs = tuple(
            replace(spec, shape=(1, *spec.shape)) if spec.name in self.whole and spec.shape is not None else spec
            for spec in signature.inputs
        )
        return Signature(inputs, signature.outputs)

    def fits(self, inputs: Collection[BoundInput]) -> bool:
        """Whether columns that could be folded into the inputs are as exact as the way wants them."""
        return not self.exact or all(_exact(bound) for bound in inputs)


def _exact(bound: BoundInput) -> bool:
    if len(bound.columns) > 1:
        return all(isinstance(dim, int) for dim in bound.dims or ())
    if all(size == 1 for size in bound.row_shape):
        return True
    return bound.fold.sources is not None and None not in bound.fold.sources


def fixed_ways(signature: Signature, constants: Collection[str]) -> Iterator[Way]:
    """Ways in which every input has the rows on an axis of fixed size, the most plausible first."""
    specs = _open(signature, constants)
    if not specs or not all(spec.shape for spec in specs):
        return
    seen: list[Mapping[str, int]] = []
    first = {spec.name: 0 for spec in specs}
    if _together(specs, first):
        seen.append(first)
        yield Way(first, exact=False)
    if not all(isinstance(dim, int) for spec in specs for dim in spec.shape or ()):
        return
    for size in dict.fromkeys(specs[0].shape or ()):
        axes = {spec.name: (spec.shape or ()).index(size) for spec in specs if size in (spec.shape or ())}
        if len(axes) == len(specs) and axes not in seen:
            seen.append(axes)
            yield Way(axes)


def whole_ways(
    signature: Signature, constants: Collection[str], guesses: Collection[Mapping[str, int | None]]
) -> Iterator[Way]:
    """Ways in which rows of the data are all of some inputs, or of every input.

    Args:
        signature: of the model.
        constants: inputs that no column fills.
        guesses: axes of inputs whose sizes are open.
    """
    specs = _open(signature, constants)
    if not all(spec.shape is not None for spec in specs):
        return
    for guess in guesses:
        axes = {spec.name: axis for spec in specs if (axis := guess.get(spec.name)) is not None}
        if axes and len(axes) < len(specs):
            yield _with_whole(specs, axes)
    if not guesses:
        for size in dict.fromkeys((spec.shape or (None,))[0] for spec in specs):
            axes = {spec.name: 0 for spec in specs if (spec.shape or (None,))[0] == size}
            if isinstance(size, int) and size > 1 and len(axes) < len(specs):
                yield _with_whole(specs, axes)
    if specs:
        yield _with_whole(specs, {})


def _with_whole(specs: list[TensorSpec], axes: Mapping[str, int]) -> Way:
    whole = tuple(spec.name for spec in specs if spec.name not in axes)
    return Way({**dict.fromkeys(whole, 0), **axes}, whole)


def _open(signature: Signature, constants: Collection[str]) -> list[TensorSpec]:
    return [spec for spec in signature.inputs if spec.name not in constants]


def _together(specs: list[TensorSpec], axes: Mapping[str, int]) -> bool:
    """Whether all have one fixed size there, or some have 1."""
    sizes = {(spec.shape or ())[axes[spec.name]] for spec in specs}
    return all(isinstance(size, int) and size > 0 for size in sizes) and len(sizes - {1}) <= 1
