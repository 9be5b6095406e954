"""The steps of `--finish`: with what the model tells of its classes, and tried on the sample before anything runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from models.classes import ClassNames, class_names
from models.errors import UsageError
from models.fit import Fit
from models.scoring import Scorer
from models.tensors import ColumnType, column_type
from transforms.block import COPY
from transforms.infer import InferStep
from transforms.step import Step

CHECK_ROWS = 8
"""Sample rows that finish steps are tried on."""


def finish_steps(options: argparse.Namespace, schema: pa.Schema, made: Fit) -> tuple[Step, ...]:
    """The steps of `--finish`, and the mean over augmented copies.

    Args:
        options: `finish`, `prepare` and `keep` as the user gave them.
        schema: of the blocks that come from the model.
        made: model and sample rows.

    Raises:
        UsageError: a step cannot work, or the sample shows that it makes no sense.
    """
    if not options.finish and not options.prepare:
        return ()
    from transforms.finish import Labels, parse_finish, with_mean_of_copies

    outputs = [output.name for output in made.plan.outputs]
    steps = [parse_finish(spec, outputs) for spec in options.finish]
    # A file of names is for the numbers of classes.
    named = any(isinstance(step, Labels) and step.file is not None for step in steps)
    if not named and any(hasattr(step, "classes") for step in steps):
        classes = classes_of(made)
        steps = [parse_finish(spec, outputs, classes) for spec in options.finish]
    if COPY in schema.names:
        steps = with_mean_of_copies(steps, outputs)
    _try_on_sample(options, steps, made)
    return tuple(steps)


def classes_of(made: Fit) -> ClassNames:
    """What the model tells of its classes."""
    return class_names(made.plan.model.path, made.session.raw.get_modelmeta().custom_metadata_map)


def _try_on_sample(options: argparse.Namespace, steps: Sequence[Step], made: Fit) -> None:
    """Let the steps that can tell by what the model gives whether they make sense look at a few sample rows."""
    checks = [number for number, step in enumerate(steps) if hasattr(step, "check_sample")]
    if not checks or made.sample is None:
        return
    plan = made.plan if made.plan.row_by_row else replace(made.plan, batch_size=CHECK_ROWS)
    infer = InferStep(plan, made.session.options, None, options.keep, counted=False)
    block = infer.score_with(Scorer(plan, made.session), made.sample.slice(0, CHECK_ROWS)).block
    for step in steps[: checks[-1] + 1]:
        check = getattr(step, "check_sample", None)
        if check is not None and block.num_rows:
            check(block)
        try:
            block = step(block).block
        except UsageError:
            raise
        except Exception:  # the user's own step may raise anything, and is told when the job runs it
            return


def list_cells(options: argparse.Namespace, schema: pa.Schema, made: Fit) -> tuple[str, ...]:
    """A note for outputs that are lists in the cells of a CSV file, where a column a value may be wanted."""
    if not options.output.lower().endswith((".csv", ".tsv")):
        return ()
    outputs = {output.name for output in made.plan.outputs}
    lists = [field.name for field in schema if field.name in outputs and _is_list(column_type(field.type))]
    if not lists:
        return ()
    which = f":{lists[0]}" if len(lists) > 1 else ""
    return (f"each cell of {', '.join(lists)} is a list; --finish expand{which} gives a column a value",)


def _is_list(kind: ColumnType | None) -> bool:
    """Whether each row holds as many floats in a line."""
    if kind is None or not kind.dtype.startswith("float") or None in kind.shape:
        return False
    return sum(size != 1 for size in kind.shape) == 1
