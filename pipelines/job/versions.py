"""`--model_version` and `--model_updates`: which model made a prediction, and new models while a stream runs."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.pipelines.options.schemes import is_topic
from beamsplit.transforms.block import INTERNAL_COLUMNS
from beamsplit.transforms.infer.live_model import ModelUpdates
from beamsplit.transforms.infer.model_version import COLUMN, COLUMNS, AddVersion
from beamsplit.transforms.infer.model_watch import check_watched
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.updating import UpdatingInferStep


def check_version(given: str | None, output: str) -> None:
    """Raise for a header where the output is files.

    Raises:
        UsageError: with what to type.
    """
    if given == "header" and not is_topic(output):
        raise UsageError(
            f"--model_version header is for messages, and --output {output} is a file; type --model_version column"
        )


def version_steps(given: str | None, path: str, schema: pa.Schema) -> tuple[AddVersion, ...]:
    """The last step of a job whose predictions carry the version of its model, if they do.

    Args:
        given: `--model_version`.
        path: the model, on this machine.
        schema: of the blocks that the step gets.

    Raises:
        UsageError: another column has that name.
    """
    if given is None:
        return ()
    _check_free(given, schema)
    return (AddVersion(model_version(path), COLUMNS[given]),)


def updating_step(updates: ModelUpdates, given: str | None, infer: InferStep, schema: pa.Schema) -> UpdatingInferStep:
    """The model as a step that takes new ones from `--model_updates`.

    Args:
        updates: where new ones come from, and what they are tried on.
        given: `--model_version`.
        infer: how the model is run.
        schema: of the blocks that it gets.

    Raises:
        UsageError: there is nothing to watch, or another column has the version's name.
    """
    check_watched(updates.path)
    column = None
    if given is not None:
        _check_free(given, infer.output_schema(schema))
        column = COLUMNS[given]
    return UpdatingInferStep(infer, updates, column)


def _check_free(given: str, schema: pa.Schema) -> None:
    if given == "column" and COLUMN in schema.names:
        names = ", ".join(name for name in schema.names if name not in INTERNAL_COLUMNS)
        raise UsageError(
            f"--model_version gives the predictions a column {COLUMN!r}, and there is one already ({names}); "
            "leave that one out of --keep, or leave --model_version out"
        )
