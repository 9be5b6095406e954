"""The columns of rows that do not tell them: what the model's inputs want, and what the rows hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import DYNAMIC_ROWS, ModelFile, check_model_file, needed_rewrites
from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.running.mapped import for_few_runs
from beamsplit.models.running.session import SessionOptions, get_session
from beamsplit.pipelines.options.values import BindingOptions
from beamsplit.transforms.infer.fetched_model import localize
from beamsplit.transforms.kafka.schema import declared, message_schema, parse_schema, wanted_fields


def signature_of_model(model: str, constants: frozenset[str] = frozenset()) -> Signature:
    """Inputs and outputs of the model as it is run: with its ZipMap left out.

    Raises:
        UsageError: it cannot be loaded.
    """
    path = localize(model)
    check_model_file(path)
    session = for_few_runs(SessionOptions(threads=1), path)
    loaded = get_session(ModelFile(path), session)
    lasting = tuple(name for name in needed_rewrites(loaded.raw, constants) if name != DYNAMIC_ROWS)
    return (get_session(ModelFile(path, lasting), session) if lasting else loaded).signature


def sole_input(model: str) -> str:
    """The name of the model's only input.

    Raises:
        UsageError: it has several.
    """
    names = [spec.name for spec in signature_of_model(model).inputs]
    if len(names) != 1:
        raise UsageError(f"the model has the inputs {', '.join(names)}; give a dict with a value for each of them")
    return names[0]


def schema_of_text(text: str) -> pa.Schema:
    """The schema that `NAME:TYPE[SIZES],...` says, as the option `--schema` takes it.

    >>> schema_of_text("id:int64,x:float32[4]").names
    ['id', 'x']

    Raises:
        UsageError: it is not of that form.
    """
    return message_schema("json", parse_schema(text))


def schema_of_inputs(binding: BindingOptions) -> pa.Schema:
    """Columns of Python's own values that the model's inputs want: floats of 64 bits, lists where a row is no number.

    Raises:
        UsageError: more than that is wanted, so that the schema must be given.
    """
    if binding.prepare:
        raise UsageError(
            "--prepare makes the model's inputs of what the elements hold; say what with schema=... or sample=..."
        )
    signature = signature_of_model(binding.model, frozenset(binding.set))
    fields = {name: _natural(spec) for name, spec in wanted_fields(signature, binding.columns, binding.set).items()}
    missing = [name for name in binding.keep if name not in fields]
    if missing:
        others = [*map(declared, fields.values()), *(f"{name}:int64" for name in missing)]
        raise UsageError(
            f"--keep names {', '.join(missing)}, which the model does not read, so that its type is not known; "
            f"declare all columns with schema={','.join(others)!r} or another, or give a sample=..."
        )
    return message_schema("json", fields)


def natural_fields(binding: BindingOptions) -> dict[str, pa.Field]:
    """The columns that inputs of the model take, by name, as rows of Python's own values have them.

    Raises:
        UsageError: the model cannot be loaded.
    """
    if binding.prepare:
        return {}
    wanted = wanted_fields(signature_of_model(binding.model, frozenset(binding.set)), binding.columns, binding.set)
    schema = message_schema("json", {name: _natural(spec) for name, spec in wanted.items()})
    return {field.name: field for field in schema}


def schema_of_dicts(
    natural: Mapping[str, pa.Field], rows: Sequence[Mapping[str, Any]], wanted: Collection[str] = ()
) -> pa.Schema:
    """The columns of rows: as the model's inputs want them, and the others as the rows have them.

    Args:
        natural: from `natural_fields`.
        rows: some of them.
        wanted: columns that must be there; others whose values have no type in common are left out.

    Raises:
        UsageError: the values of a column that is wanted are of unlike types.
    """
    fields: dict[str, pa.Field] = {}
    for name in dict.fromkeys(name for row in rows for name in row if isinstance(name, str)):
        if name in natural:
            fields[name] = natural[name]
            continue
        values = [_plain(row.get(name)) for row in rows]
        try:
            kind = pa.array(values).type
        except (pa.ArrowException, TypeError, OverflowError) as error:
            if name not in wanted:
                continue
            raise UsageError(
                f"the values of {name!r} are of unlike types ({' '.join(str(error).split())}); say which with schema="
            ) from None
        fields[name] = pa.field(name, kind)
    return pa.schema(list(fields.values()))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _natural(spec: TensorSpec) -> TensorSpec:
    """A field as Python has it: one value a row is no list, and a float has all its digits."""
    dtype = "float64" if spec.dtype.startswith(("float", "bfloat")) else spec.dtype
    one = all(size == 1 for size in spec.shape or ())
    return replace(spec, dtype=dtype, shape=() if one and spec.shape is not None else spec.shape)
