"""Which columns of the data fill which inputs of the model, decided and checked before any row is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.bound_block import BoundBlock
from beamsplit.models.binding.bound_input import BoundInput, shorten
from beamsplit.models.binding.constants import Constant, constant
from beamsplit.models.binding.data_facts import DataFacts
from beamsplit.models.binding.folding import fold
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Dim, Signature, TensorSpec
from beamsplit.models.values.tensors import ColumnType, column_type, numpy_dtype

__all__ = ["Binding", "BoundBlock", "BoundInput", "bind", "converts_unasked"]

NO_FACTS = DataFacts()
"""Nothing was said."""

DECIMAL = "decimal"
"""The dtype of columns of decimals, which no tensor has."""


class SizesDiffer(UsageError):
    """Dimensions of one name have unlike sizes in the columns."""

    def __init__(self, message: str, symbol: str, itself: bool) -> None:
        super().__init__(message)
        self.symbol = symbol
        """The name."""
        self.itself = itself
        """Whether both are of one input, so that the name names nothing."""


@dataclass(frozen=True)
class Binding:
    """The whole of a model's inputs; picklable."""

    inputs: tuple[BoundInput, ...]
    """Inputs filled from columns; at least one."""

    constants: tuple[Constant, ...]
    """Inputs given with --set."""

    by_position: tuple[str, ...] = ()
    """Inputs whose columns nobody named: all that there are, in the order of the data."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns needed, each once, in the order of the inputs."""
        return tuple(dict.fromkeys(name for bound in self.inputs for name in bound.columns))

    def describe(self) -> list[str]:
        """One line an input, e.g. `x: float32[rows, 32] <- 32 columns f0, f1, f2, f3, …, f31 (float64)`."""
        return [*map(str, self.inputs), *map(str, self.constants)]

    def open(self, block: pa.RecordBatch, *, reuse: bool = True) -> BoundBlock:
        """View a block of the schema that was bound as the model's inputs.

        Args:
            block: the rows.
            reuse: whether feeds may be written over by the next ones.
        """
        return BoundBlock(self.inputs, self.constants, block, reuse=reuse)


@dataclass(frozen=True)
class _Data:
    """The data's side: its columns, and how far their types may be converted."""

    schema: pa.Schema
    facts: DataFacts

    @property
    def names(self) -> list[str]:
        ignore = frozenset(self.facts.ignore)
        return [name for name in self.schema.names if name not in ignore]


def converts_unasked(source: str, target: str) -> bool:
    """Whether a column of dtype `source` is converted to `target` unasked.

    Numbers go to any type that may hold them: each value is checked, and one that the type does not hold as it is makes
    its row bad. Only from a float to a narrower one, which few values survive, they do not go. Strings and numbers are
    never converted into each other.
    """
    if "string" in (source, target):
        return source == target
    both_floats = source.startswith("float") and target.startswith("float")
    return not both_floats or bool(np.can_cast(source, target, "safe"))


def bind(
    signature: Signature,
    axes: Mapping[str, int | None],
    schema: pa.Schema,
    facts: DataFacts = NO_FACTS,
) -> Binding:
    """Find the columns for each input of the model.

    An input takes, in this order: the columns named in `facts.columns`; the value in `facts.sets`; the column of its
    own name. An only input without any of these takes all columns of its kind (numbers, bools or strings) if there
    are as many as it is wide, else the only column of lists or tensors.

    Args:
        signature: the model's inputs.
        axes: the axis of each input that carries the rows, None where none does (it must then be in `facts.sets`).
        schema: the data's columns.
        facts: what the user said of them.

    Raises:
        UsageError: an input has no column or a column that cannot fill it.
    """
    columns, sets = facts.columns, facts.sets
    data = _Data(schema, facts)
    specs = {spec.name: spec for spec in signature.inputs}
    for option, given in (("--columns", columns), ("--set", sets)):
        for name in given:
            if name not in specs:
                _fail(f"{option} {name}=…: the model has no input {name!r}, it has {_listed(specs, name)}")
    for name in columns:
        if name in sets:
            _fail(f"input {name!r} is in both --columns and --set; leave one out")
    open_specs = [spec for spec in signature.inputs if spec.name not in sets]
    inputs: list[BoundInput] = []
    by_position: list[str] = []
    for spec in open_specs:
        axis = axes.get(spec.name)
        if axis is None:
            _fail(
                f"the model's input '{spec}' carries no rows, so no column can fill it; "
                f"give it a value with --set {spec.name}=NUMBER (or zeros, ones, FILE.npy)"
            )
        names = tuple(columns[spec.name]) if spec.name in columns else _find(spec, axis, data, len(open_specs) == 1)
        if spec.name not in columns and names != (spec.name,) and not _of_lists(names, data):
            by_position.append(spec.name)
        inputs.append(_bind_input(spec, axis, names, data))
    if not signature.inputs:
        _fail("the model has no inputs, so there is no data to score: export it with inputs")
    if not inputs:
        _fail("every input of the model is given with --set, so no data would be used; leave one to a column")
    symbols = _check_symbols(inputs)
    constants = tuple(
        constant(spec, axes.get(spec.name), sets[spec.name], symbols=symbols, narrow=facts.narrow)
        for spec in signature.inputs
        if spec.name in sets
    )
    return Binding(tuple(inputs), constants, tuple(by_position))


