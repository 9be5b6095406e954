"""What RunInference is told of batches, copies and variables, looked at before Beam takes it: it would fail late."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.transforms.util import BatchElements

from beamsplit.models.errors import UsageError
from beamsplit.pipelines.api.paths import shown


def check_batching(given: Mapping[str, Any]) -> None:
    """Raise for what would fail later, inside of Beam, or would not be heeded.

    Raises:
        UsageError: with what is wanted.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for name in ("min_batch_size", "max_batch_size", "max_batch_weight", "model_copies"):
        if name in given and not (type(given[name]) is int and given[name] > 0):
            raise UsageError(f"{name} is {shown(given[name])}; give a whole number above 0")
    least, most = given.get("min_batch_size"), given.get("max_batch_size")
    if least is not None and most is not None and least > most:
        raise UsageError(f"min_batch_size is {least} and max_batch_size {most}; give the second as large at least")
    seconds = given.get("max_batch_duration_secs", 1)
    if isinstance(seconds, bool) or not (isinstance(seconds, (int, float)) and seconds > 0):
        raise UsageError(f"max_batch_duration_secs is {shown(seconds)}; give seconds above 0")
    if not isinstance(given.get("large_model", False), bool):
        raise UsageError(f"large_model is {shown(given['large_model'])}; give True or False")
    for name in ("element_size_fn", "batch_length_fn"):
        if name in given and not callable(given[name]):
            raise UsageError(f"{name} is {shown(given[name])}; give a function of an example, such as len")
    _check_weight(given)
    _check_boundaries(given)
    _check_variables(given.get("env_vars", {}))


def _check_weight(given: Mapping[str, Any]) -> None:
    if "max_batch_weight" not in given:
        return
    if "element_size_fn" not in given:
        raise UsageError("max_batch_weight wants element_size_fn, which tells what an example weighs; give both")
    for name in ("max_batch_size", "max_batch_duration_secs"):
        if name in given:
            raise UsageError(f"max_batch_weight does not go with {name}: Beam counts either; leave one out")


def _check_boundaries(given: Mapping[str, Any]) -> None:
    if "batch_bucket_boundaries" not in given:
        return
    found = given["batch_bucket_boundaries"]
    if "batch_length_fn" not in given:
        raise UsageError("batch_bucket_boundaries wants batch_length_fn, which tells an example's length; give both")
    numbers = isinstance(found, Sequence) and all(type(one) in (int, float) and one > 0 for one in found)
    if not numbers or not found or list(found) != sorted(found):
        raise UsageError(
            f"batch_bucket_boundaries is {shown(found)}; give lengths above 0, the smallest first, such as [16, 64]"
        )


def _check_variables(variables: Any) -> None:
    if isinstance(variables, Mapping) and all(isinstance(one, str) for pair in variables.items() for one in pair):
        return
    raise UsageError(f"env_vars is {shown(variables)}; give a dict of texts such as {{'OMP_NUM_THREADS': '1'}}")


def batching_of(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What `beam.BatchElements` is given of a handler's batching.

    Beam's handlers know a `max_batch_weight` that its BatchElements does not; that counts the most of a batch in what
    `element_size_fn` gives.

    >>> batching_of({"max_batch_weight": 100, "element_size_fn": len})["max_batch_size"]
    100
    """
    found = dict(kwargs)
    if "max_batch_weight" in found and "max_batch_weight" not in inspect.signature(BatchElements).parameters:
        found["max_batch_size"] = found.pop("max_batch_weight")
    return found
