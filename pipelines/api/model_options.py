"""How a model is run, as arguments with the names of the command's options, checked by the command's own checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.transforms.spec import did_you_mean

if TYPE_CHECKING:
    from beamsplit.pipelines.options.values import ScoreOptions

ELEMENTS = "the elements"
"""Stands where the command has files: for the input and the output."""


class ModelOptions(TypedDict, total=False):
    """Arguments of `Score` and `Scorer`, each as the command's option of its name; all may be left out.

    >>> sorted(ModelOptions.__annotations__)[:3]
    ['audit', 'batch_size', 'columns']
    """

    columns: Mapping[str, str | Sequence[str]]
    """Which columns feed which input, `{"x": ["age", "height"]}` (default: by name)."""

    set: Mapping[str, object]
    """Inputs that are no columns: `{"sr": 16000, "state": "zeros", "mask": "mask.npy"}`."""

    keep: str | Sequence[str]
    """Columns to copy to the output."""

    prepare: str | Sequence[str]
    """Steps before the model, `"image:size=224"`."""

    finish: str | Sequence[str]
    """Steps after the model, `["softmax", "top_k:5"]`."""

    narrow: bool
    """Round numbers that an input's floats do not hold."""

    nulls: object
    """What the model is fed for a null: `"nan"` or a value for all columns, or `{"age": 0, "city": "unknown"}`
    (default: nothing, the row fails)."""

    coupled_rows: str
    """`"accept"`: rows of a model with scales set from all rows of a run are run together."""

    model_version: bool | str
    """Add the column `model_version`, a hash of the model's files."""

    batch_size: int | str
    """Rows in a run of the model (default: measured)."""

    audit: bool | int | str
    """Score about so many rows again, each alone, and fail if one differs; `"warn"` only tells."""

    run_timeout: float | str
    """Seconds after which a run of the model is stopped, or `"60s"`."""

    providers: str | Sequence[str]
    """ONNX Runtime execution providers, in order (default: the fastest that is there)."""

    threads: int
    """Threads of a session."""

    stages: int | str
    """Cut the model into a chain of so many stages."""

    shards: int | str
    """Divide its layers over so many shards."""

    placement: str
    """`"inline"` (default) or `"distributed"`: each stage or shard has workers of its own."""

    plan: str
    """A plan.json of `beamsplit.plan`, or of the command."""

    micro_batch: int
    """Rows that go through stages or shards together."""

    stage_memory: str
    """Most bytes of weights in a stage, `"2GB"`."""

    stage_providers: str | Sequence[str]
    """Execution provider of each stage, `["cuda:0", "cuda:1"]`."""

    model_updates: str
    """A folder or file to watch for new models, which take over while a pipeline runs."""


NAMES = tuple(ModelOptions.__annotations__)

_PLAIN = re.compile(r"[^,\"=][^,=]*")


def read_options(what: str, model: str, given: Mapping[str, Any], lacking: Sequence[str] = ()) -> ScoreOptions:
    """The command's options for these arguments.

    Args:
        what: whose arguments they are, for errors.
        model: the ONNX file.
        given: by name; None is as if left out.
        lacking: arguments of `ModelOptions` that it does not have.

    Raises:
        UsageError: there is no such argument, or one has a wrong value; in the words of the command.
    """
    from beamsplit.pipelines.options.score import parse

    names = [name for name in NAMES if name not in lacking]
    for name in given:
        if name not in names:
            raise UsageError(f"{what} has no argument {name!r}{did_you_mean(name, names)}; it has {', '.join(names)}")
    argv = [f"--model={model}", "--input", ELEMENTS, "--output", ELEMENTS]
    for name, value in given.items():
        if value is not None and value is not False:
            argv += _ARGUMENTS.get(name, _one)(name, value)
    return parse(argv)[0]


def _one(name: str, value: Any) -> list[str]:
    if value is True:
        return [f"--{name}"]
    return [f"--{name}={_text(name, value)}"]


def _each(name: str, value: Any) -> list[str]:
    return [f"--{name}={_text(name, one)}" for one in _listed(value)]


def _joined(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [f"--{name}={value}"]
    return [f"--{name}={','.join(_text(name, one) for one in value)}"] if len(value) else []


def _names(name: str, value: Any) -> list[str]:
    return [f"--{name}={','.join(map(_quoted, _listed(value)))}"] if len(value) else []


def _columns(name: str, value: Any) -> list[str]:
    pairs = _mapping(name, value, '{"x": ["age", "height"]}')
    return [f"--{name}={target}={','.join(map(_quoted, _listed(columns)))}" for target, columns in pairs.items()]


def _set(name: str, value: Any) -> list[str]:
    pairs = _mapping(name, value, '{"sr": 16000}')
    return [f"--{name}={target}={_constant(target, one)}" for target, one in pairs.items()]


def _nulls(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"--{name}={_quoted(column)}={_null(one)}" for column, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [f"--{name}={one}" for one in value]
    return [f"--{name}={_null(value)}"]


def _seconds(name: str, value: Any) -> list[str]:
    return [f"--{name}={value}" if isinstance(value, str) else f"--{name}={value:g}s"]


_ARGUMENTS = {
    "columns": _columns,
    "set": _set,
    "keep": _names,
    "prepare": _each,
    "finish": _each,
    "nulls": _nulls,
    "providers": _joined,
    "stage_providers": _joined,
    "run_timeout": _seconds,
}


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)


def _mapping(name: str, value: Any, example: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is {value!r}, and a mapping is wanted; for example {name}={example}")
    return value


def _text(name: str, value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value)
    if hasattr(value, "__fspath__"):
        return str(value.__fspath__())
    raise UsageError(f"{name} is given {value!r}, which is neither a text nor a number; give one of these")


def _quoted(name: Any) -> str:
    text = str(name)
    return text if _PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def _null(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _quoted(value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _constant(target: str, value: Any) -> str:
    if isinstance(value, str) or not isinstance(value, (np.ndarray, Sequence)):
        return value if isinstance(value, str) else _text_of_scalar(value)
    values = np.asarray(value)
    if values.ndim > 1 or values.dtype.kind not in "biuf":
        raise UsageError(
            f"set gives the input {target!r} an array of shape {list(values.shape)} and type {values.dtype}; save it "
            f"with numpy.save and give the file's name, e.g. set={{{target!r}: 'values.npy'}}"
        )
    return ",".join(_scalar(one) for one in values.reshape(-1))


def _text_of_scalar(value: Any) -> str:
    return str(value.__fspath__()) if hasattr(value, "__fspath__") else _scalar(value)