def _fail(message: str) -> NoReturn:
    raise UsageError(message)


def _listed(names: Iterable[str], wrong: str) -> str:
    """The names there are, and the one that was likely meant."""
    names = list(names)
    near = difflib.get_close_matches(wrong, names, n=1)
    return (shorten(names) or "none") + (f"; did you mean {near[0]!r}?" if near else "")


def _without(shape: tuple[Dim, ...] | None, axis: int) -> tuple[Dim, ...] | None:
    return None if shape is None else (*shape[:axis], *shape[axis + 1 :])


def _kind_of(arrow: pa.DataType, spec: TensorSpec) -> ColumnType | None:
    """What a row of a column is; decimals are numbers, and nulls whatever is wanted."""
    if pa.types.is_decimal(arrow):
        return ColumnType(DECIMAL, ())
    return ColumnType(spec.dtype, ()) if pa.types.is_null(arrow) else column_type(arrow)


def _of_lists(names: Sequence[str], data: _Data) -> bool:
    kind = column_type(data.schema.field(names[0]).type) if len(names) == 1 else None
    return kind is not None and bool(kind.shape)


def _kind(dtype: str) -> str:
    return {"string": "string", "bool": "bool"}.get(dtype, "numeric")


def _find(spec: TensorSpec, axis: int, data: _Data, sole: bool) -> tuple[str, ...]:
    """The columns of an input that the user did not name."""
    if spec.name in data.schema.names:
        return (spec.name,)
    if not sole:
        _fail(
            f"the model's input '{spec}' has no column of that name (the data has: {_listed(data.names, spec.name)}); "
            f"say which with --columns {spec.name}=COLUMN or give a value with --set {spec.name}=zeros"
        )
    types = {name: _kind_of(data.schema.field(i).type, spec) for i, name in enumerate(data.schema.names)}
    scalars = [n for n in data.names if (t := types[n]) and not t.shape and _kind(t.dtype) == _kind(spec.dtype)]
    lists = [n for n in data.names if (t := types[n]) and t.shape and (t.dtype == "string") == (spec.dtype == "string")]
    dims = _without(spec.shape, axis)
    width = 1
    for dim in dims or ():
        width = width * dim if isinstance(dim, int) else -1
    if dims is not None and len(dims) <= 1 and len(scalars) == width:
        return tuple(scalars)
    if len(lists) == 1:
        return (lists[0],)
    wants = f"{width} {_kind(spec.dtype)} columns" if dims is not None and len(dims) <= 1 and width > 0 else "a column"
    found = f"{len(scalars)} {_kind(spec.dtype)} columns ({shorten(scalars)})" if scalars else shorten(data.names)
    found += f" and {len(lists)} columns of lists ({shorten(lists)})" if lists else ""
    example = "COLUMN" if width == 1 else "COLUMN1,COLUMN2,…"
    _fail(
        f"the model's only input '{spec}' takes {wants} or one column of lists, the data has: {found or 'no columns'}; "
        f"say which with --columns {spec.name}={example}"
        + (", or leave columns out of the input with --keep" if len(scalars) > max(width, 0) else "")
    )


