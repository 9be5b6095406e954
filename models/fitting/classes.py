"""The names of a model's classes, as far as the model itself tells them.

ZipMap                              classlabels_*  -> the output that it makes
Tree, SVM and linear classifiers    classlabels_*  -> outputs made of their scores, class by class
label = classes[ArgMax(...)]        classes        -> outputs with a score for each
metadata                            `labels` and the like -> outputs of as many scores
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from beamsplit.models.graph.model_file import ModelFile, parse_model
from beamsplit.models.graph.skeleton import holds

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]

Names = tuple[str, ...] | tuple[int, ...]

METADATA = ("labels", "class_names", "classes", "id2label", "names")
"""Keys of a model's metadata that hold the names of its classes, the first that does counts."""

_CLASSIFIERS = ("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier")

_CLASS_BY_CLASS = ("Identity", "Cast", "Normalizer", "Softmax", "LogSoftmax", "Sigmoid", "Exp", "Log", "Flatten")
"""Operators that keep a score in the place of its class."""


@dataclass(frozen=True)
class ClassNames:
    """Names of classes, in the order of their scores: texts, or the numbers that the model calls them by."""

    outputs: tuple[tuple[str, Names], ...] = ()
    """(output, names), as the graph tells."""

    listed: Names = ()
    """Of any output with as many scores: from the metadata, or the list that the model's own labels are taken from."""

    def of(self, output: str, classes: int | None) -> Names | None:
        """The names of the classes of an output with so many scores a row; None where they are not known."""
        names = dict(self.outputs).get(output, self.listed)
        return names if names and classes == len(names) else None

    def told(self, output: str) -> Names:
        """The names that the model tells of an output, whatever its size."""
        return dict(self.outputs).get(output, self.listed)


def class_names(path: str, metadata: Mapping[str, str]) -> ClassNames:
    """What a model tells of its classes.

    Args:
        path: of the model; parsed only if it has an operator that knows classes.
        metadata: its metadata_props.
    """
    listed = next((names for key in METADATA if (names := parse_names(metadata.get(key, ""), key != "names"))), ())
    if not holds(path, "classlabels") and not holds(path, "ArrayFeatureExtractor"):
        return ClassNames((), listed)
    graph = parse_model(ModelFile(path)).graph
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {}
    for output in graph.output:
        names = _of_output(output.name, makers)
        if names:
            outputs[output.name] = names
    return ClassNames(tuple(outputs.items()), listed or _of_label(graph, makers))


def agreement(names: Names, scores: Array, labels: Sequence[str | int]) -> int:
    """Rows of which the class with the greatest score is the label that the model gives itself.

    Of a model whose names are in the order of its scores that is all rows, or nearly (a support vector machine's
    probabilities may see a few otherwise than its label). Of the two decision values of a binary one it is none: ONNX
    Runtime gives them with their signs the other way round.

    Args:
        names: of the classes.
        scores: `[rows, classes]`.
        labels: one a row.
    """
    places = np.argmax(scores, axis=-1).tolist()
    return sum(names[place] == label for place, label in zip(places, labels, strict=True))


SHOWN = 8
"""Names of classes in a note."""


def zipmap_note(path: str) -> str:
    """What to tell of a model whose ZipMap is left out: which score is whose."""
    lists = []
    for output, names in class_names(path, {}).outputs:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lists.append(f"{output} is one list a row, for the classes {', '.join(map(str, names[:SHOWN]))}{more}")
    return f"the model's ZipMap is left out: {'; '.join(lists)} (--finish expand gives each a column)"


def _of_output(name: str, makers: Mapping[str, onnx.NodeProto]) -> Names:
    """The names of the node that the scores come from, through operators that leave each in its place."""
    node = makers.get(name)
    while node is not None:
        if node.op_type == "ZipMap":
            return _labels(node)
        if node.op_type in _CLASSIFIERS:
            return _labels(node) if len(node.output) > 1 and node.output[1] == name else ()
        if node.op_type not in _CLASS_BY_CLASS:
            return ()
        name = node.input[0]
        node = makers.get(name)
    return ()


def _labels(node: onnx.NodeProto) -> Names:
    for attribute in node.attribute:
        if attribute.name.startswith("classlabels"):
            if attribute.strings:
                return tuple(text.decode("utf-8", "replace") for text in attribute.strings)
            if attribute.ints:
                return tuple(attribute.ints)
    return ()


def _of_label(graph: onnx.GraphProto, makers: Mapping[str, onnx.NodeProto]) -> Names:
    """The list that a label output is taken from by the place of the greatest score, as skl2onnx writes classifiers."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    for output in graph.output:
        chosen = next((node for node in _back(output.name, makers) if node.op_type == "ArrayFeatureExtractor"), None)
        if chosen is None or chosen.input[0] not in weights:
            continue
        if not any(node.op_type == "ArgMax" for node in _back(chosen.input[1], makers)):
            continue
        values = numpy_helper.to_array(weights[chosen.input[0]]).reshape(-1)
        if values.dtype.kind in "OSU":
            return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist())
        if values.dtype.kind in "iu":
            return tuple(values.tolist())
    return ()


def _back(name: str, makers: Mapping[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes that a value comes through, from its maker back, as long as they only recast or reshape."""
    while (node := makers.get(name)) is not None:
        yield node
        if node.op_type not in ("Identity", "Cast", "Reshape", "Squeeze", "Flatten"):
            return
        name = node.input[0]


def parse_names(text: str, plain: bool = True) -> Names:
    """Names of classes in a text: JSON, a Python list or dict (as YOLO's exporters write), or `plain`: commas or lines.

    >>> parse_names('["cat", "dog"]'), parse_names("{0: 'cat', 1: 'dog'}"), parse_names("cat, dog")
    (('cat', 'dog'), ('cat', 'dog'), ('cat', 'dog'))
    """
    text = text.strip()
    if not text:
        return ()
    if text[0] in "[{(":
        return _of_value(_value(text))
    if not plain:
        return ()
    parts = [part.strip() for part in (text.splitlines() if "\n" in text else text.split(","))]
    return tuple(parts) if len(parts) > 1 and all(parts) else ()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)  # literals only: nothing is run
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _of_value(found: Any) -> Names:
    if isinstance(found, dict):
        if found and all(isinstance(value, int) and not isinstance(value, bool) for value in found.values()):
            found = {value: key for key, value in found.items()}  # {"cat": 0}
        try:
            numbered = {int(key): value for key, value in found.items()}
        except (TypeError, ValueError):
            return ()
        if sorted(numbered) != list(range(len(numbered))):
            return ()
        found = [numbered[number] for number in range(len(numbered))]
    if not isinstance(found, (list, tuple)) or len(found) < 2:
        return ()
    if all(isinstance(name, str) for name in found):
        return tuple(found)
    if all(isinstance(name, int) and not isinstance(name, bool) for name in found):
        return tuple(found)
    return ()
