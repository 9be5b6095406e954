"""How far the parts of a model may be from the whole, by what it computes with and not by the type of what comes out.

float32 cast to double is as exact as float32; a sigmoid of -16 is a difference of numbers near 1; what is rounded or
compared jumps where the number before it differs in its last digit. Asked only where the plain tolerance is not met.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.parts import bodies
from beamsplit.models.graph.random_draws import still_file
from beamsplit.models.running.session import ModelRunError, Session
from beamsplit.models.values.tensors import Array

TOLERANCES = {"float64": 1e-9, "float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-2}
"""Largest difference by the type of the arithmetic, as a share of an output's largest magnitude."""

EIGHT_BITS = 0.125
"""The same where numbers pass through eight bits or fewer: a last digit may fall on the next step."""

_DIGIT = {1e-9: 2.3e-16, 1e-4: 1.2e-7, 2e-2: 1e-3, EIGHT_BITS: 4e-3}
"""A last digit of numbers near 1, by their tolerance."""

FLIPPED = 0.01
"""Share of an output's elements that may differ where numbers are rounded, compared or sorted on their way."""

NOISE_TIMES = 4
"""Times that the parts may differ by what the whole model's own runs differ by."""

_JUMPING_NAMES = """
    ArgMax ArgMin Bernoulli Binarizer Ceil Compress DynamicQuantizeLinear Equal Floor Greater GreaterOrEqual Hardmax
    Less LessOrEqual LinearClassifier Mod Multinomial NonMaxSuppression NonZero QuantizeLinear Round Sign SVMClassifier
    TopK TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor Unique
"""
_JUMPING = frozenset(_JUMPING_NAMES.split())
_BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Erf"})
_MOVING_NAMES = """
    Cast Concat Dropout Expand Flatten Gather Identity Reshape Slice Split Squeeze Transpose Unsqueeze
"""
_MOVING = frozenset(_MOVING_NAMES.split())
_FLOATS = {
    ir.DataType.DOUBLE: "float64",
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


@dataclass(frozen=True)
class Arithmetic:
    """What an output is made by."""

    tolerance: float = 0.0
    """Of the coarsest numbers on its way; 0 where there are no floating-point numbers."""

    jumps: bool = False
    """Whether what was computed is rounded, compared or sorted on its way."""

    scale: float = 0.0
    """Magnitude that its last operator computes with, whatever comes out; 0 where it is that of the output."""


def arithmetic(model: ir.Model) -> dict[str, Arithmetic]:
    """Of each output of a model what it is made by; its tensors have types."""
    found: dict[str, Arithmetic] = {}
    for node in model.graph:
        before = [found.get(str(value.name), Arithmetic()) for value in node.inputs if value is not None]
        before += [
            found.get(str(value.name), Arithmetic())
            for body in bodies(node)
            for inner in ir.traversal.RecursiveGraphIterator(body)
            for value in inner.inputs
            if value is not None
        ]
        computed = any(one.tolerance for one in before)
        own = [_tolerance(value) for value in node.outputs]
        inside = [_tolerance(value) for body in bodies(node) for one in _nodes(body) for value in one.outputs]
        tolerance = max([0.0, *own, *inside, *(one.tolerance for one in before)])
        jumps = any(one.jumps for one in before) or (computed and _jumps(node))
        scale = 1.0 if node.op_type in _BOUNDED else 0.0
        if node.op_type in _MOVING and before:
            scale = max(one.scale for one in before)
        for value in node.outputs:
            found[str(value.name)] = Arithmetic(tolerance, jumps, scale)
    return {str(value.name): found.get(str(value.name), Arithmetic()) for value in model.graph.outputs}


def _nodes(body: ir.Graph) -> list[ir.Node]:
    return list(ir.traversal.RecursiveGraphIterator(body))


def _tolerance(value: ir.Value) -> float:
    dtype = value.dtype
    if dtype in _FLOATS:
        return TOLERANCES[_FLOATS[dtype]]
    if dtype is not None and dtype.is_floating_point():
        return EIGHT_BITS
    node = value.producer()
    return EIGHT_BITS if node is not None and node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") else 0.0


def _jumps(node: ir.Node) -> bool:
    if node.op_type in _JUMPING:
        return True
    made = node.outputs[0].dtype
    if node.op_type not in ("Cast", "CastLike") or made is None:
        return any(inner.op_type in _JUMPING for body in bodies(node) for inner in _nodes(body))
    return made not in _FLOATS


@dataclass(frozen=True)
class Leeway:
    """Differences that a model's own runs have, beside what it is made by."""

    made_by: Mapping[str, Arithmetic]
    noise: tuple[Array, ...]
    """Of each output, an element each: by how much runs differ that ought to give the same; empty if not known."""

    def holds(self, at: int, name: str, one: Array, other: Array, limit: float) -> tuple[str, bool]:
        """(what is allowed, in words, and whether an output of the parts keeps to it).

        Args:
            at: number of the output.
            name: of the output.
            one: what the whole model gives.
            other: what its parts give.
            limit: a share of the largest magnitude that is allowed anyhow.
        """
        made_by = self.made_by.get(name, Arithmetic())
        if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
            return f"the shapes are {list(one.shape)} and {list(other.shape)}", False
        noise = self.noise[at] if self.noise and self.noise[at].shape == one.shape else np.zeros(one.shape)
        if one.dtype.kind != "f":
            wrong = (one != other) & (noise == 0)
            return _few(wrong, made_by.jumps, "must be equal")
        finite = np.isfinite(one) & np.isfinite(other)
        a, b = one.astype(np.float64), other.astype(np.float64)
        odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
        magnitude = max(float(np.abs(a[finite]).max(initial=0.0)), float(np.finfo(np.float32).tiny))
        own = NOISE_TIMES * (noise if made_by.jumps else np.full(one.shape, noise.max(initial=0.0)))
        least = max(max(limit, made_by.tolerance) * magnitude, 2 * _DIGIT.get(made_by.tolerance, 0.0) * made_by.scale)
        with np.errstate(invalid="ignore"):
            wrong = odd | (finite & ~(np.abs(a - b) <= np.maximum(own, least)))
        most = max(least, float(own.max(initial=0.0)))
        return _few(wrong, made_by.jumps, f"at most {most / magnitude:.2g}, as runs of the whole model differ")


def _few(wrong: Array, jumps: bool, rule: str) -> tuple[str, bool]:
    """A rule in words, and whether so few elements break it as may where numbers jump."""
    share = float(wrong.mean()) if wrong.size else 0.0
    if not jumps:
        return rule, share == 0
    return f"{rule}; {share:.2g} of its elements jump, at most {FLIPPED:.2g} may", share <= FLIPPED


def leeway(whole: Session, feeds: Mapping[str, Array], given: list[Array]) -> Leeway:
    """Of a whole model, on the rows that its parts were compared on.

    It is run once as written, without ONNX Runtime's optimisations, and with inputs that differ in their last digit.

    Args:
        whole: the model.
        feeds: one array an input.
        given: what it made of them.
    """
    made_by: Mapping[str, Arithmetic] = {}
    with contextlib.suppress(UsageError, MemoryError):
        made_by = arithmetic(load_graph(still_file(whole.model)))
    noise: list[Array] = []
    with contextlib.suppress(UsageError, ModelRunError, MemoryError):
        plain = Session(whole.model, replace(whole.options, mapped=False), configure=_as_written)
        runs = [plain.run(dict(feeds)), *(whole.run(_shaken(feeds, seed)) for seed in range(3))]
        noise = [_apart(one, [run[at] for run in runs]) for at, one in enumerate(given)]
    return Leeway(made_by, tuple(noise))


def _as_written(options: ort.SessionOptions) -> None:
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


def _shaken(feeds: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """The same numbers, each up or down by its last digit."""
    random = np.random.default_rng(seed)
    shaken = dict(feeds)
    for name, values in feeds.items():
        if np.asarray(values).dtype.kind == "f":
            up = random.integers(0, 2, values.shape, dtype=np.int8).astype(bool)
            shaken[name] = np.where(up, np.nextafter(values, np.inf), np.nextafter(values, -np.inf)).astype(
                values.dtype
            )
            shaken[name][~np.isfinite(values)] = values[~np.isfinite(values)]
    return shaken


def _apart(one: Array, others: list[Array]) -> Array:
    """An element each: the largest difference, 1 where values that are no floating-point numbers are unequal."""
    one = np.asarray(one)
    apart = np.zeros(one.shape)
    for other in map(np.asarray, others):
        if other.shape != one.shape:
            continue
        if one.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
            apart = np.maximum(apart, np.where(np.isfinite(gap), gap, 0.0))
        else:
            apart = np.maximum(apart, one != other)
    return apart