def _bind_input(spec: TensorSpec, axis: int, names: tuple[str, ...], data: _Data) -> BoundInput:
    numpy_dtype(spec.dtype)
    if not names:
        _fail(f"--columns {spec.name}= names no column for the model's input '{spec}'; name at least one")
    types = [_column(spec, name, data) for name in names]
    dims = _without(spec.shape, axis)
    if len(names) > 1:
        for name, kind in zip(names, types, strict=True):
            if kind.shape:
                _fail(
                    f"column {name!r} holds {kind}, but only columns of single values can be put side by side for the "
                    f"model's input '{spec}'; give it one column with --columns {spec.name}={name}"
                )
    for name, kind in zip(names, types, strict=True):
        _check_conversion(spec, name, kind.dtype, data)
    shape: tuple[int | None, ...] = (len(names),) if len(names) > 1 else types[0].shape
    folded = fold(dims, shape)
    if folded is None:
        wanted = ", ".join("?" if dim is None else str(dim) for dim in dims or ())
        has = f"{len(names)} columns ({shorten(names)}) have" if len(names) > 1 else f"column {names[0]!r} has"
        given = ", ".join("?" if size is None else str(size) for size in shape)
        what = f"a column of that shape with --columns {spec.name}=COLUMN, or reshape it with --prepare module:function"
        if len(dims or ()) == 1 and not types[0].shape:
            what = f"{wanted} columns with --columns {spec.name}=COLUMN1,COLUMN2,…"
        _fail(f"the model's input '{spec}' takes rows of shape [{wanted}], {has} rows of shape [{given}]; name {what}")
    fills = tuple(data.facts.nulls.fill(name, spec.dtype, f"the model's input '{spec}'") for name in names)
    return BoundInput(
        spec.name, spec.dtype, names, axis, dims, folded, str(types[0]), fills, exact=not data.facts.narrow
    )


def _column(spec: TensorSpec, name: str, data: _Data) -> ColumnType:
    """The type of one column that was named for an input."""
    count = data.schema.names.count(name)
    if count == 0:
        _fail(f"--columns {spec.name}=…: the data has no column {name!r}, it has {_listed(data.names, name)}")
    if count > 1:
        _fail(f"the data has {count} columns named {name!r}, wanted for the model's input '{spec}'; rename all but one")
    arrow = data.schema.field(name).type
    kind = _kind_of(arrow, spec)
    if kind is None:
        _fail(
            f"column {name!r} is {arrow}, which is no tensor, the model's input '{spec}' takes {spec.dtype}; "
            "convert it with --prepare (e.g. image:…, bytes:… or module:function) or name another column "
            f"with --columns {spec.name}=COLUMN"
        )
    return kind


def _check_conversion(spec: TensorSpec, name: str, source: str, data: _Data) -> None:
    if converts_unasked(source, spec.dtype) or (source == DECIMAL and _kind(spec.dtype) == "numeric"):
        return
    if source == DECIMAL or "string" in (source, spec.dtype):
        _fail(
            f"column {name!r} is {source}, the model's input '{spec}' takes {spec.dtype}; "
            f"name another column with --columns {spec.name}=COLUMN, or convert it with --prepare module:function"
        )
    if not (data.facts.narrow or data.facts.text_source):
        _fail(
            f"column {name!r} is {source}, the model's input '{spec}' takes {spec.dtype}, which is narrower; "
            "add --narrow to convert it"
        )


def _check_symbols(inputs: Sequence[BoundInput]) -> set[str]:
    """The symbolic dimensions that the inputs give sizes to; a symbol has one size wherever it is fixed."""
    seen: dict[str, tuple[BoundInput, int]] = {}
    symbols: set[str] = set()
    for bound in inputs:
        for dim, size in zip(bound.dims or (), bound.row_shape, strict=False):
            if not isinstance(dim, str):
                continue
            symbols.add(dim)
            first, known = seen.setdefault(dim, (bound, size)) if size is not None else (bound, size)
            if known != size:
                message = (
                    f"the model's inputs {first.name!r} and {bound.name!r} share the dimension {dim!r}, but it is "
                    f"{known} in column {first.columns[0]!r} and {size} in column {bound.columns[0]!r}; "
                    "give columns of equal size with --columns"
                )
                raise SizesDiffer(message, dim, first is bound)
    return symbols
