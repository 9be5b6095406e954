"""PyTorch's exported programs (`torch.export.save`), by torch.onnx, which takes onnxscript."""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnxscript  # noqa: F401  # torch.onnx tells of its lack late
import torch
from torch.utils import _pytree as pytree

from beamsplit.models.convert.original import Feeds, InputOf, Original
from beamsplit.models.convert.torch_archive import odd
from beamsplit.models.errors import UsageError

_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""PyTorch's switch: no pickle is loaded otherwise, whatever asks for it."""


def load(path: str, trust: bool) -> Original:
    """The model of a file.

    Raises:
        UsageError: it would run code and is not trusted, or is no exported program.
    """
    try:
        found = odd(path)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is no program of torch.export ({error}): make one, {EXPORT}") from None
    if found is not None and not trust:
        raise UsageError(
            f"{path} has more in it than a model ({found}), which may run code; if you know who made it, add --trust"
        )
    with _quiet(), _weights_only(not trust):
        try:
            program = torch.export.load(path)
        except Exception as error:  # torch raises what it finds
            if not trust and "weights_only" in str(error).lower().replace(" ", "_"):
                raise UsageError(
                    f"{path} has pickled objects beside its weights, which can run any code; if you know who made it, "
                    "add --trust"
                ) from None
            raise
    return _original(program, path)


EXPORT = "torch.export.save(torch.export.export(model, (example,), dynamic_shapes=({0: Dim('rows')},)), 'm.pt2')"
"""How one is made."""


def _original(program: Any, path: str) -> Original:
    names = list(program.graph_signature.user_inputs)
    if program.example_inputs is None:
        raise UsageError(f"{path} was saved without example inputs, which tell its types: save it as {EXPORT}")
    examples, spec = pytree.tree_flatten(program.example_inputs)
    if len(examples) != len(names) or not all(isinstance(one, torch.Tensor) and one.ndim for one in examples):
        raise UsageError(f"{path} takes something else than tensors with an axis of rows: export it with tensors only")
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    first = values[names[0]].shape[0]
    inputs = {
        name: InputOf(
            _array(example), None if str(values[name].shape[0]) == str(first) != str(example.shape[0]) else len(example)
        )
        for name, example in zip(names, examples, strict=True)
    }
    module = program.module()

    def predict(feeds: Feeds) -> Mapping[str, np.ndarray[Any, Any]]:
        given = [torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in names]
        args, kwargs = pytree.tree_unflatten(given, spec)
        with torch.no_grad(), _quiet():
            made = pytree.tree_leaves(module(*args, **kwargs))
        return dict(zip(program.graph_signature.user_outputs, map(_array, made), strict=True))

    def export(feeds: Feeds) -> Any:
        with _quiet():
            return torch.onnx.export(program, dynamo=True, verbose=False).model_proto

    return Original(0, None, export, predict, inputs=inputs)


def _array(tensor: Any) -> np.ndarray[Any, Any]:
    tensor = tensor.detach().cpu()
    found: np.ndarray[Any, Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return np.atleast_1d(found)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's progress and warnings, which are not the user's."""
    import warnings

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _weights_only(only: bool) -> Iterator[None]:
    before = os.environ.get(_WEIGHTS_ONLY)
    if only:
        os.environ[_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        os.environ.pop(_WEIGHTS_ONLY, None)
        if before is not None:
            os.environ[_WEIGHTS_ONLY] = before
