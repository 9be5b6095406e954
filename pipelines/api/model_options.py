"""How a model is run, as arguments with the names of the command's options, checked by the command's own checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.not_here import why_not
from beamsplit.transforms.spec import did_you_mean

if TYPE_CHECKING:
    from beamsplit.pipelines.options.values import ScoreOptions


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

    plan_seconds: float | str
    """Seconds that runs of the model may take to plan how it is run (default: as many as are useful)."""

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

    model_check: str
    """A file of rows on which a new model is compared with the one in use, `"golden.parquet"`."""

    model_check_tolerance: float | str | Mapping[str, float | str]
    """Most that it may differ by there, `0.01`, `"5%"` of the largest value, or `{"": 0.01, "label": "1%"}`."""


NAMES = tuple(ModelOptions.__annotations__)


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
    from beamsplit.pipelines.options.score import score_options

    names = [name for name in NAMES if name not in lacking]
    for name in given:
        reason = why_not(name) if name not in NAMES else None
        if reason is not None:
            raise UsageError(f"{what} has no argument {name!r}, which the command and bs.score have: {reason}")
        if name not in names:
            raise UsageError(f"{what} has no argument {name!r}{did_you_mean(name, names)}; it has {', '.join(names)}")
    for name, example in _MAPPINGS.items():
        if given.get(name) is not None and not isinstance(given[name], Mapping):
            raise UsageError(f"{name} is {given[name]!r}, and a mapping is wanted; for example {name}={example}")
    constants = given.get("set") or {}
    return score_options(
        **{**given, "model": model, "set": {name: _constant(name, constants[name]) for name in constants}}
    )


_MAPPINGS = {"columns": '{"x": ["age", "height"]}', "set": '{"sr": 16000}'}


def _constant(target: str, value: Any) -> Any:
    """An input that is no column as the option takes it."""
    if isinstance(value, str) or not isinstance(value, (np.ndarray, Sequence)):
        return value
    values = np.asarray(value)
    if values.ndim > 1 or values.dtype.kind not in "biuf":
        raise UsageError(
            f"set gives the input {target!r} an array of shape {list(values.shape)} and type {values.dtype}; save it "
            f"with numpy.save and give the file's name, e.g. set={{{target!r}: 'values.npy'}}"
        )
    return values.reshape(-1).tolist() if values.ndim else values.item()
