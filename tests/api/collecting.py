"""What comes out of a pipeline that runs in this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam

import beamsplit as bs

RUNNER = "FnApiRunner"

_KEPT: dict[int, list[Any]] = {}
_numbers = itertools.count()


class Into:
    """Keeps elements in a list of this process; found by a number, since what is sent to a worker is a copy."""

    def __init__(self) -> None:
        self.number = next(_numbers)
        _KEPT[self.number] = []

    def __call__(self, element: Any) -> None:
        _KEPT[self.number].append(element)

    @property
    def found(self) -> list[Any]:
        return _KEPT[self.number]


def keep(collection: beam.PCollection, label: str = "keep") -> Into:
    """Keep all of a collection."""
    into = Into()
    collection | label >> beam.Map(into).with_output_types(type(None))
    return into


def run(elements: Iterable[Any], *transforms: beam.PTransform | Callable[[Any], Any]) -> list[Any]:
    """What comes out, in any order."""
    with beam.Pipeline(RUNNER) as pipeline:
        made = pipeline | beam.Create(list(elements))
        for number, transform in enumerate(transforms):
            made = made | str(number) >> transform
        into = keep(made)
    return into.found


def score(elements: Any, transform: bs.Score, kind: Any = None) -> tuple[list[Any], list[bs.RowError], Any]:
    """(predictions, errors, the type of predictions)."""
    with beam.Pipeline(RUNNER) as pipeline:
        created = pipeline | beam.Create(elements)
        if kind is not None:
            created = created | beam.Map(lambda element: element).with_output_types(kind)
        scored = created | transform
        good, bad = keep(scored.predictions, "good"), keep(scored.errors, "bad")
        found = scored.predictions.element_type
        assert scored.errors.element_type is bs.RowError
    return good.found, bad.found, found
