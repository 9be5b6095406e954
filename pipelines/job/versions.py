"""`--model_version` and `--model_updates`: which model made a prediction, and new models while a stream runs."""

from __future__ import annotations

import argparse

import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_copy import model_version
from beamsplit.transforms.block import INTERNAL_COLUMNS
from beamsplit.transforms.infer.live_model import ModelUpdates, pack_rows
from beamsplit.transforms.infer.model_version import COLUMN, COLUMNS, AddVersion
from beamsplit.transforms.infer.model_watch import check_watched
from beamsplit.transforms.infer.step import InferStep
from beamsplit.transforms.infer.updating import UpdatingInferStep
from beamsplit.transforms.kafka.config import is_kafka


def check_version(options: argparse.Namespace) -> None:
    """Raise for a header where the output is files.

    Raises:
        UsageError: with what to type.
    """
    if options.model_version == "header" and not is_kafka(options.output):
        raise UsageError(
            f"--model_version header is for messages, and --output {options.output} is a file; "
            "type --model_version column"
        )


def version_steps(options: argparse.Namespace, path: str, schema: pa.Schema) -> tuple[AddVersion, ...]:
    """The last step of a job whose predictions carry the version of its model, if they do.

    Args:
        options: `model_version` as the user gave it.
        path: the model, on this machine.
        schema: of the blocks that the step gets.

    Raises:
        UsageError: another column has that name.
    """
    if options.model_version is None:
        return ()
    _check_free(options, schema)
    return (AddVersion(model_version(path), COLUMNS[options.model_version]),)


def updating_step(
    options: argparse.Namespace, infer: InferStep, schema: pa.Schema, sample: pa.RecordBatch | None
) -> UpdatingInferStep:
    """The model as a step that takes new ones from `--model_updates`.

    Args:
        options: `model_updates` and `model_version` as the user gave them.
        infer: how the model is run.
        schema: of the blocks that it gets.
        sample: rows that the model takes, to try new ones on.

    Raises:
        UsageError: there is nothing to watch, or another column has the version's name.
    """
    check_watched(options.model_updates)
    column = None
    if options.model_version is not None:
        _check_free(options, infer.output_schema(schema))
        column = COLUMNS[options.model_version]
    return UpdatingInferStep(infer, ModelUpdates(options.model_updates, pack_rows(sample)), column)


def _check_free(options: argparse.Namespace, schema: pa.Schema) -> None:
    if options.model_version == "column" and COLUMN in schema.names:
        names = ", ".join(name for name in schema.names if name not in INTERNAL_COLUMNS)
        raise UsageError(
            f"--model_version gives the predictions a column {COLUMN!r}, and there is one already ({names}); "
            "leave that one out of --keep, or leave --model_version out"
        )
