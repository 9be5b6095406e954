"""A case as a user would run it: bound to columns, scored whole, cut in two and in two shards, and what comes out."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fit import DataFacts, Fit, fit
from beamsplit.models.graph.load import load_graph
from beamsplit.models.running.blocks import blocks_of
from beamsplit.models.running.runs import Runs
from beamsplit.models.running.session import Session, SessionOptions, forget_sessions
from beamsplit.models.scoring.scorer import Scorer
from beamsplit.models.shard.planner import NothingToDivide, divide
from beamsplit.models.shard.sharded import ShardedModel, ShardedSession
from beamsplit.models.split.cuts import split_graph
from beamsplit.models.values.tensors import unpack
from tests.models.split.cutting import chain_of, equal_cut
from tests.onnx_suites.cases import Case
from tests.onnx_suites.rows import NotRows, Rows, close, session_of

CPU = SessionOptions(threads=1)

RIGHT = "right"
NOTHING_TO_CUT = "computed from weights and sizes alone: nothing to cut"
NOTHING_TO_DIVIDE = "no weights that can be divided"

WIDEST = 512
"""Last axis up to which a layer is put before an operator."""

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Outcome:
    """What became of a case in each way: `RIGHT`, a reason, or what went wrong."""

    whole: str
    cut: str
    shards: str

    @property
    def all(self) -> tuple[str, str, str]:
        return self.whole, self.cut, self.shards


class Wrong(Exception):
    """A way gave other rows than the suite ships."""


def run_case(case: Case, rows: Rows, folder: Path) -> Outcome:
    """Run a case in all ways; the folder is emptied."""
    try:
        for name in ("whole", "stages", "shards"):
            (folder / name).mkdir(parents=True)
        made: list[Fit] = []
        whole = _told(lambda: _whole(case, rows, folder / "whole", made))
        cut = _told(lambda: _cut(case, rows, folder / "stages", made[0])) if made else whole
        shards = _told(lambda: _shards(case, rows, folder / "shards"))
        return Outcome(whole, cut, shards)
    finally:
        forget_sessions()
        shutil.rmtree(folder, ignore_errors=True)


def _told(way: Callable[[], str]) -> str:
    try:
        return way()
    except UsageError as error:
        return f"refused: {_plain(str(error))}"
    except Wrong as error:
        return f"wrong: {_plain(str(error))}"


def _plain(message: str) -> str:
    """A message without what differs from one machine, or case, to the next."""
    message = re.sub(r"--model \S+", "the model", message)
    return re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", message).split(": ")[0][:150].strip()


def _whole(case: Case, rows: Rows, folder: Path, fitted: list[Fit]) -> str:
    made = _fitted(case.model, case, rows, folder)
    fitted.append(made)
    _check(case, rows, made, made.session)
    return RIGHT


def _cut(case: Case, rows: Rows, folder: Path, made: Fit) -> str:
    model = load_graph(made.plan.model)
    if split_graph(model).most_stages < 2:
        put_identities(model)
    graph = split_graph(model)
    if graph.most_stages < 2:
        return NOTHING_TO_CUT
    chain = chain_of(graph, equal_cut(graph, 2), folder)
    _check(case, rows, made, _Standing(chain, made.session))
    return RIGHT


def _shards(case: Case, rows: Rows, folder: Path) -> str:
    model = next(one for one in with_weights(case, rows) if _loads(one))
    made = _fitted(model, case, rows, folder)
    blocks = blocks_of(made.plan.model.rewrites)
    bound = made.plan.binding.open(_block(case, rows), reuse=False)
    few = bound.take(np.arange(1 if made.plan.row_by_row else rows.count))
    if blocks is not None:
        few = blocks.padded(few)
    try:
        plan = divide(made.plan.model, few, 2, str(folder), 1)
    except NothingToDivide:
        return NOTHING_TO_DIVIDE
    sharded = ShardedSession(ShardedModel(plan, str(folder), (CPU,) * 2, CPU, made.session.signature))
    try:
        _check(case, rows, made, sharded)
    finally:
        sharded.drop()
    return RIGHT


class _Standing:
    """What stands where a session does."""

    load_seconds = 0.0
    model_bytes = 0

    def __init__(self, runs: Any, session: Session) -> None:
        self.runs, self.signature = runs, session.signature
        self.blocks = blocks_of(session.model.rewrites)

    def run(self, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self.runs.run(feeds) if self.blocks is None else self.blocks.run(self.runs.run, feeds)


def _fitted(model: onnx.ModelProto, case: Case, rows: Rows, folder: Path) -> Fit:
    path = str(folder / "model.onnx")
    onnx.save(model, path)
    block = _block(case, rows)
    weights = {tensor.name for tensor in model.graph.initializer}
    sets = {}
    for at, (name, value) in enumerate(case.inputs.items()):
        if name not in rows.carrying and name not in weights:
            sets[name] = str(folder / f"{at}.npy")
            np.save(sets[name], value.astype("U") if value.dtype == object else value)
    return fit(path, CPU, block.schema, block, DataFacts(sets=sets))


def _block(case: Case, rows: Rows) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: _column(case.inputs[name]) for name in rows.carrying})


def _column(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values.tolist() if values.dtype == object else values)
    if values.dtype.kind in "Ob" or 0 in values.shape:
        kind = pa.string() if values.dtype == object else pa.from_numpy_dtype(values.dtype)
        for size in reversed(values.shape[1:]):
            kind = pa.list_(kind, size)
        return pa.array(values.tolist(), kind)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))


def _check(case: Case, rows: Rows, made: Fit, session: Runs) -> None:
    """Raise unless each row comes out as the suite ships it."""
    block = _block(case, rows)
    plan = replace(made.plan, batch_size=max(made.plan.batch_size, rows.count))
    scored = Scorer(plan, session).score(block)
    if scored.failures:
        raise Wrong(f"{len(scored.failures)} of {rows.count} rows failed: {scored.failures[0][1]}")
    for column, output, right in zip(scored.columns, plan.outputs, case.outputs, strict=True):
        found = _values(column, output.row_shape, right.dtype)
        expected = right if output.rows_axis == 0 or rows.count > 1 else right[np.newaxis]
        if rows.count == 1 and [one.size for one in found] == [expected.size] and found[0].shape != expected[0].shape:
            expected = right[np.newaxis]
        same = len(found) == len(expected) and all(
            one.shape == other.shape and (rows.random or close(case, other, one))
            for one, other in zip(found, [np.asarray(each, right.dtype) for each in expected], strict=True)
        )
        if not same:
            raise Wrong(f"output {output.name} is {_short(found)} where the suite has {_short(expected)}")


def _values(column: pa.Array, shape: tuple[int, ...] | None, dtype: np.dtype[Any]) -> list[np.ndarray]:
    """The rows of a column as arrays."""
    if shape is not None:
        unpacked = unpack(column)
        rows = np.asarray(unpacked.values).reshape(len(column), *shape)
        return [np.asarray(row, dtype) for row in rows]
    return [np.array(one, dtype) for one in column.to_pylist()]


def _short(values: Sequence[np.ndarray]) -> str:
    return f"{[one.shape for one in values][:3]} {str([one.reshape(-1)[:4].tolist() for one in values][:2])[:120]}"


def put_identities(model: ir.Model) -> None:
    """Put an Identity behind each output, so that there is a place to cut."""
    graph = model.graph
    for at, made in enumerate(graph.outputs):
        name = made.name
        made.name = f"{name}/before"
        given = ir.Value(name=name, type=made.type, shape=made.shape)
        graph.append(ir.Node("", "Identity", [made], outputs=[given], name=f"{name}/behind"))
        graph.outputs[at] = given


def with_weights(case: Case, rows: Rows) -> Iterator[onnx.ModelProto]:
    """The model with inputs that carry no rows as weights, and a layer that gives what it is given before the others.

    So shards have something to divide: of a split along the last axis every operator behind it must make the right
    thing. ONNX Runtime does not load all of them so: then with the layer only, or as it is.
    """
    yield _with_weights(case, rows, [name for name in case.inputs if name not in rows.carrying])
    yield _with_weights(case, rows, [])
    yield case.model


def _loads(model: onnx.ModelProto) -> bool:
    try:
        session_of(model)
    except NotRows:
        return False
    return True


def _with_weights(case: Case, rows: Rows, weights: Sequence[str]) -> onnx.ModelProto:
    made = onnx.ModelProto.FromString(case.model.SerializeToString())
    graph = made.graph
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in case.inputs.items() if name in weights
    )
    kept = [value for value in graph.input if value.name not in weights]
    given = {value.name: value for value in kept}
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
    del graph.input[:]
    graph.input.extend(copies)
    layers = []
    for name in rows.carrying:
        value = case.inputs[name]
        dtype = given[name].type.tensor_type.elem_type
        plain = value.ndim > 1 and 1 < value.shape[-1] <= WIDEST and value.size and dtype in FLOATS
        if not plain or not np.isfinite(value).all():
            continue
        graph.initializer.append(numpy_helper.from_array(np.eye(value.shape[-1], dtype=value.dtype), f"{name}/unit"))
        layers.append(helper.make_node("MatMul", [name, f"{name}/unit"], [f"{name}/same"]))
        for node in graph.node:
            _rename(node, name, f"{name}/same")
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*layers, *graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    made.ir_version = max(made.ir_version, 4)
    return made


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    names = [new if name == old else name for name in node.input]
    del node.input[:]
    node.input.extend(names)
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            for inner in body.node:
                _rename(inner, old, new)


def folder_of(root: Path, case: Case) -> Path:
    """Where a case is run."""
    return root / f"{case.suite}-{case.name}-{os.getpid()}"
