"""A trained model of another library, as what converts and compares it sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

Feeds = Mapping[str, "np.ndarray[Any, Any]"]
"""An array for each input of the ONNX model, rows first."""

MATRIX = "x"
"""The input of a model that takes one matrix of features, float32 [rows, features]."""


@dataclass(frozen=True)
class InputOf:
    """An input of a model that takes tensors."""

    example: np.ndarray[Any, Any]
    """Such as it takes."""

    rows: int | None
    """How many it takes at once; None for any number."""


@dataclass(frozen=True)
class Original:
    """A model that was trained."""

    width: int
    """How many features it takes."""

    names: tuple[str, ...] | None
    """Of the features, in their order, where the model knows them."""

    export: Callable[[Feeds], onnx.ModelProto]
    """The ONNX model, for inputs such as the feeds."""

    predict: Callable[[Feeds], Mapping[str, np.ndarray[Any, Any]]]
    """What the original gives for them, by the name of the ONNX model's output."""

    by_column: bool = False
    """Whether the features are inputs of their own, as the columns of the data are."""

    inputs: Mapping[str, InputOf] | None = None
    """Tensors that it takes, by name, instead of features."""

    missing: bool = False
    """Whether NaN is a missing value to it, and no error."""


def names_of(found: Any) -> tuple[str, ...] | None:
    """Names of features as texts; None where a library has made them up."""
    names = tuple(map(str, found)) if found is not None else ()
    made_up = all(name in (str(at), f"f{at}", f"Column_{at}", f"x{at}") for at, name in enumerate(names))
    return None if made_up else names


def both_classes(probability: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[rows, classes] of the probability of the second of two classes; others as they are."""
    return probability if probability.ndim == 2 else np.stack([1 - probability, probability], axis=1)
