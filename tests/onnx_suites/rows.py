"""Which axis-0 inputs of a case carry its rows, and whether its rows are independent: ONNX Runtime says it, not we.

An input carries rows where its first axis is as long as that of every output; the other inputs are the same for all
rows. Rows are independent where, for ONNX Runtime, another order of the rows gives the same outputs in that order, and
a row gives the same whatever stands in the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime as ort

from beamsplit.models.graph.operators import DRAWING
from beamsplit.models.values.tensors import numpy_dtype
from tests.onnx_suites.cases import Case, Value

SIZE = 64
"""Rows that are tried one by one, at most."""

RUNTIME = "ONNX Runtime does not run it"
NO_TENSOR = "an input or output is a sequence, optional or map"
NO_COLUMN = "a type that Arrow has no columns of"
DIFFERS = "ONNX Runtime gives other outputs than the suite"
NO_ROWS = "no input has as many rows as the outputs"
MIXED = "rows depend on one another"
RANDOM = "random numbers: only shapes can be compared"


class NotRows(Exception):
    """The case has no independent rows; the message is the category."""


@dataclass(frozen=True)
class Rows:
    """How a case is fed."""

    count: int
    carrying: tuple[str, ...]
    """Inputs that carry the rows on axis 0."""

    random: bool = False


def find_rows(case: Case) -> Rows:
    """How a case is fed as rows.

    Raises:
        NotRows: it cannot be.
    """
    _check_values(case)
    session = session_of(case.model)
    made = _run(session, case.inputs)
    if made is None:
        raise NotRows(RUNTIME)
    random = any(node.op_type in DRAWING or _trains(case, node) for node in case.model.graph.node)
    if not random and not all(close(case, one, other) for one, other in zip(case.outputs, made, strict=True)):
        raise NotRows(DIFFERS)
    found = False
    for count, carrying in _guesses(case, made):
        found = True
        if (
            count == 1
            or random
            or (_independent(session, case, made, count, carrying) and _unsaturated(session, case, count, carrying))
        ):
            return Rows(count, carrying, random)
    raise NotRows(MIXED if found else NO_ROWS)


def _check_values(case: Case) -> None:
    values = [*case.inputs.values(), *case.outputs]
    declared = [*case.model.graph.input, *case.model.graph.output]
    if any(value.type.WhichOneof("value") != "tensor_type" for value in declared):
        raise NotRows(NO_TENSOR)
    if any(not isinstance(value, np.ndarray) for value in values):
        raise NotRows(NO_TENSOR)
    for value in declared:
        try:
            name = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
            numpy_dtype({"float": "float32", "double": "float64"}.get(name, name))
        except Exception as error:
            raise NotRows(NO_COLUMN) from error


def _trains(case: Case, node: onnx.NodeProto) -> bool:
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    return bool(np.any(case.inputs.get(node.input[2], True)))


def _guesses(case: Case, made: Sequence[np.ndarray]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(rows, inputs that carry them), the most inputs first."""
    sizes = {one.shape[0] if one.ndim else 0 for one in made}
    leading = {name: value.shape[0] for name, value in case.inputs.items() if value.ndim}
    if len(sizes) == 1:
        (count,) = sizes
        names = tuple(name for name, size in leading.items() if size == count)
        if count > 1 and names:
            yield count, names
            for name in names if len(names) > 1 else ():
                yield count, (name,)
    ones = tuple(name for name, size in leading.items() if size == 1)
    # The batch of one: what comes out is the row's, whatever its shape.
    if ones and len(ones) == len(case.inputs):
        yield 1, ones


def _independent(
    session: ort.InferenceSession, case: Case, made: Sequence[np.ndarray], count: int, carrying: Sequence[str]
) -> bool:
    order = np.roll(np.arange(count), 1)
    turned = _run(session, {k: v[order] if k in carrying else v for k, v in case.inputs.items()})
    if turned is None or not all(close(case, one[order], other) for one, other in zip(made, turned, strict=True)):
        return False
    for row in range(min(count, SIZE)):
        alike = _run(
            session, {k: np.repeat(v[row : row + 1], count, 0) if k in carrying else v for k, v in case.inputs.items()}
        )
        if alike is None:
            return False
        if not all(close(case, one[row], other[row]) for one, other in zip(made, alike, strict=True)):
            return False
    texts = {k: np.asarray(v, dtype=object) for k, v in case.inputs.items() if k in carrying and _is_text(v)}
    # Texts of more parts than any of the case has: what splits them makes all rows as wide.
    longer = {k: np.concatenate([v[:1], v[1:] + " a.b-c,d e"]) for k, v in texts.items()}
    beside = _run(session, {**case.inputs, **longer}) if texts else made
    return beside is None or all(close(case, one[0], other[0]) for one, other in zip(made, beside, strict=True))


def _unsaturated(session: ort.InferenceSession, case: Case, count: int, carrying: Sequence[str]) -> bool:
    """Whether rows keep apart where all is 16 times smaller: activations near 1 are alike whatever made them."""
    smaller = {k: _smaller(v) for k, v in case.inputs.items()}
    made = _run(session, smaller)
    return made is None or _independent(session, replace(case, inputs=smaller), made, count, carrying)


def _smaller(value: Value) -> Value:
    return (value / 16).astype(value.dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _is_text(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "OUS"


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    """ONNX Runtime's own session of a model.

    Raises:
        NotRows: it does not load it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base.
        raise NotRows(RUNTIME) from error


def _run(session: ort.InferenceSession, feeds: dict[str, Value]) -> list[np.ndarray] | None:
    try:
        return [np.asarray(one) for one in session.run(None, dict(feeds))]
    except Exception:  # ONNX Runtime's errors have no common base.
        return None


def close(case: Case, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two outputs are the same by the suite's tolerance."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fc":
        return bool(np.allclose(other, one, rtol=case.rtol, atol=case.atol, equal_nan=True))
    return bool(np.array_equal(one, other))
