"""Models and their plan written to a folder: all of them, or none under its name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

import onnx_ir as ir

from beamsplit.models.errors import UsageError
from beamsplit.models.owned_folder import files_in, remove_abandoned, temporary

PLAN_FILE = "plan.json"
_EXTERNAL = 1 << 20
"""Bytes of weights from which they get a file of their own, `NAME.onnx.data`: loading then takes less memory."""


def save_models(models: Iterable[tuple[str, Callable[[], ir.Model]]], plan: Callable[[], str], folder: str) -> None:
    """Write models that open by themselves, and plan.json; weights of large ones lie beside them.

    The folder is made if need be; files get their names when all are written, the plan last.

    Args:
        models: file names, and what makes each model: one at a time is in memory.
        plan: makes the text of plan.json, when all models are written.
        folder: where they go.

    Raises:
        UsageError: the folder cannot be written.
    """
    with contextlib.ExitStack() as undo:
        try:
            os.makedirs(folder, exist_ok=True)
            remove_abandoned(folder, r"\.stages-.*")
            hidden = undo.enter_context(temporary(".stages-", folder))
        except OSError as error:
            why = f"the stages' folder {folder} cannot be written ({error.strerror})"
            raise UsageError(f"{why}: name another") from None
        try:
            for name, make in models:
                save_model(make(), os.path.join(hidden, name))
            with open(os.path.join(hidden, PLAN_FILE), "w", encoding="utf-8") as file:
                file.write(plan())
            # The plan last: where it stands, all that it names does.
            for name in sorted(files_in(hidden), key=lambda name: name == PLAN_FILE):
                os.replace(os.path.join(hidden, name), os.path.join(folder, name))
        except OSError as error:
            raise UsageError(f"the stages cannot be written to {folder} ({error.strerror}): make room there") from None


def save_model(model: ir.Model, path: str) -> None:
    """Write a model that shares nothing with others but weights; large ones go to `<path>.data`, one at a time."""
    total = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    if total >= _EXTERNAL:
        ir.save(model, path, external_data=os.path.basename(path) + ".data", size_threshold_bytes=1024)
    else:
        ir.external_data.load_to_model(model)
        ir.save(model, path)


def save_alone(model: ir.Model, path: str) -> None:
    """`save_model`, in words where the file cannot be written.

    Raises:
        UsageError: it cannot.
    """
    try:
        save_model(model, path)
    except OSError as error:
        folder = os.path.dirname(path) or "."
        raise UsageError(
            f"{path} cannot be written ({error.strerror}): make room in {folder} or name another"
        ) from None
